"""The laws, for authors of stages: `check_stage(stage, film)` tries laws 1 to 7 in one line.

Each law is a function that raises AssertionError and names what it saw. They need no test runner;
the project's own suite draws their arguments at random.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from fractions import Fraction
from random import Random
from typing import Any

import numpy as np

from filmgate.core.chain import Chain, ChainState
from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.serialization import dumps, loads
from filmgate.core.stage import AnyStage, Reach
from filmgate.core.values import nbytes
from filmgate.errors import OutOfMemory

CLOSE = 1e-4  # of full scale: how far another batch size may move a float32 stage


@dataclass(frozen=True)
class SampleVideo:
    """A stream for trials: what it looks like and its frames, numbered from 0, from time 0 on."""

    spec: StreamSpec
    frames: tuple[Frame, ...]

    def part(self, count: int) -> "SampleVideo":
        """Its first frames."""
        return SampleVideo(self.spec, self.frames[:count])

    def twice(self) -> "SampleVideo":
        """The film, and the film again."""
        n, end = len(self.frames), self.frames[-1].end if self.frames else Fraction(0)
        again = (replace(f, index=f.index + n, time=f.time + end) for f in self.frames)
        return SampleVideo(self.spec, (*self.frames, *again))


def play(
    chain: Chain, video: SampleVideo, cuts: Iterable[int] = (), sleeps: Iterable[int] = ()
) -> list[Frame]:
    """The whole result, fed in pieces that end at `cuts`; after pieces in `sleeps` it sleeps.

    Sleeping is: the state goes to bytes and comes back. A step that runs out of memory is done
    again with half the batch.
    """
    if not video.frames:
        return []
    sleeping, out, begin = set(sleeps), list[Frame](), 0
    state = chain.start(video.spec, video.frames[0].position)
    for piece, end in enumerate([*sorted(cuts), len(video.frames)]):
        given = video.frames[begin:end]
        chain, state, made = _retried(chain, state, lambda c, s, g=given: c.step(s, g))  # type: ignore[misc]
        out, begin = out + made, end
        state = loads(dumps(state)) if piece in sleeping else state
    ended: ChainState | None = state
    while ended is not None:
        chain, ended, made = _retried(chain, ended, lambda c, s: c.finish(s))
        out += made
    return out


def _retried(
    chain: Chain, state: Any, move: Callable[[Chain, Any], tuple[Any, list[Frame]]]
) -> tuple[Chain, Any, list[Frame]]:
    before = dumps(state)
    while True:
        failed = -1
        try:
            after, made = move(chain, state)
        except OutOfMemory as error:
            failed = error.stage
        assert dumps(state) == before, "law 3 (retry): a step changed the state it was given"
        if failed < 0:
            return chain, after, made
        chain = chain.smaller(failed)


def same(got: Sequence[Frame], want: Sequence[Frame], law: str, tolerance: float = 0.0) -> None:
    """Raises AssertionError at the first frame that differs by more than `tolerance` anywhere."""
    assert len(got) == len(want), f"{law}: {len(got)} frames came out, wanted {len(want)}"
    for a, b in zip(got, want, strict=True):
        assert (a.index, a.time, a.duration) == (b.index, b.time, b.duration), (
            f"{law}: frame {a.index} at {a.time} for {a.duration} s, "
            f"wanted {b.index} at {b.time} for {b.duration} s"
        )
        if dumps((a.image, dict(a.extras))) != dumps((b.image, dict(b.extras))):
            far = distance((a.image, dict(a.extras)), (b.image, dict(b.extras)))
            assert far <= tolerance, (
                f"{law}: frame {a.index} (time {a.time}) is {far:.3g} away, at most {tolerance:g}"
            )


def distance(a: Any, b: Any) -> float:
    """The largest difference of two plain values of one shape; infinite where shapes differ."""
    if type(a) is not type(b):
        return float("inf")
    if is_dataclass(a):
        a, b = ({f.name: getattr(x, f.name) for f in fields(x)} for x in (a, b))
    if isinstance(a, dict):
        keys = a.keys() | b.keys()
        return max((distance(a.get(key, ()), b.get(key, ())) for key in keys), default=0.0)
    if isinstance(a, tuple):
        far = (distance(x, y) for x, y in zip(a, b, strict=False))
        return max(far, default=0.0) if len(a) == len(b) else float("inf")
    if isinstance(a, str | bytes):
        return 0.0 if a == b else float("inf")
    left, right = (np.asarray(getattr(x, "cpu", lambda x=x: x)(), np.float64) for x in (a, b))
    if left.shape != right.shape:
        return float("inf")
    return float(np.abs(left - right).max(initial=0.0))


def _batched(stage: AnyStage, batch: int) -> Chain:
    """The stage with that batch; a chain's every stage, unless it is 1: a chain has its own."""
    if isinstance(stage, Chain):
        return stage if batch == 1 else replace(stage, batches=(batch,) * len(stage.stages))
    return Chain((stage,), (batch,))


# --- the laws -------------------------------------------------------------------------------------


def check_cut(stage: AnyStage, video: SampleVideo, cuts: Iterable[int], batch: int = 1) -> None:
    """Law 1, exact: however the film is cut into chunks, the output is the same film."""
    chain = _batched(stage, batch)
    same(play(chain, video, cuts), play(chain, video), "law 1 (cut)")


