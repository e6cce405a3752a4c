"""The laws of stages as functions; `check_stage(stage)` checks laws 1 to 7 in one line.

Each function raises AssertionError that names the law and what differs. They need no test runner;
the project's own tests draw their arguments at random. `want` is the stage's output for the video
in one piece and with batch 1, if it is known already.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from filmgate.core.chain import Chain, ChainState
from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.instrumentation.torch_settings import fix_torch_settings
from filmgate.core.serialization import dumps, loads
from filmgate.core.stage import AnyStage, Reach, StageWrapper, require_stage
from filmgate.core.values import count_bytes
from filmgate.errors import OutOfMemory, StageContractError
from filmgate.media.pixels.planes import Planes
from filmgate.testing.sample_video import SampleVideo, make_sample_video, read_sample_video

TOLERANCE = 1e-4  # of full scale: how far another batch size may move a float32 result


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


def check_cut(
    stage: AnyStage,
    video: SampleVideo,
    cuts: Iterable[int],
    batch: int = 1,
    want: Sequence[Frame] | None = None,
) -> None:
    """Law 1, exact: however the video is split into chunks, the output is the same.

    `want` is here the output with the same batch.
    """
    chain = _make_chain(stage, batch)
    want = want or run_chain(chain, video)
    assert_same_frames(run_chain(chain, video, cuts), want, "law 1 (cut)")


def check_sleep(
    stage: AnyStage,
    video: SampleVideo,
    cuts: Iterable[int],
    sleeps: Iterable[int],
    want: Sequence[Frame] | None = None,
) -> None:
    """Law 2, exact: the state to bytes and back at any point, then resume: the same output."""
    chain = Chain((stage,))
    got = run_chain(chain, video, cuts, sleeps)
    assert_same_frames(got, want or run_chain(chain, video), "law 2 (sleep)")


def check_retry(
    stage: AnyStage,
    video: SampleVideo,
    fits: int,
    batch: int,
    tolerance: float = 0.0,
    want: Sequence[Frame] | None = None,
) -> None:
    """Law 3, exact: a step that runs out of memory changes nothing; a smaller batch succeeds."""
    half = len(video.frames) // 2
    got = run_chain(Chain((_SmallMemory(stage, fits, half),), (batch,)), video, [half])
    want = want or run_chain(Chain((stage,)), video)
    assert_same_frames(got, want, "law 3 (retry)", tolerance)


def check_batch(
    stage: AnyStage,
    video: SampleVideo,
    batch: int,
    tolerance: float = TOLERANCE,
    want: Sequence[Frame] | None = None,
) -> list[Frame]:
    """Law 4, close: another batch size moves no value by more than `tolerance`.

    Returns the output with that batch.
    """
    got = run_chain(_make_chain(stage, batch), video)
    want = want or run_chain(Chain((stage,)), video)
    assert_same_frames(got, want, "law 4 (batch)", tolerance)
    return got


def check_time(
    stage: AnyStage,
    video: SampleVideo,
    total: Fraction | None = None,
    want: Sequence[Frame] | None = None,
) -> None:
    """Law 5, exact: times are contiguous from 0 and last `total` (default: like the video)."""
    due = Position(0, Fraction(0))
    for frame in want or run_chain(Chain((stage,)), video):
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


def check_chain(
    a: AnyStage,
    b: AnyStage,
    c: AnyStage,
    video: SampleVideo,
    want: Sequence[Frame] | None = None,
) -> None:
    """Law 7, exact: (a, b), c = a, (b, c) = first a, then b, then c."""
    after = video
    for stage in (a, b, c) if want is None else ():
        chain = Chain((stage,))
        after = SampleVideo(chain.output(after.spec), tuple(run_chain(chain, after)))
    for nested in (Chain((Chain((a, b)), c)), Chain((a, Chain((b, c))))):
        assert_same_frames(run_chain(nested, video), want or after.frames, "law 7 (chain)")


def check_memory(stage: AnyStage, video: SampleVideo, want: Sequence[Frame] | None = None) -> None:
    """No memory outside of the state, exact: other frames in between change nothing.

    Laws 1 to 3 follow only for a stage that remembers nothing in itself.
    """
    want = want or run_chain(Chain((stage,)), video)
    got = run_chain(Chain((_Disturbed(stage, video),)), video)
    try:
        assert_same_frames(got, want, f"{stage.name} keeps memory outside of its state")
    except AssertionError as error:
        raise AssertionError(
            f"{error}, after the stage processed another video in between. What it remembers (in "
            "an attribute, a global or a closure) must be in the state that `step` gets and "
            "returns; random numbers must come from the seed and the frame's index"
        ) from None


def check_output(stage: AnyStage, video: SampleVideo, want: Sequence[Frame] | None = None) -> None:
    """Every image has the size and the pixel format that the stage's `output` says."""
    spec = stage.output(video.spec)
    for frame in want or run_chain(Chain((stage,)), video):
        image: Any = frame.image
        planar = isinstance(image, Planes)
        width, height = image.size if planar else image.shape[:-3:-1]
        found = f"{width}x{height} {image.pixels if planar else 'rgb'}"
        assert found == f"{spec.width}x{spec.height} {spec.pixels}", (
            f"{stage.name}: output(spec) says {spec.width}x{spec.height} {spec.pixels}, and frame "
            f"{frame.index} is {found}: pass the format of the result, for adapters as output="
        )


