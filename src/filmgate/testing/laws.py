"""The laws of stages as functions; `check_stage(stage)` checks laws 1 to 7 in one line.

Each function raises AssertionError that names the law and what differs. They need no test runner;
the project's own tests draw their arguments at random.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from fractions import Fraction
from random import Random
from typing import Any, Literal

import numpy as np

from filmgate.core.chain import Chain, ChainState
from filmgate.core.frame import ColorTags, Frame, Position, StreamSpec
from filmgate.core.serialization import dumps, loads
from filmgate.core.stage import AnyStage, Reach, StageWrapper
from filmgate.core.values import count_bytes
from filmgate.errors import OutOfMemory
from filmgate.media.pixels.planes import Planes

TOLERANCE = 1e-4  # of full scale: how far another batch size may move a float32 result


@dataclass(frozen=True)
class SampleVideo:
    """A short stream: its format and its frames, with indices and times from 0."""

    spec: StreamSpec
    frames: tuple[Frame, ...]

    def first(self, count: int) -> "SampleVideo":
        """Return its first `count` frames."""
        return SampleVideo(self.spec, self.frames[:count])

    def repeat(self) -> "SampleVideo":
        """Return the video followed by itself."""
        n, end = len(self.frames), self.frames[-1].end if self.frames else Fraction(0)
        again = (replace(f, index=f.index + n, time=f.time + end) for f in self.frames)
        return SampleVideo(self.spec, (*self.frames, *again))


def make_sample_video(
    count: int = 20, *, pixels: Literal["rgb", "yuv420p"] = "rgb", width: int = 32, height: int = 24
) -> SampleVideo:
    """Return `count` images of moving waves at 25 fps; a new shot ("cut") starts in the middle.

    "rgb": float32 tensors (3, H, W) in [0, 1], as models get them. "yuv420p": uint8 `Planes`, as
    decoded from a file; width and height must be even.
    """
    rate, colour = Fraction(25), ColorTags(matrix="bt709", range="tv")
    spec = StreamSpec(
        width=width, height=height, rate=rate, time_base=1 / rate, pixels=pixels, colour=colour,
        dtype="float32" if pixels == "rgb" else "uint8",
    )  # fmt: skip
    y, x = np.mgrid[:height, :width]
    frames = []
    for i in range(count):
        new_shot, period = i > 0 and i == count // 2, 7 if i >= count // 2 else 4
        waves = 0.5 + 0.4 * np.stack([np.sin((x + 2 * i) / (period + k) + y / 5) for k in range(3)])
        image = _make_tensor(waves) if pixels == "rgb" else _make_planes(waves, colour)
        extras = {"cut": True} if new_shot else {}
        frames.append(Frame(i, i / rate, 1 / rate, image, extras))
    return SampleVideo(spec, tuple(frames))


def _make_tensor(waves: Any) -> Any:
    import torch

    return torch.from_numpy(waves.astype(np.float32))


def _make_planes(waves: Any, colour: ColorTags) -> Planes:
    luma, *chroma = (waves * 255).astype(np.uint8)
    small = (np.ascontiguousarray(plane[::2, ::2]) for plane in chroma)
    return Planes((luma, *small), "yuv420p", colour)


def run_chain(
    chain: Chain, video: SampleVideo, cuts: Iterable[int] = (), sleeps: Iterable[int] = ()
) -> list[Frame]:
    """Return the chain's complete output, fed in pieces that end at `cuts`.

    After the pieces in `sleeps` the state is written to bytes and read back. A step that runs out
    of memory is repeated with half the batch.
    """
    if not video.frames:
        return []
    sleeping, results, start = set(sleeps), list[Frame](), 0
    state = chain.start(video.spec, video.frames[0].position)
    for piece, end in enumerate([*sorted(cuts), len(video.frames)]):
        frames = video.frames[start:end]
        chain, state, outputs = _run_move(chain, state, lambda c, s, g=frames: c.step(s, g))  # type: ignore[misc]
        results, start = results + outputs, end
        state = loads(dumps(state)) if piece in sleeping else state
    remaining: ChainState | None = state
    while remaining is not None:
        chain, remaining, outputs = _run_move(chain, remaining, lambda c, s: c.finish(s))
        results += outputs
    return results


def _run_move(
    chain: Chain, state: Any, move: Callable[[Chain, Any], tuple[Any, list[Frame]]]
) -> tuple[Chain, Any, list[Frame]]:
    before = dumps(state)
    while True:
        failed = -1
        try:
            after, outputs = move(chain, state)
        except OutOfMemory as error:
            failed = error.stage
        assert dumps(state) == before, "law 3 (retry): a step changed the state it was given"
        if failed < 0:
            return chain, after, outputs
        chain = chain.halve_batch(failed)


def assert_same_frames(
    got: Sequence[Frame], want: Sequence[Frame], law: str, tolerance: float = 0.0
) -> None:
    """Raise AssertionError at the first frame that differs by more than `tolerance` anywhere."""
    assert len(got) == len(want), f"{law}: {len(got)} frames came out, wanted {len(want)}"
    for a, b in zip(got, want, strict=True):
        assert (a.index, a.time, a.duration) == (b.index, b.time, b.duration), (
            f"{law}: frame {a.index} at {a.time} for {a.duration} s, "
            f"wanted {b.index} at {b.time} for {b.duration} s"
        )
        if dumps((a.image, dict(a.extras))) != dumps((b.image, dict(b.extras))):
            far = max_difference((a.image, dict(a.extras)), (b.image, dict(b.extras)))
            assert far <= tolerance, (
                f"{law}: frame {a.index} (time {a.time}) differs by {far:.3g}, "
                f"at most {tolerance:g} is allowed"
            )


def max_difference(a: Any, b: Any) -> float:
    """Return the largest difference between two plain values; infinite if their shapes differ."""
    if type(a) is not type(b):
        return float("inf")
    if is_dataclass(a):
        a, b = ({f.name: getattr(x, f.name) for f in fields(x)} for x in (a, b))
    if isinstance(a, dict):
        keys = a.keys() | b.keys()
        return max((max_difference(a.get(key, ()), b.get(key, ())) for key in keys), default=0.0)
    if isinstance(a, tuple):
        far = (max_difference(x, y) for x, y in zip(a, b, strict=False))
        return max(far, default=0.0) if len(a) == len(b) else float("inf")
    if isinstance(a, str | bytes):
        return 0.0 if a == b else float("inf")
    left, right = (np.asarray(getattr(x, "cpu", lambda x=x: x)(), np.float64) for x in (a, b))
    if left.shape != right.shape:
        return float("inf")
    return float(np.abs(left - right).max(initial=0.0))


def _make_chain(stage: AnyStage, batch: int) -> Chain:
    """Return the stage with that batch; a chain keeps its own batches if it is 1."""
    if isinstance(stage, Chain):
        return stage if batch == 1 else replace(stage, batches=(batch,) * len(stage.stages))
    return Chain((stage,), (batch,))


# --- the laws -------------------------------------------------------------------------------------


def check_cut(stage: AnyStage, video: SampleVideo, cuts: Iterable[int], batch: int = 1) -> None:
    """Law 1, exact: however the video is split into chunks, the output is the same."""
    chain = _make_chain(stage, batch)
    assert_same_frames(run_chain(chain, video, cuts), run_chain(chain, video), "law 1 (cut)")


def check_sleep(
    stage: AnyStage, video: SampleVideo, cuts: Iterable[int], sleeps: Iterable[int]
) -> None:
    """Law 2, exact: the state to bytes and back at any point, then resume: the same output."""
    chain = Chain((stage,))
    got = run_chain(chain, video, cuts, sleeps)
    assert_same_frames(got, run_chain(chain, video), "law 2 (sleep)")


def check_retry(
    stage: AnyStage, video: SampleVideo, fits: int, batch: int, tolerance: float = 0.0
) -> None:
    """Law 3, exact: a step that runs out of memory changes nothing; a smaller batch succeeds."""
    half = len(video.frames) // 2
    got = run_chain(Chain((_SmallMemory(stage, fits, half),), (batch,)), video, [half])
    assert_same_frames(got, run_chain(Chain((stage,)), video), "law 3 (retry)", tolerance)


def check_batch(
    stage: AnyStage, video: SampleVideo, batch: int, tolerance: float = TOLERANCE
) -> None:
    """Law 4, close: another batch size moves no value by more than `tolerance`."""
    got, want = run_chain(_make_chain(stage, batch), video), run_chain(Chain((stage,)), video)
    assert_same_frames(got, want, "law 4 (batch)", tolerance)


def check_time(stage: AnyStage, video: SampleVideo, total: Fraction | None = None) -> None:
    """Law 5, exact: times are contiguous from 0 and last `total` (default: like the video)."""
    due = Position(0, Fraction(0))
    for frame in run_chain(Chain((stage,)), video):
        assert frame.position == due, f"law 5 (time): {frame.position}, expected {due}"
        assert frame.duration > 0, f"law 5 (time): frame {frame.index} lasts {frame.duration} s"
        due = Position(due.index + 1, frame.end)
    end = video.frames[-1].end if video.frames else Fraction(0)
    wanted = end if total is None else total
    assert due.time == wanted, f"law 5 (time): the output ends at {due.time} s, wanted {wanted} s"


def check_bound(stage: AnyStage, video: SampleVideo, batch: int = 1) -> None:
    """Law 6: the state is no larger after four times the video than after two times."""
    chain, sizes = _make_chain(stage, batch), list[int]()
    state = chain.start(video.spec, Position(0, Fraction(0)))
    for frame in video.repeat().repeat().frames:  # the first two: until all grids have met
        state, outputs = chain.step(state, [frame])
        sizes.append(count_bytes(state) + count_bytes([f.image for f in outputs]))
    half, largest = max(sizes[: len(sizes) // 2], default=0), max(sizes, default=0)
    allowed = half + 64  # numbers in the state get more digits
    assert largest <= allowed, f"law 6 (bound): the state grew from {half} to {largest} bytes"


def check_chain(a: AnyStage, b: AnyStage, c: AnyStage, video: SampleVideo) -> None:
    """Law 7, exact: (a, b), c = a, (b, c) = first a, then b, then c."""
    want = video
    for stage in (a, b, c):
        chain = Chain((stage,))
        want = SampleVideo(chain.output(want.spec), tuple(run_chain(chain, want)))
    for nested in (Chain((Chain((a, b)), c)), Chain((a, Chain((b, c))))):
        assert_same_frames(run_chain(nested, video), want.frames, "law 7 (chain)")


def check_stage(
    stage: AnyStage,
    video: SampleVideo | None = None,
    *,
    tolerance: float = TOLERANCE,
    total: Fraction | None = None,
    tries: int = 5,
) -> None:
    """Check laws 1 to 7 on one stage and one video of 12 or more frames, `tries` times each.

    Default video: `make_sample_video()`. `total` is the result's duration (default: like the
    video), `tolerance` how far another batch size may move a value. Raises AssertionError that
    names the law.
    """
    video = make_sample_video() if video is None else video
    n = len(video.frames)
    assert n >= 12, f"the video has {n} frames: use at least 12, fewer test nothing"
    check_time(stage, video, total)
    check_bound(stage, video)
    random = Random(n)
    for _ in range(tries):
        cuts = [random.randint(0, n) for _ in range(random.randint(1, 6))]
        batch = 2 ** random.randint(1, 3)
        check_cut(stage, video, cuts, batch)
        check_sleep(stage, video, cuts, range(len(cuts) + 1))
        check_retry(stage, video, random.randint(1, batch), batch, tolerance)
        check_batch(stage, video, batch, tolerance)
    check_chain(_Identity(), stage, _Identity(), video)


@dataclass(frozen=True)
class _SmallMemory(StageWrapper):
    """From frame `since` on, out of memory above `fits` frames, after changing what it can."""

    fits: int
    since: int

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        if len(frames) > self.fits and frames[-1].index >= self.since:
            self.stage.step(state, frames[: self.fits])
            raise MemoryError(f"{len(frames)} frames, {self.fits} fit")
        return self.stage.step(state, frames)


@dataclass(frozen=True)
class _Identity:
    """The stage that changes nothing."""

    name: str = "identity"

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
