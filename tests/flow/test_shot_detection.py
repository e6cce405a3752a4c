"""Cuts are found, and nothing else is taken for one."""

from fractions import Fraction

import numpy as np
import pytest

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.errors import Unsupported
from filmgate.flow.shot_detection import cuts
from tests.flow.scenes import Picture, texture, video, view

SPEC = StreamSpec(width=128, height=96, rate=None, time_base=Fraction(1), pixels="gray")
A, B = texture(1, blur=6.0), texture(2, blur=6.0)


def found(pictures: list[Picture], chunk: int = 100) -> list[int]:
    """Where the stage says that a shot begins."""
    stage, frames, out = cuts(), video(pictures), list[Frame]()
    state = stage.start(SPEC, Position(0, Fraction(0)))
    for i in range(0, len(frames), chunk):
        state, made = stage.step(state, frames[i : i + chunk])
        out += made
    while state is not None:
        state, made = stage.finish(state)
        out += made
    assert [frame.index for frame in out] == list(range(len(pictures)))
    return [frame.index for frame in out if frame.extras.get("cut")]


def pan(scene: Picture, count: int, speed: int = 3) -> list[Picture]:
    return [view(scene, speed * i, i) for i in range(count)]


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_a_cut_between_two_moving_shots_is_found_however_the_film_is_chunked(chunk: int) -> None:
    assert found(pan(A, 6) + pan(B, 5) + pan(A, 4), chunk) == [6, 11]


def test_a_cut_between_dark_shots_is_found() -> None:
    assert found([picture // 2 for picture in pan(A, 4) + pan(B, 4)]) == [4]


def test_a_cut_to_the_second_frame_and_to_the_last_is_found() -> None:
    assert found([view(A, 0, 0), *pan(B, 4), view(A, 0, 0)]) == [1, 5]


def test_a_fast_pan_is_no_cut() -> None:
    assert found(pan(A, 10, speed=11)) == []


def test_a_flash_of_one_frame_is_no_cut() -> None:
    shot = pan(A, 8)
    shot[4] = np.full_like(shot[4], 255)
    assert found(shot) == []


def test_a_lamp_that_is_switched_on_is_no_cut() -> None:
    shot = [view(A, 0, 0) // 2 for _ in range(8)]
    assert found([p if i < 4 else p + np.uint8(100) for i, p in enumerate(shot)]) == []


@pytest.mark.parametrize("length", [6, 12])
def test_a_fade_and_a_dissolve_are_no_cuts(length: int) -> None:
    shares = np.linspace(0, 1, length)
    a, b = view(A, 0, 0), view(B, 0, 0)
    assert found([(a * share).astype(np.uint8) for share in shares]) == []
    mixed = [(a * (1 - share) + b * share).astype(np.uint8) for share in shares]
    assert found(mixed) == []


def test_only_planes_are_looked_at() -> None:
    frames = [Frame(i, Fraction(i), Fraction(1), object()) for i in range(3)]
    with pytest.raises(Unsupported, match="planes"):
        cuts().step(cuts().start(SPEC, Position(0, Fraction(0))), frames)
