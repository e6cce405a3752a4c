"""`check_outputs`: implausible results are an error with their time; others are unchanged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction as F
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from filmgate.core.adapters import UntilNext, each, windowed
from filmgate.core.chain import Chain
from filmgate.core.frame import ColorTags, Frame, Position, StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.core.values import count_bytes, count_nonfinite
from filmgate.core.wrappers.luma_grid import LumaGrid, difference, measure_luma
from filmgate.core.wrappers.output_checks import check_outputs
from filmgate.errors import BadOutput, BadSetting
from filmgate.media.pixels.planes import Planes
from filmgate.testing import SampleVideo, laws
from filmgate.testing.fake_device import FakeDevice
from tests.cases import mark_slow_cases
from tests.laws.synthetic import Recurrent, double_rate, make_video
from tests.videos import draw_image

SPEC = StreamSpec(
    width=96, height=64, rate=F(25), time_base=F(1, 25), pixels="rgb", dtype="float32"
)


@cache
def make_moving(count: int = 40, speed: int = 4) -> SampleVideo:
    """Texture that moves, as floats in 0 to 1."""
    return SampleVideo(SPEC, tuple(
        Frame(i, F(i, 25), F(1, 25), (draw_scene(speed * i) / np.float32(255)).astype(np.float32))
        for i in range(count)
    ))  # fmt: skip


def draw_scene(shift: int) -> Any:
    y, x = np.mgrid[:64, :96]
    return 128 + 60 * np.sin((x + shift) / 17) + 40 * np.cos((y - shift / 2) / 11)


def freeze(video: SampleVideo) -> SampleVideo:
    first = video.frames[0].image
    return SampleVideo(video.spec, tuple(replace(f, image=first) for f in video.frames))


@dataclass(frozen=True)
class ChangingStage:
    """A stage that returns `change(its input images so far, index)` for each frame."""

    change: Callable[[list[Any], int], Any]
    name: str = "model"

    def reach(self, spec: StreamSpec) -> Any:
        return UntilNext().reach(spec)

    def output(self, spec: StreamSpec) -> StreamSpec:
        return spec

    def start(self, spec: StreamSpec, first: Position) -> tuple[Any, ...]:
        return ()

    def step(self, state: tuple[Any, ...], frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        outputs = []
        for frame in frames:
            state = (*state, frame.image)
            outputs.append(frame.with_image(self.change(list(state), frame.index)))
        return state, outputs

    def finish(self, state: tuple[Any, ...]) -> tuple[None, list[Frame]]:
        return None, []


def run_stage(stage: AnyStage, video: SampleVideo, batch: int = 1) -> list[Frame]:
    return laws.run_chain(Chain((stage,), (batch,)), video)


BAD: dict[str, Callable[[list[Any], int], Any]] = {
    "not finite": lambda inputs, n: inputs[n] * np.float32("nan" if n == 20 else 1),
    "black": lambda inputs, n: inputs[n] * np.float32(n != 20),
    "flashing": lambda inputs, n: inputs[n] + np.float32(0.3 if n == 20 else 0),
    "frozen": lambda inputs, n: inputs[min(n, 20)],
    "shuffled": lambda inputs, n: inputs[n - 2 if n == 20 else n],
}


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("kind", sorted(BAD))
def test_an_implausible_result_is_an_error_with_its_time(kind: str, batch: int) -> None:
    with pytest.raises(BadOutput, match=r"model, at 0\.800 s of its input") as error:
        run_stage(check_outputs(ChangingStage(BAD[kind])), make_moving(), batch)
    assert error.value.kind == kind
    assert error.value.time == F(20, 25)


@pytest.mark.parametrize("kind", ["black", "flashing", "frozen", "shuffled"])
def test_only_the_given_checks_are_made(kind: str) -> None:
    others = [name for name in ("finite", "black", "flashing", "frozen", "shuffled")
              if name != kind]  # fmt: skip
    if kind != "black":  # a black image is a flash too
        run_stage(check_outputs(ChangingStage(BAD[kind]), checks=others), make_moving())
    run_stage(check_outputs(ChangingStage(BAD[kind]), checks=["finite"]), make_moving())


@pytest.mark.parametrize("kind", ["frozen", "shuffled"])
def test_results_that_follow_the_input_pass(kind: str) -> None:
    video, change = make_moving(), BAD[kind]
    images = [f.image for f in video.frames]
    same = tuple(replace(f, image=change(images, f.index)) for f in video.frames)
    run_stage(check_outputs(each(list)), SampleVideo(video.spec, same))
    run_stage(check_outputs(ChangingStage(change)), freeze(video))


CLEAN: dict[str, Callable[[list[Any], int], Any]] = {
    "unchanged": lambda inputs, n: inputs[n],
    "darker": lambda inputs, n: inputs[n] * np.float32(0.5),
    "with noise": lambda inputs, n: inputs[n] + np.random.default_rng(n).normal(0, 0.05, (64, 96)),
    "late by one": lambda inputs, n: inputs[max(0, n - 1)],
    "four times as large": lambda inputs, n: np.kron(inputs[n], np.ones((4, 4), np.float32)),
    "in colours": lambda inputs, n: np.stack([inputs[n]] * 3),
    "tensors": lambda inputs, n: torch.from_numpy(inputs[n]),
}


@pytest.mark.parametrize(
    "kind", mark_slow_cases(["with noise", "late by one", "tensors"], sorted(CLEAN))
)
def test_a_clean_video_is_unchanged(kind: str) -> None:
    for video in (make_moving(), make_moving(speed=1), freeze(make_moving()), make_shots()):
        got = run_stage(check_outputs(ChangingStage(CLEAN[kind])), video)
        laws.assert_same_frames(got, run_stage(ChangingStage(CLEAN[kind]), video), "check_outputs")


def make_shots() -> SampleVideo:
    """A bright shot, a dark one, a black image and a flash, all in the input itself."""
    video, frames = make_moving(), []
    for f in video.frames:
        image: Any = f.image
        dark = image * np.float32(0.2 if 10 <= f.index < 20 else 0 if f.index == 25 else 1)
        frames.append(replace(f, image=dark + np.float32(0.4 * (f.index == 30))))
    return SampleVideo(video.spec, tuple(frames))


def test_other_frame_counts_and_time_scales_pass() -> None:
    video = make_moving()
    stage = windowed(double_rate, 0, 1, first_index=lambda at: 2 * at.index)
    assert len(run_stage(check_outputs(stage), video)) == 80

    def slow_down(frames: Sequence[Frame]) -> list[Frame]:
        return [f.with_image(f.image, time=3 * f.time, duration=3 * f.duration) for f in frames]

    assert len(run_stage(check_outputs(each(slow_down), time_scale=3), video)) == 40


def test_a_nonfinite_state_is_never_returned() -> None:
    """The images are finite and the state is not, so the next image would not be."""

    class FailingStage(Recurrent):
        def step(self, state: Any, frames: Sequence[Frame]) -> Any:
            after, outputs = super().step(state, frames)
            failed = {**after, "mean": after["mean"] * (np.nan if frames[0].index == 5 else 1)}
            return failed, outputs

    video = make_video([25] * 12, 1)
    stage = check_outputs(FailingStage(), checks=["finite"])
    state = stage.start(video.spec, video.frames[0].position)
    for frame in video.frames[:5]:
        state, _ = stage.step(state, [frame])
    with pytest.raises(BadOutput, match="6 values of its state are NaN"):
        stage.step(state, [video.frames[5]])
    assert count_nonfinite(state) == 0


def test_nan_from_a_device_is_an_error() -> None:
    stage = check_outputs(FakeDevice(nan_at=3).on(each(list)))
    with pytest.raises(BadOutput, match=r"at 0\.080 s"):
        run_stage(stage, make_moving(6))


def test_the_state_is_small_and_does_not_grow() -> None:
    video, sizes = make_moving(100), list[int]()
    stage = check_outputs(each(list))
    state = stage.start(video.spec, video.frames[0].position)
    for frame in video.frames:
        state, _ = stage.step(state, [frame])
        sizes.append(count_bytes(state))
    assert max(sizes[:50]) == max(sizes) < 200_000


def test_planes_of_any_depth_and_tensors_give_the_same_luma() -> None:
    luma = draw_image(5, 96, 64)
    chroma = np.full((32, 48), 128, np.uint8)
    eight = Planes((luma, chroma, chroma), "yuv420p", ColorTags())
    ten = Planes((luma.astype(np.uint16) * 4,) * 3, "yuv444p10le", ColorTags())
    tensor = torch.from_numpy(luma / np.float32(255)).expand(3, 64, 96)
    grids = [measure(image) for image in (eight, ten, tensor, luma)]
    for other in grids[1:]:
        assert np.abs(other.grid - grids[0].grid).max() < 0.005
        assert difference(other, grids[0]) < 0.005
    assert abs(grids[0].level - luma.mean() / 255) < 0.005


def measure(image: object) -> LumaGrid:
    grid = measure_luma(Frame(0, F(0), F(1), image), F(0))
    assert grid is not None
    return grid


def test_a_value_that_is_not_an_image_is_not_checked() -> None:
    frames = tuple(Frame(i, F(i), F(1), "no image") for i in range(12))
    assert len(run_stage(check_outputs(each(list)), SampleVideo(SPEC, frames))) == 12


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (1.0, 0),
        (float("inf"), 1),
        ({"a": (np.array([np.nan, 1.0]), torch.tensor([np.inf, np.nan]))}, 3),
        (np.array([1, 2]), 0),
        (torch.tensor([1, 2]), 0),
        (Frame(0, F(0), F(1), np.array([np.nan]), {"x.y": float("nan")}), 2),
    ],
)
def test_nonfinite_values_are_counted(value: object, count: int) -> None:
    assert count_nonfinite(value) == count


def test_an_unknown_check_is_refused() -> None:
    with pytest.raises(BadSetting, match="unknown checks colour"):
        check_outputs(each(list), checks=["colour"])
    with pytest.raises(BadSetting, match="time_scale is 0"):
        check_outputs(each(list), time_scale=0)
