"""Names of pixel formats: those of FFmpeg that are planar, what else they hold, and near names."""

import re
from pathlib import Path

import pytest
from av.video import format as pixel_formats
from av.video.format import VideoFormat

from filmgate.errors import BadSetting
from filmgate.media.pixels.format_names import PLANAR_FORMATS, find_equivalent
from filmgate.media.sinks import VideoOutput

names: set[str] = pixel_formats.names  # type: ignore[attr-defined]  # missing in its stub


def test_list_has_every_planar_format_of_ffmpeg_with_8_to_16_bits() -> None:
    shape = re.compile(r"(yuva?4\d\d|gbra?)p(\d+le)?|gray(\d+le)?")
    planar = {name for name in names if shape.fullmatch(name)}
    integers = {name for name in planar if VideoFormat(name).components[0].bits <= 16}
    integers -= {"gray32le"}
    assert set(PLANAR_FORMATS) == integers


@pytest.mark.parametrize(
    ("name", "planar"),
    [("yuv420p", "yuv420p"), ("yuv420p10", "yuv420p10le"), ("yuv420p10be", "yuv420p10le"),
     ("yuvj422p", "yuv422p"), ("nv12", "yuv420p"), ("rgb24", "gbrp"), ("rgba64be", "gbrap16le"),
     ("gray16be", "gray16le"), ("yuv421p", None), ("yuv410p16le", None), ("yuv420p13le", None),
     ("", None), ("le", None)],
)  # fmt: skip
def test_formats_are_held_by_planar_ones(name: str, planar: str | None) -> None:
    assert find_equivalent(name) == planar


@pytest.mark.parametrize("name", sorted(names & {*PLANAR_FORMATS, "nv12", "rgb24", "bgra"}))
def test_what_holds_a_format_has_as_many_bits(name: str) -> None:
    planar = find_equivalent(name)
    assert planar is not None
    held, format = VideoFormat(planar), VideoFormat(name)
    assert held.components[0].bits >= format.components[0].bits
    assert len(held.components) >= len(format.components)
    assert planar in names


@pytest.mark.parametrize(
    ("name", "near"),
    [("yuv421p", "yuv422p"), ("YUV420P", "yuv420p"), ("yuv420p13le", "yuv420p1"),
     ("fog", "yuv420p or yuv422p10le"), ("", "yuv420p or yuv422p10le")],
)  # fmt: skip
def test_a_format_that_does_not_exist_is_refused_with_near_names(name: str, near: str) -> None:
    with pytest.raises(BadSetting, match=f"pix_fmt is {name}, wanted a format.*{near}"):
        VideoOutput(Path("out.mp4"), pix_fmt=name)
