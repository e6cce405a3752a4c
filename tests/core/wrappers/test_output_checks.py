"""`check_outputs`: what can't be right is an error with its time; what can be passes untouched."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction as F
from typing import Any

import numpy as np
import pytest
import torch

from filmgate.core.adapters import UntilNext, each, windowed
from filmgate.core.chain import Chain
from filmgate.core.frame import ColorTags, Frame, Position, StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.core.values import count_nonfinite, nbytes
from filmgate.core.wrappers.luma_grid import LumaGrid, difference, luma_grid
from filmgate.core.wrappers.output_checks import check_outputs
from filmgate.errors import BadOutput, BadSetting
from filmgate.media.pixels.planes import Planes
from filmgate.testing import laws
from filmgate.testing.fake_device import FakeDevice
from tests.laws.synthetic import Recurrent, double, film_of
from tests.videos import picture

SPEC = StreamSpec(
    width=96, height=64, rate=F(25), time_base=F(1, 25), pixels="rgb", dtype="float32"
)


def moving(count: int = 40, speed: int = 4) -> laws.SampleVideo:
    """Texture that moves, as floats in 0 to 1."""
    return laws.SampleVideo(SPEC, tuple(
        Frame(i, F(i, 25), F(1, 25), (scene(speed * i) / np.float32(255)).astype(np.float32))
        for i in range(count)
    ))  # fmt: skip


def scene(shift: int) -> Any:
    y, x = np.mgrid[:64, :96]
    return 128 + 60 * np.sin((x + shift) / 17) + 40 * np.cos((y - shift / 2) / 11)


def still(video: laws.SampleVideo) -> laws.SampleVideo:
    first = video.frames[0].image
    return laws.SampleVideo(video.spec, tuple(replace(f, image=first) for f in video.frames))


@dataclass(frozen=True)
class Tampering:
    """A stage that gives `change(its input so far, number)` in each picture's place."""

    change: Callable[[list[Any], int], Any]
    name: str = "model"

    def reach(self, spec: StreamSpec) -> Any:
        return UntilNext().reach(spec)

    def output(self, spec: StreamSpec) -> StreamSpec:
        return spec

    def start(self, spec: StreamSpec, first: Position) -> tuple[Any, ...]:
        return ()

    def step(self, state: tuple[Any, ...], frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        made = []
        for frame in frames:
            state = (*state, frame.image)
            made.append(frame.made(self.change(list(state), frame.index)))
        return state, made

    def finish(self, state: tuple[Any, ...]) -> tuple[None, list[Frame]]:
        return None, []


def played(stage: AnyStage, video: laws.SampleVideo, batch: int = 1) -> list[Frame]:
    return laws.play(Chain((stage,), (batch,)), video)


BAD: dict[str, Callable[[list[Any], int], Any]] = {
    "not finite": lambda seen, n: seen[n] * np.float32("nan" if n == 20 else 1),
    "black": lambda seen, n: seen[n] * np.float32(n != 20),
    "flashing": lambda seen, n: seen[n] + np.float32(0.3 if n == 20 else 0),
    "frozen": lambda seen, n: seen[min(n, 20)],
    "shuffled": lambda seen, n: seen[n - 2 if n == 20 else n],
}


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("kind", sorted(BAD))
def test_what_cannot_be_right_is_an_error_with_its_time(kind: str, batch: int) -> None:
    with pytest.raises(BadOutput, match=r"model, at 0\.800 s of its input") as told:
        played(check_outputs(Tampering(BAD[kind])), moving(), batch)
    assert told.value.kind == kind
    assert told.value.time == F(20, 25)


@pytest.mark.parametrize("kind", ["black", "flashing", "frozen", "shuffled"])
def test_a_check_that_is_not_asked_for_is_not_made(kind: str) -> None:
    others = [name for name in ("finite", "black", "flashing", "frozen", "shuffled")
              if name != kind]  # fmt: skip
    if kind != "black":  # a black picture is a flash too
        played(check_outputs(Tampering(BAD[kind]), checks=others), moving())
    played(check_outputs(Tampering(BAD[kind]), checks=["finite"]), moving())


@pytest.mark.parametrize("kind", ["frozen", "shuffled"])
def test_what_the_input_does_too_is_right(kind: str) -> None:
    video, change = moving(), BAD[kind]
    images = [f.image for f in video.frames]
    same = tuple(replace(f, image=change(images, f.index)) for f in video.frames)
    played(check_outputs(each(list)), laws.SampleVideo(video.spec, same))
    played(check_outputs(Tampering(change)), still(video))


CLEAN: dict[str, Callable[[list[Any], int], Any]] = {
    "as it was": lambda seen, n: seen[n],
    "darker": lambda seen, n: seen[n] * np.float32(0.5),
    "with noise": lambda seen, n: seen[n] + np.random.default_rng(n).normal(0, 0.05, (64, 96)),
    "late by one": lambda seen, n: seen[max(0, n - 1)],
    "four times as large": lambda seen, n: np.kron(seen[n], np.ones((4, 4), np.float32)),
    "in colours": lambda seen, n: np.stack([seen[n]] * 3),
    "tensors": lambda seen, n: torch.from_numpy(seen[n]),
}


@pytest.mark.parametrize("kind", sorted(CLEAN))
def test_a_clean_film_passes_untouched(kind: str) -> None:
    for video in (moving(), moving(speed=1), still(moving()), cut_film()):
        got = played(check_outputs(Tampering(CLEAN[kind])), video)
        laws.same(got, played(Tampering(CLEAN[kind]), video), "guarded")


def cut_film() -> laws.SampleVideo:
    """A bright shot, a dark one, a black picture, a flash and a still: all in the film itself."""
    video, frames = moving(), []
    for f in video.frames:
        image: Any = f.image
        dark = image * np.float32(0.2 if 10 <= f.index < 20 else 0 if f.index == 25 else 1)
        frames.append(replace(f, image=dark + np.float32(0.4 * (f.index == 30))))
    return laws.SampleVideo(video.spec, tuple(frames))


def test_twice_the_frames_and_three_times_the_length_pass() -> None:
    video = moving()
    stage = windowed(double, 0, 1, first=lambda at: 2 * at.index)
    assert len(played(check_outputs(stage), video)) == 80

    def slower(frames: Sequence[Frame]) -> list[Frame]:
        return [f.made(f.image, time=3 * f.time, duration=3 * f.duration) for f in frames]

    assert len(played(check_outputs(each(slower), stretch=3), video)) == 40


def test_a_state_that_is_not_finite_is_never_handed_on() -> None:
    """The pictures are right; the state is not, and the next picture would not be."""

    class Sick(Recurrent):
        def step(self, state: Any, frames: Sequence[Frame]) -> Any:
            after, made = super().step(state, frames)
            sick = {**after, "mean": after["mean"] * (np.nan if frames[0].index == 5 else 1)}
            return sick, made

    video = film_of([25] * 12, 1)
    stage = check_outputs(Sick(), checks=["finite"])
    state = stage.start(video.spec, video.frames[0].position)
    for frame in video.frames[:5]:
        state, _ = stage.step(state, [frame])
    with pytest.raises(BadOutput, match="6 numbers of its state are NaN"):
        stage.step(state, [video.frames[5]])
    assert count_nonfinite(state) == 0


def test_a_device_that_gives_nan_is_found() -> None:
    stage = check_outputs(FakeDevice(nan_at=3).on(each(list)))
    with pytest.raises(BadOutput, match=r"at 0\.080 s"):
        played(stage, moving(6))


def test_memory_does_not_grow_and_is_small() -> None:
    video, sizes = moving(200), list[int]()
    stage = check_outputs(each(list))
    state = stage.start(video.spec, video.frames[0].position)
    for frame in video.frames:
        state, _ = stage.step(state, [frame])
        sizes.append(nbytes(state))
    assert max(sizes[:50]) == max(sizes) < 200_000


def test_planes_of_any_depth_and_tensors_are_seen_alike() -> None:
    luma = picture(5, 96, 64)
    chroma = np.full((32, 48), 128, np.uint8)
    eight = Planes((luma, chroma, chroma), "yuv420p", ColorTags())
    ten = Planes((luma.astype(np.uint16) * 4,) * 3, "yuv444p10le", ColorTags())
    tensor = torch.from_numpy(luma / np.float32(255)).expand(3, 64, 96)
    seen = [looked(image) for image in (eight, ten, tensor, luma)]
    for other in seen[1:]:
        assert np.abs(other.grid - seen[0].grid).max() < 0.005
        assert difference(other, seen[0]) < 0.005
    assert abs(seen[0].level - luma.mean() / 255) < 0.005


def looked(image: object) -> LumaGrid:
    seen = luma_grid(Frame(0, F(0), F(1), image), F(0))
    assert seen is not None
    return seen


def test_an_image_that_is_no_picture_is_left_alone() -> None:
    frames = tuple(Frame(i, F(i), F(1), "no picture") for i in range(12))
    assert len(played(check_outputs(each(list)), laws.SampleVideo(SPEC, frames))) == 12


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
def test_numbers_that_are_not_finite_are_counted(value: object, count: int) -> None:
    assert count_nonfinite(value) == count


def test_a_check_that_nobody_knows_is_refused() -> None:
    with pytest.raises(BadSetting, match="checks are colour"):
        check_outputs(each(list), checks=["colour"])
    with pytest.raises(BadSetting, match="stretch is 0"):
        check_outputs(each(list), stretch=0)
