"""Where a film comes from and where its result goes: definitions, free of any library."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from filmgate.errors import BadSetting
from filmgate.media.options import IMAGE_SUFFIXES, MAX_PIXELS, check_trim

if TYPE_CHECKING:
    from filmgate.core.frame import StreamSpec
    from filmgate.core.job import Source
    from filmgate.core.stage import AnyStage
    from filmgate.media.images.image_reader import ImageReader
    from filmgate.media.reading.video_reader import VideoReader


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A film on disk."""

    path: Path

    video: int | None = None
    """The number of the video stream to process, as probe shows it. Without: the best one, which is
    never cover art."""

    from_: Fraction | None = None
    """Begin with the first frame that is shown at this time or later: seconds, or 1:02:03.5."""

    to: Fraction | None = None
    """End before the first frame that is shown at this time or later."""

    frames: int | None = None
    """Take so many frames at most."""

    deinterlace: bool = False
    """Make whole pictures of interlaced ones, one for each frame."""

    tonemap: bool = False
    """Bring HDR to the range and colours of SDR (BT.709), for models that know nothing else."""

    keep_going: bool = False
    """Where the film is damaged, show the last good frame again and say where; exit code 4."""

    max_pixels: int = MAX_PIXELS
    """Refuse pictures of more pixels, before they are decoded."""

    def __post_init__(self) -> None:
        check_trim(self.from_, self.to, self.frames)
        if self.max_pixels < 1:
            raise BadSetting(f"max_pixels is {self.max_pixels}: wanted at least 1")

    def open(self, threads: int | None = None) -> VideoReader:
        """Open the video and decode its first frame, on `threads`. Raises BadInput, Unsupported."""
        from filmgate.media.reading.video_reader import VideoReader

        return VideoReader.of(self, threads=threads)

    @property
    def files(self) -> tuple[Path, ...]:
        """What it is read from; the same files are the same film."""
        return (Path(self.path),)

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """What is done to the film before any task. Raises Unsupported."""
        from filmgate.media.pixels.planes import is_hdr

        if not self.tonemap or not is_hdr(spec.colour):
            return ()
        from filmgate.media.pixels.tonemap import tonemapped

        return (tonemapped(spec.colour),)


@dataclass(frozen=True, slots=True)
class ImageSequence:
    """Pictures on disk as a film: a folder, a pattern (%06d.png, *.jpg), PNG JPEG WebP TIFF."""

    path: Path

    in_fps: Fraction = Fraction(25)
    """Pictures per second, where images are the input."""

    from_: Fraction | None = None
    """Begin with the first frame that is shown at this time or later: seconds, or 1:02:03.5."""

    to: Fraction | None = None
    """End before the first frame that is shown at this time or later."""

    frames: int | None = None
    """Take so many frames at most."""

    max_pixels: int = MAX_PIXELS
    """Refuse pictures of more pixels, before they are decoded."""

    def __post_init__(self) -> None:
        check_trim(self.from_, self.to, self.frames)
        if self.in_fps <= 0:
            raise BadSetting(f"in_fps is {self.in_fps}: wanted more than 0")
        if self.max_pixels < 1:
            raise BadSetting(f"max_pixels is {self.max_pixels}: wanted at least 1")

    def open(self, threads: int | None = None) -> ImageReader:
        """The pictures, the first one looked at. Raises BadInput, Unsupported."""
        from filmgate.media.images.image_reader import ImageReader

        return ImageReader.of(self, threads)

    @property
    def files(self) -> tuple[Path, ...]:
        """What they are read from. Raises BadInput."""
        from filmgate.media.images.numbering import found

        return found(Path(self.path))

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """What is done to the film before any task: nothing."""
        return ()


@dataclass(frozen=True, slots=True)
class VideoPipe:
    """A film that comes through a pipe, - for standard input: y4m, nut or ts."""

    path: Path = Path("-")

    spool: Path | None = None
    """Keep the film in this folder until the end: then all its tracks go along, and any format is
    read."""

    from_: Fraction | None = None
    """Begin with the first frame that is shown at this time or later: seconds, or 1:02:03.5."""

    to: Fraction | None = None
    """End before the first frame that is shown at this time or later."""

    frames: int | None = None
    """Take so many frames at most."""

    max_pixels: int = MAX_PIXELS
    """Refuse pictures of more pixels, before they are decoded."""

    def __post_init__(self) -> None:
        check_trim(self.from_, self.to, self.frames)
        if self.max_pixels < 1:
            raise BadSetting(f"max_pixels is {self.max_pixels}: wanted at least 1")
        if self.spool is not None and not Path(self.spool).is_dir():
            raise BadSetting(f"the folder {self.spool} does not exist: make it, to spool there")

    def open(self, threads: int | None = None) -> AbstractContextManager[Source]:
        """The film, its first frame looked at; read once. Raises BadInput, Unsupported."""
        from filmgate.media.reading.pipe_reader import piped

        return piped(self, threads)

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """What is done to the film before any task: nothing."""
        return ()


def is_images(path: Path) -> bool:
    """Whether `path` names images: a folder, a pattern such as %06d.png or *.jpg, or one image."""
    return path.suffix.lower() in IMAGE_SUFFIXES or path.is_dir()
