"""A contact sheet shows frames pixel by pixel, and where in the complete frame they are."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import filmgate as fg
from filmgate.core.frame import Frame
from filmgate.media.pixels.planes import Planes
from filmgate.quality.report.contact_sheet import (
    LABEL_HEIGHT,
    BeforeAfter,
    find_change,
    find_detail,
    render_frame,
    render_image,
    write_before_after,
    write_contact_sheet,
)
from tests import videos

WIDE = videos.Video(frames=4, size=(640, 360))


def read(png: Path) -> npt.NDArray[np.uint8]:
    with Image.open(png) as sheet:
        return np.asarray(sheet.convert("RGB"))


def read_images(video: Path) -> list[Image.Image]:
    return [render_image(frame) for frame in fg.frames((), video)]


def test_a_frame_is_shown_in_its_colours_with_its_number() -> None:
    planes = tuple(np.full((48, 64), level, np.uint8) for level in (10, 20, 200))
    frame = Frame(3, Fraction(1, 8), Fraction(1, 25), Planes(planes, "gbrp"))
    image = render_frame(frame, 68)
    assert image.size == (68, 48 + LABEL_HEIGHT)
    assert image.getpixel((34, 24)) == (200, 10, 20)


def test_a_sheet_has_a_row_for_each_moment(tmp_path: Path) -> None:
    video = videos.make(videos.VIDEOS["even"], tmp_path / "video.mp4")
    moments = [Fraction(0), Fraction(1, 5)]
    png = write_contact_sheet(video, moments, tmp_path / "sheet.png", columns=3, width=68)
    with Image.open(png) as sheet:
        assert sheet.size == (4 * 68, 2 * (48 + LABEL_HEIGHT))
        block = [sheet.getpixel((column * 68 + 2 + 4, 8)) for column in range(1, 4)]
    bright = [isinstance(pixel, tuple) and pixel[0] > 128 for pixel in block]
    assert bright == [False, True, False]  # the first bit of the numbers 0, 1, 2


def test_frames_are_shown_pixel_by_pixel_at_the_marked_place(tmp_path: Path) -> None:
    video = videos.make(WIDE, tmp_path / "video.mp4")
    png = write_contact_sheet(video, [Fraction(0)], tmp_path / "sheet.png", columns=2, width=204)
    images, sheet = read_images(video), read(png)
    box = find_detail(images[0], (200, 150))
    assert (box[2] - box[0], box[3] - box[1]) == (200, 150)
    for column in (1, 2):
        crop = sheet[:150, column * 204 + 2 : column * 204 + 202]
        assert np.array_equal(crop, np.asarray(images[column - 1].crop(box)))
    red = np.argwhere((sheet[:112, :204] == (255, 48, 48)).all(-1))
    (top, left), (bottom, right) = red.min(0), red.max(0)
    scale = 200 / 640
    found = left - 2, top, right - 2, bottom
    assert found == pytest.approx([edge * scale for edge in box], abs=2)


@pytest.mark.slow
def test_a_result_of_another_size_is_shown_at_its_own_size_below_repeated_pixels(
    tmp_path: Path,
) -> None:
    video = videos.make(WIDE, tmp_path / "video.mp4")
    large = fg.VideoOutput(tmp_path / "large.mp4", preset="ultrafast")
    fg.run(fg.Upscale(scale=2), fg.VideoFile(video, max_frames=1), large)
    after = fg.VideoFile(tmp_path / "large.mp4")
    pair = BeforeAfter(fg.VideoFile(video, max_frames=1), after, (fg.Upscale(scale=2),), 0)
    sheet = read(write_before_after([pair], tmp_path / "sheet.png", columns=1, width=204))
    (small,), (result,) = read_images(video)[:1], read_images(tmp_path / "large.mp4")
    left, top, right, bottom = box = find_detail(result, (200, 150))
    below = sheet[150 + LABEL_HEIGHT :][:150, 206:406]
    assert np.array_equal(below, np.asarray(result.crop(box)))
    repeated = np.asarray(small).repeat(2, 0).repeat(2, 1)[top:bottom, left:right]
    shown = sheet[:150, 206:406].astype(int)
    assert np.abs(shown - repeated).mean() < np.abs(below.astype(int) - repeated).mean()
    assert (shown == repeated).all(-1).mean() > 0.9


def test_the_place_of_most_detail_is_found() -> None:
    image = np.full((90, 160), 90, np.uint8)
    image[40:60:2, 100:130] = 200
    left, top, right, bottom = find_detail(Image.fromarray(image), (40, 30))
    assert left <= 100
    assert right >= 130
    assert top <= 40
    assert bottom >= 60
    assert find_detail(Image.fromarray(image), (400, 30))[::2] == (0, 160)


def test_the_place_is_that_of_a_change_if_a_single_place_was_changed() -> None:
    chance = np.random.default_rng(1)
    pixels = chance.integers(0, 255, (120, 200, 3), np.uint8)
    changed = pixels.copy()
    changed[70:100, 150:180] //= 2
    before, after = Image.fromarray(pixels), Image.fromarray(changed)
    found = find_change(before, after, (60, 50))
    assert found == pytest.approx((135, 60, 195, 110), abs=2)  # in the middle of it
    assert find_change(before, before, (40, 40)) is None
    assert find_change(before, Image.fromarray(pixels // 2), (40, 40)) is None  # everywhere
    assert find_change(before, before.resize((20, 12)), (4, 4)) is None
