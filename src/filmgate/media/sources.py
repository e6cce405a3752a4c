"""Definitions of inputs: a video file, a sequence of images, a pipe. No media library is needed."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from filmgate.errors import BadSetting
from filmgate.media.containers.detection import is_video_with_image_name
from filmgate.media.options import (
    IMAGE_SUFFIXES,
    Deinterlace,
    ReadOptions,
    TrimOptions,
    choose_max_pixels,
)
from filmgate.media.rates import MAX_INPUT_RATE, check_rate
from filmgate.media.settings import check_settings

if TYPE_CHECKING:
    from filmgate.core.frame import StreamSpec
    from filmgate.core.job import Source
    from filmgate.core.stage import AnyStage
    from filmgate.media.images.image_reader import ImageReader
    from filmgate.media.reading.video_reader import VideoReader


@dataclass(frozen=True, slots=True, kw_only=True)
class InputOptions(TrimOptions):
    """Settings that all inputs share."""

    max_pixels: int | None = None
    """Refuse frames with more pixels than this, before they are decoded. Default:
    50331648, 8192 x 6144, or what the memory of the machine can hold."""

    def __post_init__(self) -> None:
        check_settings(self)
        TrimOptions.__post_init__(self)  # super() fails in a dataclass with slots
        if self.max_pixels is not None and self.max_pixels < 1:
            raise BadSetting(f"max_pixels is {self.max_pixels}: wanted at least 1")

    @property
    def trim(self) -> TrimOptions:
        """The part of the input that is read."""
        return TrimOptions(start=self.start, end=self.end, max_frames=self.max_frames)


@dataclass(frozen=True, slots=True)
class VideoFile(InputOptions):
    """A video file of one of the containers in docs/formats.md, known by its content."""

    path: Path

    stream: int | None = None
    """Index of the video stream to process, as shown by probe. Default: the best one, never cover
    art."""

    deinterlace: Deinterlace | bool | None = None
    """Deinterlace: frames makes one frame of both fields, fields one of each (50 from 50i), film
    takes out what TV adds to film (3:2, 30 to 24 frames a second), off is not to look for fields.
    Without a value: frames. Default: nothing is changed, and fields are reported."""

    tonemap: bool = False
    """Convert HDR to SDR (BT.709), for models that were trained on SDR only."""

    keep_going: bool = False
    """Where the video is damaged, repeat the last good frame and report the time; exit code 4."""

    join: tuple[Path, ...] = ()
    """Files that follow this one, as parts of one video: their streams must match."""

    in_fps: Fraction | None = None
    """Frames per second of images, and of bare streams without times (.h264, .m2v). Default: 25
    for images, and for a bare stream what it says."""

    def __post_init__(self) -> None:
        InputOptions.__post_init__(self)
        if isinstance(self.deinterlace, bool):
            object.__setattr__(self, "deinterlace", "frames" if self.deinterlace else None)
        if self.in_fps is not None:
            object.__setattr__(self, "in_fps", check_rate("in_fps", self.in_fps, MAX_INPUT_RATE))

    def open(self, threads: int | None = None) -> VideoReader:
        """Open the video and decode its first frame, on `threads`. Raises BadInput, Unsupported."""
        from filmgate.media.reading.open_video import open_video

        return open_video(
            ReadOptions(
                path=Path(self.path),
                parts=tuple(map(Path, self.join)),
                stream=self.stream,
                trim=self.trim,
                deinterlace=None if isinstance(self.deinterlace, bool) else self.deinterlace,
                in_fps=self.in_fps,
                keep_going=self.keep_going,
                max_pixels=choose_max_pixels(self.max_pixels),
                threads=choose_threads(threads),
            )
        )

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read; the same files give the same video."""
        return (Path(self.path), *map(Path, self.join))

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """Return the stages that run before any task. Raises Unsupported."""
        from filmgate.media.pixels.format_names import is_hdr

        if not self.tonemap or not is_hdr(spec.colour):
            return ()
        from filmgate.media.pixels.tonemap import tonemap_to_sdr

        return (tonemap_to_sdr(spec.colour),)


@dataclass(frozen=True, slots=True)
class ImageSequence(InputOptions):
    """Images as a video: a folder, a pattern (%06d.png, *.jpg) or one PNG, JPEG, WebP or TIFF."""

    path: Path

    in_fps: Fraction = Fraction(25)
    """Images per second, when the input is images."""

    def __post_init__(self) -> None:
        InputOptions.__post_init__(self)
        rate = check_rate("in_fps", self.in_fps, MAX_INPUT_RATE)
        if rate != self.in_fps:  # it was text, or the decimal form of a rate
            object.__setattr__(self, "in_fps", rate)

    def open(self, threads: int | None = None) -> ImageReader:
        """Find the images and decode the first one. Raises BadInput, BadSetting, Unsupported."""
        from filmgate.media.images.image_reader import ImageReader

        options = ReadOptions(
            path=Path(self.path),
            trim=self.trim,
            max_pixels=choose_max_pixels(self.max_pixels),
            threads=choose_threads(threads),
        )
        return ImageReader.open(options, self.in_fps)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read, in order. Raises BadInput."""
        from filmgate.media.images.numbering import find_images

        return find_images(Path(self.path))

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """Return the stages that run before any task: none."""
        return ()


@dataclass(frozen=True, slots=True)
class VideoPipe(InputOptions):
    """A video from a pipe, - for standard input: y4m, nut or ts. It can be read once."""

    path: Path = Path("-")

    spool: Path | None = None
    """Store the piped video in this folder during the run: audio and other streams are then copied,
    and any format works."""

    def __post_init__(self) -> None:
        InputOptions.__post_init__(self)
        if self.spool is not None and not Path(self.spool).is_dir():
            raise BadSetting(f"spool is {self.spool}, which is no folder: create it first")

    def open(self, threads: int | None = None) -> AbstractContextManager[Source]:
        """Open the pipe and decode its first frame. Raises BadInput, BadSetting, Unsupported."""
        from filmgate.media.reading.pipe_reader import open_pipe

        options = ReadOptions(
            path=Path(self.path),
            trim=self.trim,
            max_pixels=choose_max_pixels(self.max_pixels),
            threads=choose_threads(threads),
        )
        return open_pipe(options, None if self.spool is None else Path(self.spool))

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """Return the stages that run before any task: none."""
        return ()


def choose_threads(threads: int | None) -> int:
    """Return the number of decoding threads: `threads`, else one for each core, at most 8."""
    return threads or min(8, os.cpu_count() or 1)


def is_images(path: Path) -> bool:
    """Whether `path` names images: a folder, a pattern such as %06d.png or *.jpg, or one image.

    An animated PNG or WebP is a video, and so is any other video of such a name.
    """
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return not (path.is_file() and is_video_with_image_name(path))
    return path.is_dir()
