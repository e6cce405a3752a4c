"""What a user may set about reading and writing, and the values that are allowed."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, get_args

from filmgate.errors import BadSetting

Codec = Literal[
    "h264", "hevc", "av1", "vp9", "prores", "ffv1", "rawvideo",
    "h264_nvenc", "hevc_nvenc", "av1_nvenc", "h264_qsv", "hevc_qsv", "av1_qsv",
    "h264_videotoolbox", "hevc_videotoolbox",
]  # fmt: skip
Container = Literal["mp4", "mov", "mkv", "webm", "y4m", "nut"]
Fit = Literal["pad", "crop"]

SUFFIXES = tuple(f".{name}" for name in get_args(Container))
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
MAX_PIXELS = 1 << 26  # 8192 x 8192


def check_trim(begin: Fraction | None, end: Fraction | None, frames: int | None) -> None:
    if begin is not None and begin < 0:
        raise BadSetting(f"from is {begin} s: wanted 0 or later")
    if end is not None and end <= (begin or 0):
        raise BadSetting(f"to is {end} s: wanted later than {begin or 0} s, where the film begins")
    if frames is not None and frames < 1:
        raise BadSetting(f"frames is {frames}: wanted at least 1")
