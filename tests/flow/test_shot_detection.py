"""Shot boundaries are found, and nothing else is marked."""

from fractions import Fraction

import numpy as np
import pytest

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.errors import Unsupported
from filmgate.flow.shot_detection import detect_shots
from tests.flow.scenes import Gray, texture, video, view

SPEC = StreamSpec(width=128, height=96, rate=None, time_base=Fraction(1), pixels="gray")
A, B = texture(1, blur=6.0), texture(2, blur=6.0)


def find_boundaries(images: list[Gray], chunk: int = 100) -> list[int]:
    """Return the frames that the stage marks."""
    stage, frames, out = detect_shots(), video(images), list[Frame]()
    state = stage.start(SPEC, Position(0, Fraction(0)))
    for i in range(0, len(frames), chunk):
        state, made = stage.step(state, frames[i : i + chunk])
        out += made
    while state is not None:
        state, made = stage.finish(state)
        out += made
    assert [frame.index for frame in out] == list(range(len(images)))
    return [frame.index for frame in out if frame.extras.get("cut")]


def pan(scene: Gray, count: int, speed: int = 3) -> list[Gray]:
    return [view(scene, speed * i, i) for i in range(count)]


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_a_boundary_is_found_for_every_chunk_size(chunk: int) -> None:
    assert find_boundaries(pan(A, 6) + pan(B, 5) + pan(A, 4), chunk) == [6, 11]


def test_a_boundary_between_dark_shots_is_found() -> None:
    assert find_boundaries([image // 2 for image in pan(A, 4) + pan(B, 4)]) == [4]


def test_a_boundary_at_the_second_and_the_last_frame_is_found() -> None:
    assert find_boundaries([view(A, 0, 0), *pan(B, 4), view(A, 0, 0)]) == [1, 5]


def test_a_fast_pan_is_not_a_boundary() -> None:
    assert find_boundaries(pan(A, 10, speed=11)) == []


def test_a_flash_of_one_frame_is_not_a_boundary() -> None:
    shot = pan(A, 8)
    shot[4] = np.full_like(shot[4], 255)
    assert find_boundaries(shot) == []


def test_a_lamp_switched_on_is_not_a_boundary() -> None:
    shot = [view(A, 0, 0) // 2 for _ in range(8)]
    assert find_boundaries([p if i < 4 else p + np.uint8(100) for i, p in enumerate(shot)]) == []


@pytest.mark.parametrize("length", [6, 12])
def test_fade_and_dissolve_are_not_boundaries(length: int) -> None:
    shares = np.linspace(0, 1, length)
    a, b = view(A, 0, 0), view(B, 0, 0)
    assert find_boundaries([(a * share).astype(np.uint8) for share in shares]) == []
    mixed = [(a * (1 - share) + b * share).astype(np.uint8) for share in shares]
    assert find_boundaries(mixed) == []


def test_only_planes_are_supported() -> None:
    frames = [Frame(i, Fraction(i), Fraction(1), object()) for i in range(3)]
    with pytest.raises(Unsupported, match="planes"):
        detect_shots().step(detect_shots().start(SPEC, Position(0, Fraction(0))), frames)
