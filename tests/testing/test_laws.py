"""The laws can fail: a stage broken in one way fails, and the law is named."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filmgate.core.adapters import each, windowed
from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.stage import AnyStage, Reach
from filmgate.errors import StageContractError
from filmgate.media.pixels.planes import Planes
from filmgate.testing import (
    check_batch,
    check_cut,
    check_sleep,
    check_stage,
    check_time,
    make_sample_video,
    read_sample_video,
)
from tests import videos
from tests.laws.synthetic import get_image, keep_some, make_video

VIDEO = make_video([25] * 20, 3)


@dataclass(frozen=True)
class Valid:
    """A valid stage for subclasses to break: it adds the previous frame to each frame."""

    name: str = "valid"

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(past=None)

    def output(self, spec: StreamSpec) -> StreamSpec:
        return spec

    def start(self, spec: StreamSpec, first: Position) -> Any:
        return np.zeros((2, 3))

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        out = []
        for frame in frames:
            out.append(frame.with_image(get_image(frame) + state))
            state = get_image(frame)
        return state, out

    def finish(self, state: Any) -> tuple[None, list[Frame]]:
        return None, []


class ChangesItsState(Valid):
    def start(self, spec: StreamSpec, first: Position) -> Any:
        return {"seen": 0}

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        state["seen"] += len(frames)
        return state, list(frames)


class ForgetsInsideTheBatch(Valid):
    """Off by one: inside a batch it uses the frame before the previous one."""

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        images = [state, state, *map(get_image, frames)]
        out = [frame.with_image(images[i] + get_image(frame)) for i, frame in enumerate(frames)]
        return get_image(frames[-1]), out


class DependsOnBatch(Valid):
    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        return state, [f.with_image(get_image(f) + 0.01 * len(frames)) for f in frames]


@dataclass(frozen=True)
class StoresInItself(Valid):
    seen: list[int] = field(default_factory=list)

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        self.seen.extend(frame.index for frame in frames)
        return state, [f.with_image(get_image(f) + len(self.seen)) for f in frames]


class ComparesStatesByIdentity(Valid):
    """Compares its state by identity, which is lost when the state goes through bytes."""

    def __init__(self) -> None:
        object.__setattr__(self, "name", "by identity")
        object.__setattr__(self, "last", None)

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        awake = state is getattr(self, "last", None) or frames[0].index == 0
        outputs = [f.with_image(get_image(f) + (0 if awake else 1)) for f in frames]
        object.__setattr__(self, "last", get_image(frames[-1]))
        return get_image(frames[-1]), outputs


class RemembersTheLastFrame(Valid):
    """Right for one video from its first frame to its last, and for no other way."""

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        out = []
        for frame in frames:
            last = get_image(frame) if frame.index == 0 else getattr(self, "last", None)
            out.append(frame.with_image(get_image(frame) + last))
            object.__setattr__(self, "last", get_image(frame))
        return state, out


class DrawsRandomNumbers(Valid):
    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        noise = np.random.default_rng().random((2, 3))
        return state, [frame.with_image(get_image(frame) + noise) for frame in frames]


@dataclass(frozen=True)
class Mark:
    """A constant to compare with."""

    number: int = 0


CONSTANT = Mark()


class ComparesWithAConstant(Valid):
    """Uses `is` where `==` is meant: a state that was written and read back is another object."""

    def start(self, spec: StreamSpec, first: Position) -> Any:
        return CONSTANT

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        gain = 1 if state is CONSTANT else 2
        return state, [frame.with_image(get_image(frame) * gain) for frame in frames]


class DoublesItsRows(Valid):
    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        return state, [f.with_image(np.concatenate([get_image(f)] * 2)) for f in frames]


class KeepsEverything(Valid):
    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        return np.concatenate([state, *map(get_image, frames)]), list(frames)


class DropsTheLast(Valid):
    def start(self, spec: StreamSpec, first: Position) -> Any:
        return ()

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        buffer = (*state, *frames)
        return buffer[-1:], list(buffer[:-1])


class UsesAListAsState(Valid):
    def start(self, spec: StreamSpec, first: Position) -> Any:
        return [1]

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        return state, list(frames)


BROKEN: dict[str, tuple[AnyStage, str]] = {
    "changes its state": (ChangesItsState(), r"law 3 \(retry\).*changed the state it was given"),
    "off by one": (ForgetsInsideTheBatch(), r"law [34]"),
    "depends on its batch": (DependsOnBatch(), r"law [34]"),
    "stores in itself": (StoresInItself(), "valid keeps memory outside of its state: frame 0"),
    "remembers the last frame": (RemembersTheLastFrame(), "keeps memory outside of its state"),
    "draws random numbers": (DrawsRandomNumbers(), "random numbers must come from the seed"),
    "compares states by identity": (ComparesStatesByIdentity(), "keeps memory outside of its"),
    "compares with a constant": (ComparesWithAConstant(), r"law 2 \(sleep\)"),
    "another size": (DoublesItsRows(), r"output\(spec\) says 3x2 rgb, and frame 0 is 3x4 rgb"),
    "keeps everything": (KeepsEverything(), r"law 6 \(bound\)"),
    "drops the last frame": (DropsTheLast(), r"law 5 \(time\)"),
    "leaves gaps": (windowed(keep_some, 0, 1), r"law 5 \(time\)"),
}


def test_a_valid_stage_passes() -> None:
    check_stage(Valid(), VIDEO)


@pytest.mark.parametrize("pixels", ["rgb", "yuv420p"])
def test_a_sample_video_is_as_its_spec_says(pixels: Any) -> None:
    video = make_sample_video(14, pixels=pixels)
    assert video.spec.pixels == pixels
    assert [frame.index for frame in video.frames] == list(range(14))
    assert [frame.index for frame in video.frames if frame.extras.get("cut")] == [7]
    check_time(each(list), video, F(14, 25))
    for frame in video.frames:
        if isinstance(frame.image, Planes):
            assert (pixels, frame.image.size) == ("yuv420p", (32, 24))
            assert [plane.shape for plane in frame.image.arrays] == [(24, 32), (12, 16), (12, 16)]
        else:
            image: Any = frame.image
            assert (pixels, tuple(image.shape), str(image.dtype)) == (
                "rgb", (3, 24, 32), "torch.float32",
            )  # fmt: skip
            assert 0 <= image.min() < 0.3 < 0.7 < image.max() <= 1


def invert(frames: Sequence[Frame]) -> list[Frame]:
    """For images that are arrays or tensors."""
    return [frame.with_image(1 - get_image(frame)) for frame in frames]


def invert_rgb(frames: Sequence[Frame]) -> list[Frame]:
    """For images as they are decoded."""
    images: list[Any] = [frame.image for frame in frames]
    return [f.with_image(x.from_rgb(1 - x.to_rgb())) for f, x in zip(frames, images, strict=True)]


def test_check_stage_has_a_default_video() -> None:
    check_stage(each(invert), make_sample_video())
    check_stage(each(invert_rgb), tries=1)
    with pytest.raises(AssertionError, match=r"law 5 \(time\)"):
        check_stage(windowed(keep_some, 0, 1))


def test_check_stage_takes_the_path_of_a_video(tmp_path: Path) -> None:
    video = videos.make(videos.VIDEOS["even"], tmp_path / "video.mp4")
    check_stage(each(invert_rgb), video, tries=1)
    assert len(read_sample_video(video, 5).frames) == 5
    with pytest.raises(AssertionError, match="use at least 12"):
        check_stage(each(invert_rgb), str(videos.make(videos.Video(frames=3), tmp_path / "b.mp4")))


@pytest.mark.parametrize(
    ("function", "pixels", "words"),
    [
        (invert, "yuv420p", r"raised TypeError .* Planes\(32x24 yuv420p\).*image\.to_rgb\(\)"),
        (invert_rgb, "rgb", r"raised AttributeError .*make_sample_video\(pixels='yuv420p'\)"),
    ],
)
def test_the_error_for_a_stage_of_other_images_says_what_it_gets(
    function: Any, pixels: Any, words: str
) -> None:
    with pytest.raises(StageContractError, match=words):
        check_stage(each(function), make_sample_video(pixels=pixels))


def test_laws_1_and_2_are_violated_by_memory_outside_of_the_state() -> None:
    with pytest.raises(AssertionError, match=r"law 1 \(cut\)"):
        check_cut(StoresInItself(), VIDEO, [3])
    with pytest.raises(AssertionError, match=r"law 2 \(sleep\)"):
        check_sleep(ComparesStatesByIdentity(), VIDEO, [3], [0])


@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_a_broken_stage_fails_with_the_name_of_the_law(kind: str) -> None:
    stage, law = BROKEN[kind]
    with pytest.raises(AssertionError, match=law):
        check_stage(stage, VIDEO)


def test_a_state_that_is_not_plain_is_refused() -> None:
    with pytest.raises(StageContractError, match=r"state\[0\]\.state is \[1\] of type list"):
        check_stage(UsesAListAsState(), VIDEO)


def test_a_batch_may_move_an_image_by_at_most_the_tolerance() -> None:
    check_batch(DependsOnBatch(), VIDEO, batch=2, tolerance=0.011)
    with pytest.raises(AssertionError, match=r"law 4 \(batch\): frame 0 .* differs by 0\.01"):
        check_batch(DependsOnBatch(), VIDEO, batch=2, tolerance=0.009)


def test_the_given_total_duration_is_checked() -> None:
    same = each(list)
    check_time(same, VIDEO, VIDEO.frames[-1].end)
    with pytest.raises(AssertionError, match="output ends at 5/6 s, wanted 1 s"):
        check_time(same, VIDEO, VIDEO.frames[-1].end + VIDEO.frames[0].duration * 4)


def test_a_video_that_is_too_short_is_refused() -> None:
    with pytest.raises(AssertionError, match="use at least 12"):
        check_stage(Valid(), VIDEO.first(11))