def check_sleep(
    stage: AnyStage, video: SampleVideo, cuts: Iterable[int], sleeps: Iterable[int]
) -> None:
    """Law 2, exact: the state to bytes anywhere and back, go on: the same film."""
    chain = Chain((stage,))
    same(play(chain, video, cuts, sleeps), play(chain, video), "law 2 (sleep)")


def check_retry(
    stage: AnyStage, video: SampleVideo, fits: int, batch: int, tolerance: float = 0.0
) -> None:
    """Law 3, exact: a step that ran out of memory changed nothing; a smaller batch succeeds."""
    half = len(video.frames) // 2
    chain = Chain((_Hungry(stage, fits, half),), (batch,))
    same(play(chain, video, [half]), play(Chain((stage,)), video), "law 3 (retry)", tolerance)


def check_batch(stage: AnyStage, video: SampleVideo, batch: int, tolerance: float = CLOSE) -> None:
    """Law 4, close: another batch size moves nothing further than `tolerance`."""
    chain = _batched(stage, batch)
    same(play(chain, video), play(Chain((stage,)), video), "law 4 (batch)", tolerance)


def check_time(stage: AnyStage, video: SampleVideo, total: Fraction | None = None) -> None:
    """Law 5, exact: times are contiguous from 0 on and last `total` (None: the film's length)."""
    due = Position(0, Fraction(0))
    for frame in play(Chain((stage,)), video):
        assert frame.position == due, f"law 5 (time): {frame.position} where {due} was due"
        assert frame.duration > 0, f"law 5 (time): frame {frame.index} lasts {frame.duration} s"
        due = Position(due.index + 1, frame.end)
    ends = video.frames[-1].end if video.frames else Fraction(0)
    wanted = ends if total is None else total
    assert due.time == wanted, f"law 5 (time): the film ends at {due.time} s, wanted {wanted} s"


def check_bound(stage: AnyStage, video: SampleVideo, batch: int = 1) -> None:
    """Law 6: when the film has run twice, to run it twice again makes the state no bigger."""
    chain, sizes = _batched(stage, batch), list[int]()
    state = chain.start(video.spec, Position(0, Fraction(0)))
    for frame in video.twice().twice().frames:  # the first two: until all grids have met
        state, made = chain.step(state, [frame])
        sizes.append(nbytes(state) + nbytes([f.image for f in made]))
    half, whole = max(sizes[: len(sizes) // 2], default=0), max(sizes, default=0)
    allowed = half + 64  # numbers grow a digit
    assert whole <= allowed, f"law 6 (bound): the state grew from {half} to {whole} bytes"


def check_chain(a: AnyStage, b: AnyStage, c: AnyStage, video: SampleVideo) -> None:
    """Law 7, exact: (a, b), c = a, (b, c) = first a, then b, then c."""
    want = video
    for stage in (a, b, c):
        chain = Chain((stage,))
        want = SampleVideo(chain.output(want.spec), tuple(play(chain, want)))
    for nested in (Chain((Chain((a, b)), c)), Chain((a, Chain((b, c))))):
        same(play(nested, video), want.frames, "law 7 (chain)")


def check_stage(
    stage: AnyStage,
    video: SampleVideo,
    *,
    tolerance: float = CLOSE,
    total: Fraction | None = None,
    tries: int = 5,
) -> None:
    """Laws 1 to 7 on one stage and one film of 12 or more frames, `tries` times each.

    `total` is how long the result must be (None: as long as the film), `tolerance` how far another
    batch size may move a picture. Raises AssertionError that names the law.
    """
    n = len(video.frames)
    assert n >= 12, f"the film has {n} frames: wanted 12 or more, else nothing is tried"
    check_time(stage, video, total)
    check_bound(stage, video)
    chance = Random(n)
    for _ in range(tries):
        cuts = [chance.randint(0, n) for _ in range(chance.randint(1, 6))]
        batch = 2 ** chance.randint(1, 3)
        check_cut(stage, video, cuts, batch)
        check_sleep(stage, video, cuts, range(len(cuts) + 1))
        check_retry(stage, video, chance.randint(1, batch), batch, tolerance)
        check_batch(stage, video, batch, tolerance)
    check_chain(_Same(), stage, _Same(), video)


@dataclass(frozen=True)
class _Hungry:
    """From frame `since` on, out of memory above `fits` frames, after spoiling what it can."""

    inner: AnyStage
    fits: int
    since: int
    name: str = "hungry"

    def reach(self, spec: StreamSpec) -> Reach:
        return self.inner.reach(spec)

    def output(self, spec: StreamSpec) -> StreamSpec:
        return self.inner.output(spec)

    def start(self, spec: StreamSpec, first: Position) -> Any:
        return self.inner.start(spec, first)

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        if len(frames) > self.fits and frames[-1].index >= self.since:
            self.inner.step(state, frames[: self.fits])
            raise MemoryError(f"{len(frames)} frames where {self.fits} fit")
        return self.inner.step(state, frames)

    def finish(self, state: Any) -> tuple[Any, list[Frame]]:
        return self.inner.finish(state)


@dataclass(frozen=True)
class _Same:
    """The stage that does nothing."""

    name: str = "same"

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach()

    def output(self, spec: StreamSpec) -> StreamSpec:
        return spec

    def start(self, spec: StreamSpec, first: Position) -> tuple[()]:
        return ()

    def step(self, state: tuple[()], frames: Sequence[Frame]) -> tuple[tuple[()], list[Frame]]:
        return state, list(frames)

    def finish(self, state: tuple[()]) -> tuple[None, list[Frame]]:
        return None, []
