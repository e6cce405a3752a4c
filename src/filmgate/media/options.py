"""Options of readers and writers, and the values that they allow."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from filmgate.core.source_metadata import MAX_PIXELS
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
# Names that version 0.1 gave to settings of inputs, for errors that name the new one.
RENAMED_SETTINGS = MappingProxyType(
    {"from": "start", "to": "end", "frames": "max_frames", "video": "stream"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrimOptions:
    """Which frames of a source are read; time 0 is its first shown frame."""

    start: Fraction | None = None
    """Start with the first frame shown at this time or later: seconds, or 1:02:03.5."""

    end: Fraction | None = None
    """Stop before the first frame shown at this time or later."""

    max_frames: int | None = None
    """Read at most this many frames."""

    def __post_init__(self) -> None:
        if self.start is not None and self.start < 0:
            raise BadSetting(f"start is {self.start} s: wanted 0 or later")
        if self.end is not None and self.end <= (self.start or 0):
            raise BadSetting(
                f"end is {self.end} s: wanted later than the start, {self.start or 0} s"
            )
        if self.max_frames is not None and self.max_frames < 1:
            raise BadSetting(f"max_frames is {self.max_frames}: wanted at least 1")

    @property
    def is_set(self) -> bool:
        """Whether any frame may be left out."""
        return (self.start, self.end, self.max_frames) != (None, None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What a reader needs to know: the settings of a source, with `threads` chosen."""

    path: Path
    stream: int | None = None
    trim: TrimOptions = TrimOptions()
    deinterlace: bool = False
    keep_going: bool = False
    max_pixels: int = MAX_PIXELS
    threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeOptions:
    """What the writers of a video need to know: the settings of an output, defaults filled in.

    `suffix` decides the container (".mkv"), whatever `path` ends in. `to_pipe`: the result goes to
    standard output and `path` is "-".
    """

    path: Path
    suffix: str
    codec: Codec = "h264"
    crf: int | None = None
    preset: str | None = None
    overwrite: bool = False
    to_pipe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions:
    """What the writer of images needs to know: the settings of an output."""

    path: Path
    png_level: int = 4
    overwrite: bool = False
