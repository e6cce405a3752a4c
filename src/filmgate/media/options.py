"""Options of readers and writers, and the values that they allow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from filmgate.core.instrumentation.memory import measure_total_memory
from filmgate.core.source_metadata import MAX_PIXELS
from filmgate.errors import BadInput, BadSetting

Codec = Literal[
    "h264", "hevc", "av1", "vp9", "prores", "ffv1", "rawvideo",
    "h264_nvenc", "hevc_nvenc", "av1_nvenc", "h264_qsv", "hevc_qsv", "av1_qsv",
    "h264_videotoolbox", "hevc_videotoolbox",
]  # fmt: skip
Container = Literal["mp4", "mov", "mkv", "webm", "y4m", "nut"]
Fit = Literal["pad", "crop"]
AudioMode = Literal["copy", "encode", "drop"]
SubtitleMode = Literal["copy", "drop"]
Deinterlace = Literal["frames", "fields", "film", "off"]

STREAM_KINDS = ("audio", "video", "subtitle", "data", "attachment")
_STREAM_NAME = re.compile(rf"({'|'.join(STREAM_KINDS)})(:\d+)?|\d+")

MAX_TIME_S = 10**9  # more than 30 years

BYTES_PER_PIXEL = 64  # about 16 frames of 4 bytes are in memory at the same time
SUFFIXES = tuple(f".{name}" for name in get_args(Container))
VIDEO_SUFFIXES = (".mp4", ".m4v", *(suffix for suffix in SUFFIXES if suffix != ".mp4"))
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
LOSSLESS_SUFFIXES = (".png", ".webp", ".tif", ".tiff")  # of images that are written
_NAMES = (
    f"for a video a name that ends in {', '.join(VIDEO_SUFFIXES)}, or --container; for images a "
    f"pattern such as frames/%06d.png that ends in {', '.join(LOSSLESS_SUFFIXES)}; for records "
    "a name such as people.jsonl (filmgate track --help lists the others)"
)
# Names that version 0.1 gave to settings of inputs, for errors that name the new one.
RENAMED_SETTINGS = MappingProxyType(
    {"from": "start", "to": "end", "frames": "max_frames", "video": "stream"}
)


def choose_max_pixels(given: int | None) -> int:
    """Return the most pixels that a frame may have: `given`, or what the memory can hold.

    A small file can unpack to any size. A run of 8000x8000 pixels took up to 61 bytes a pixel.
    """
    return given or min(MAX_PIXELS, measure_total_memory() // BYTES_PER_PIXEL)


def check_frame_size(path: Path, width: int, height: int, max_pixels: int) -> None:
    """Raise BadInput if frames of `path` have no pixels, or more than `max_pixels`."""
    pixels = width * height
    if not pixels:
        raise BadInput(f"{path} has frames of {width}x{height}: get an intact copy")
    if pixels > max_pixels:
        raise BadInput(
            f"{path} has frames of {width}x{height}, wanted at most {max_pixels} pixels: a run "
            f"with them may need {pixels * BYTES_PER_PIXEL / 1e6:.0f} MB of memory, so pass "
            f"--max-pixels {pixels} if you trust it"
        )


def check_video_name(path: Path, suffix: str) -> None:
    """Raise BadSetting if no container has this suffix; `path` is the output."""
    if suffix not in VIDEO_SUFFIXES:
        raise BadSetting(f"the output is {path.name}, wanted {_NAMES}")


def check_image_name(path: Path, *, numbered: bool) -> None:
    """Raise BadSetting for images in a format with loss, or without a number in their name."""
    if path.suffix.lower() not in LOSSLESS_SUFFIXES:
        raise BadSetting(f"the output is {path.name}, wanted {_NAMES}")
    if not numbered:
        raise BadSetting(
            f"the output is {path.name}, which names one image: write "
            f"{path.with_name(f'{path.stem}-%06d{path.suffix}')}, or {path.with_suffix('')}/ for a "
            "folder"
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
        for name in ("start", "end"):
            value = getattr(self, name)
            if value is not None and value > MAX_TIME_S:
                raise BadSetting(f"{name} is later than {MAX_TIME_S} s, wanted a time of the video")
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


@dataclass(frozen=True, slots=True)
class InputFiles:
    """The file of an input, and the files that follow it on one timeline."""

    path: Path
    parts: tuple[Path, ...] = ()
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What a reader needs to know: the settings of a source, with `threads` chosen."""

    path: Path
    parts: tuple[Path, ...] = ()
    stream: int | None = None
    trim: TrimOptions = TrimOptions()
    deinterlace: Deinterlace | None = None
    in_fps: Fraction | None = None
    keep_going: bool = False
    max_pixels: int = MAX_PIXELS
    threads: int = 1

    @property
    def files(self) -> InputFiles:
        """The files that are read."""
        return InputFiles(self.path, self.parts, self.max_pixels)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """Which of the source's other streams are kept, and whether audio is re-encoded.

    `drop` has kinds of streams ("audio"), one of a kind ("audio:1", counted from 0) or indexes of
    streams ("2"). `audio` None: copied if the container can hold it, else re-encoded.
    """

    drop: tuple[str, ...] = ()
    audio: AudioMode | None = None
    subtitles: SubtitleMode = "copy"

    def __post_init__(self) -> None:
        for name in self.drop:
            if not _STREAM_NAME.fullmatch(name):
                raise BadSetting(
                    f"drop is {name!r}, wanted {', '.join(STREAM_KINDS)}, one of a kind such as "
                    "audio:1 (the second; they are counted from 0), or the number of a stream as "
                    "probe shows it"
                )
        for field, values in (("audio", AudioMode), ("subtitles", SubtitleMode)):
            if getattr(self, field) not in (None, *get_args(values)):
                raise BadSetting(
                    f"{field} is {getattr(self, field)!r}, wanted one of "
                    f"{', '.join(get_args(values))}"
                )

    def drops(self, kind: str, place: int, index: int) -> bool:
        """Whether the stream `index` is left out, which is number `place` of its kind."""
        modes = {"audio": self.audio, "subtitle": self.subtitles}
        if modes.get(kind) == "drop":
            return True
        return not {kind, f"{kind}:{place}", str(index)}.isdisjoint(self.drop)


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
    streams: StreamOptions = StreamOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions:
    """What the writer of images needs to know: the settings of an output."""

    path: Path
    png_level: int = 4
    overwrite: bool = False
