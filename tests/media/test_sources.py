"""Definitions of inputs: settings that all share, checked values, and durations."""

import shutil
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from filmgate.errors import BadSetting
from filmgate.media.options import RENAMED_SETTINGS, TrimOptions
from filmgate.media.sources import ImageSequence, VideoFile, VideoPipe, is_images
from tests.media.conftest import FindVideo

INPUTS = (VideoFile, ImageSequence, VideoPipe)


@pytest.mark.parametrize("cls", INPUTS)
def test_all_inputs_share_the_settings_of_a_trim(cls: type[Any]) -> None:
    names = {field.name for field in fields(cls)}
    assert names >= {field.name for field in fields(TrimOptions)} | {"max_pixels"}
    made = cls(Path("x"), start=Fraction(1), end=Fraction(2), max_frames=3)
    assert made.trim == TrimOptions(start=Fraction(1), end=Fraction(2), max_frames=3)
    assert made.trim.is_set
    assert not cls(Path("x")).trim.is_set


@pytest.mark.parametrize("cls", INPUTS)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": Fraction(-1)}, "start is -1 s: wanted 0 or later"),
        (
            {"start": Fraction(3), "end": Fraction(3)},
            "end is 3 s: wanted later than the start, 3 s",
        ),
        ({"end": Fraction(0)}, "end is 0 s: wanted later than the start, 0 s"),
        ({"max_frames": 0}, "max_frames is 0: wanted at least 1"),
        ({"max_pixels": 0}, "max_pixels is 0: wanted at least 1"),
    ],
)
def test_impossible_settings_are_refused(
    cls: type[Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadSetting, match=message):
        cls(Path("x"), **settings)


def test_settings_of_one_kind_of_input_are_checked_too(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="in_fps is 0: wanted more than 0"):
        ImageSequence(tmp_path, in_fps=Fraction(0))
    with pytest.raises(BadSetting, match="absent, which is no folder: create it first"):
        VideoPipe(spool=tmp_path / "absent")


def test_renamed_settings_exist_and_their_old_names_do_not() -> None:
    names = {field.name for cls in INPUTS for field in fields(cls)}
    assert set(RENAMED_SETTINGS.values()) <= names
    assert not set(RENAMED_SETTINGS) & names


@pytest.mark.parametrize(
    ("name", "duration"), [("even", Fraction(12, 25)), ("uneven_mkv", None), ("gif", None)]
)
def test_duration_of_a_video_is_known_without_decoding(
    name: str, duration: Fraction | None, find_video: FindVideo
) -> None:
    reader = VideoFile(find_video(name)).open()
    *_, (time, length) = reader.iter_times()
    assert reader.duration == pytest.approx(float(duration or time + length), abs=0.011)
    trimmed = VideoFile(find_video(name), start=Fraction("0.1"), end=Fraction("0.3")).open()
    *_, (time, length) = trimmed.iter_times()
    assert trimmed.duration == time + length


def test_duration_of_images_is_their_number_by_their_rate(tmp_path: Path) -> None:
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((8, 8, 3), np.uint8))
    assert ImageSequence(tmp_path, in_fps=Fraction(10)).open().duration == Fraction(1, 2)
    assert ImageSequence(tmp_path, max_frames=2).open().duration == Fraction(2, 25)


def test_a_video_with_the_name_of_an_image_is_a_video(
    find_video: FindVideo, tmp_path: Path
) -> None:
    """A JPEG may hold a second one, a preview, and is an image all the same."""
    for name in ("a.png", "a.jpg", "a.webp"):
        assert not is_images(Path(shutil.copy(find_video("even"), tmp_path / name)))
    jpeg = cv2.imencode(".jpg", np.zeros((8, 8), np.uint8))[1].tobytes()
    (tmp_path / "b.jpg").write_bytes(2 * jpeg)
    (tmp_path / "c.png").write_bytes(cv2.imencode(".png", np.zeros((8, 8)))[1].tobytes())
    assert is_images(tmp_path / "b.jpg")
    assert is_images(tmp_path / "c.png")
    assert is_images(tmp_path / "missing.png")
