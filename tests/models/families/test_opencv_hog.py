"""OpenCV's people detector: what is merged, formats and sizes, and the people of real clips."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import filmgate as fg
from filmgate.core.frame import ColorTags
from filmgate.errors import BadSetting
from filmgate.media.pixels.planes import Planes
from filmgate.models.families.opencv_hog import HogOptions
from filmgate.models.families.opencv_hog import detector as hog
from filmgate.models.families.opencv_hog.detector import HogDetector
from filmgate.models.people.association import PersonDetection
from filmgate.models.people.matching import measure_overlaps
from tests.models.people.figures import COLOUR

CLIPS = Path(__file__).parents[4] / "shared" / "clips"


def draw_person(width: int = 240, height: int = 160, x: int = 120) -> Any:
    """Return luma of someone standing, and a wall behind: head, trunk, arms, two legs."""
    wide = np.full((height, width), 180, np.uint8)
    scale = height / 160
    shapes = (
        ((0, -58), (11, 13)), ((0, -18), (17, 30)), ((-21, -20), (5, 27)), ((21, -20), (5, 27)),
        ((-9, 40), (7, 36)), ((9, 40), (7, 36)),
    )  # fmt: skip
    for (dx, dy), (a, b) in shapes:
        centre = (round(x + dx * scale), round((84 + dy) * scale))
        cv2.ellipse(wide, centre, (round(a * scale), round(b * scale)), 0, 0, 360, 60, -1)
    return cv2.GaussianBlur(wide, (0, 0), 1.5 * scale)


def make_planes(luma: Any, pixels: str = "yuv420p", colour: ColorTags = COLOUR) -> Planes:
    chroma = np.full((-(-luma.shape[0] // 2), -(-luma.shape[1] // 2)), 128, np.uint8)
    return Planes((luma, chroma, chroma), pixels, colour)


def find(image: Planes, rows: int = 128) -> list[PersonDetection]:
    (people,) = HogDetector(rows).detect([image])
    return people


def test_a_drawn_person_is_found_at_the_right_place_and_size() -> None:
    best = find(make_planes(draw_person(x=90)))[0]
    left, top, width, height = best.box
    assert left + width / 2 == pytest.approx(90, abs=6)
    assert (top + height / 2, height) == pytest.approx((84, 135), abs=18)
    larger = find(make_planes(draw_person(480, 320, 180)))[0]
    assert larger.box == pytest.approx([2 * value for value in best.box], abs=8)
    assert larger.score == pytest.approx(best.score, abs=0.1)


def test_an_empty_wall_has_no_people() -> None:
    assert find(make_planes(np.full((160, 240), 120, np.uint8))) == []


def test_grey_rgb_ten_bits_and_alpha_give_nearly_the_same() -> None:
    luma = draw_person()
    image = make_planes(luma)
    wanted = find(image)[0]
    full = replace(COLOUR, range="pc")
    wide = np.asarray(luma.astype(np.uint16) * 4)
    chroma = np.full((80, 120), 512, np.uint16)
    grey = np.clip((luma.astype(float) - 16) / 219 * 255, 0, 255).round().astype(np.uint8)
    for other in (
        Planes((wide, chroma, chroma), "yuv420p10le", COLOUR),
        Planes((*image.arrays, luma), "yuva420p", COLOUR),
        Planes((grey,), "gray", full),
        Planes((grey, grey, grey), "gbrp", full),
    ):
        found = find(other)[0]
        assert found.box == pytest.approx(wanted.box, abs=4), other.pixels
        assert found.score == pytest.approx(wanted.score, abs=0.1), other.pixels


def test_the_order_in_which_threads_find_windows_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image, make = make_planes(draw_person()), hog._make_classifier
    wanted = find(image)

    class Shuffled:
        def detectMultiScale(self, *args: Any, **settings: Any) -> Any:  # noqa: N802
            windows, margins = make().detectMultiScale(*args, **settings)
            order = np.random.default_rng(1).permutation(len(windows))
            return np.asarray(windows)[order], np.asarray(margins)[order]

    monkeypatch.setattr(hog, "_make_classifier", Shuffled)
    assert find(image) == wanted


def test_windows_of_one_person_become_one_and_others_stay() -> None:
    listed = [[10, 10, 40, 80], [12, 11, 40, 82], [20, 20, 20, 40], [90, 10, 40, 80]]
    boxes = np.array(listed, np.float64)
    margins = np.array([1.0, 0.9, 0.5, 0.8])
    first, second = hog._merge(boxes, margins)
    assert first.box == pytest.approx((10.9, 10.45, 40, 80.9), abs=0.2)
    assert second.box == pytest.approx((90, 10, 40, 80))
    assert 1 > first.score > second.score > 0.9


def test_tiny_and_narrow_images_are_taken() -> None:
    for size in ((1, 1), (16, 400), (8192, 16)):
        luma = np.full((size[1], size[0]), 90, np.uint8)
        assert find(make_planes(luma)) == []


def test_rows_that_are_refused() -> None:
    for rows in (64, 4000):
        with pytest.raises(BadSetting, match=f"rows is {rows}: pass 128 to 1080"):
            HogOptions(rows=rows)


@pytest.mark.clips
@pytest.mark.skipif(not CLIPS.is_dir(), reason=f"the real clips are not here ({CLIPS})")
@pytest.mark.parametrize(
    ("clip", "index", "box"),
    [
        ("intel_person", 130, (388, 10, 128, 384)),
        ("intel_person", 338, (340, 0, 174, 384)),
        ("intel_person", 807, (364, 24, 130, 350)),
        ("phalp_vid", 0, (592, 169, 266, 669)),
    ],
)
def test_people_of_real_clips_are_found(
    clip: str, index: int, box: tuple[float, float, float, float]
) -> None:
    frames = fg.frames((), fg.VideoFile(CLIPS / f"{clip}.mp4", max_frames=index + 1))
    image = next(frame.image for frame in frames if frame.index == index)
    assert isinstance(image, Planes)
    best = find(image, rows=256)[0]
    assert measure_overlaps([best.box], [box]) > 0.5
    assert best.score > 0.8