def check_stage(
    stage: AnyStage,
    video: SampleVideo | Path | str | None = None,
    *,
    tolerance: float = TOLERANCE,
    total: Fraction | None = None,
    tries: int = 5,
) -> None:
    """Check laws 1 to 7 on one stage and one video of 12 or more frames, `tries` times each.

    `video` may be the path of a file, whose first 16 frames are used. Default: 20 small frames of
    planes, as a task's stages get them; for a stage of RGB tensors pass `make_sample_video()`.
    `total` is the result's duration (default: like the video), `tolerance` how far another batch
    size may move a value. Raises AssertionError that names the law, and StageContractError if this
    is no stage or it cannot take the images.
    """
    require_stage(stage)
    video = _find_video(video)
    n = len(video.frames)
    assert n >= 12, f"the video has {n} frames: use at least 12, fewer test nothing"
    with _use_one_thread():
        want = _try_images(stage, video)
        check_time(stage, video, total, want)
        check_output(stage, video, want)
        check_memory(stage, video, want)
        check_bound(stage, video)
        random = Random(n)
        for _ in range(tries):
            cuts = [random.randint(0, n) for _ in range(random.randint(1, 6))]
            batch = 2 ** random.randint(1, 3)
            batched = check_batch(stage, video, batch, tolerance, want)
            check_cut(stage, video, cuts, batch, batched)
            check_sleep(stage, video, cuts, range(len(cuts) + 1), want)
            check_retry(stage, video, random.randint(1, batch), batch, tolerance, want)
        check_chain(_Identity(), stage, _Identity(), video, want)


@contextmanager
def _use_one_thread() -> Iterator[None]:
    """Let torch use one thread: for small images more are slower, on a busy machine many times.

    Its settings are fixed all the time, not once more for each of thousands of calls.
    """
    import torch

    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with fix_torch_settings():
            yield
    finally:
        torch.set_num_threads(count)


def _find_video(video: SampleVideo | Path | str | None) -> SampleVideo:
    if isinstance(video, SampleVideo):
        return video
    return make_sample_video(pixels="yuv420p") if video is None else read_sample_video(Path(video))


def _try_images(stage: AnyStage, video: SampleVideo) -> list[Frame]:
    """Return the output. Raises StageContractError if the stage takes images of another kind."""
    try:
        return run_chain(Chain((stage,)), video)
    except (TypeError, AttributeError) as error:
        image = video.frames[0].image
        advice = (
            "it holds planes, as every frame of a file. image.to_rgb() returns a tensor (3, H, W) "
            "in [0, 1] and image.from_rgb(rgb) planes again; a stage that is given RGB tensors is "
            "checked with make_sample_video()"
            if isinstance(image, Planes)
            else "pass make_sample_video(pixels='yuv420p') to check a stage of planes"
        )
        raise StageContractError(
            f"{stage.name} raised {type(error).__name__} ({error}) for {video.frames[0]}: {advice}"
        ) from error


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
class _Disturbed(StageWrapper):
    """Processes a frame of another video before each step, from a state of its own."""

    video: SampleVideo

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        other = self.video.frames[-1]
        fresh = self.stage.start(self.video.spec, other.position)
        self.stage.step(fresh, [other])
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
