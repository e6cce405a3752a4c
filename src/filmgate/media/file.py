"""Where a film comes from and where its result goes: definitions, free of any library."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from filmgate.errors import BadSetting
from filmgate.media.codecs import CODECS

if TYPE_CHECKING:
    from filmgate.core.frame import Spec
    from filmgate.core.job import Source
    from filmgate.core.snapshot import Keep
    from filmgate.core.stage import AnyStage
    from filmgate.media.images import Album
    from filmgate.media.read import Film
    from filmgate.media.segments import Segments
    from filmgate.media.stills import Stills
    from filmgate.media.write import Recording

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


@dataclass(frozen=True, slots=True)
class File:
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
        _check_trim(self.from_, self.to, self.frames)
        if self.max_pixels < 1:
            raise BadSetting(f"max_pixels is {self.max_pixels}: wanted at least 1")

    def open(self, threads: int | None = None) -> Film:
        """The film, its first frame looked at. `threads` decode it. Raises BadFilm, Unsupported."""
        from filmgate.media.read import Film

        return Film.of(self, threads=threads)

    @property
    def files(self) -> tuple[Path, ...]:
        """What it is read from; the same files are the same film."""
        return (Path(self.path),)

    def stages(self, spec: Spec) -> tuple[AnyStage, ...]:
        """What is done to the film before any task. Raises Unsupported."""
        from filmgate.media.planes import is_hdr

        if not self.tonemap or not is_hdr(spec.colour):
            return ()
        from filmgate.media.tonemap import tonemapped

        return (tonemapped(spec.colour),)


@dataclass(frozen=True, slots=True)
class Images:
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
        _check_trim(self.from_, self.to, self.frames)
        if self.in_fps <= 0:
            raise BadSetting(f"in_fps is {self.in_fps}: wanted more than 0")
        if self.max_pixels < 1:
            raise BadSetting(f"max_pixels is {self.max_pixels}: wanted at least 1")

    def open(self, threads: int | None = None) -> Album:
        """The pictures, the first one looked at. Raises BadFilm, Unsupported."""
        from filmgate.media.images import Album

        return Album.of(self, threads)

    @property
    def files(self) -> tuple[Path, ...]:
        """What they are read from. Raises BadFilm."""
        from filmgate.media.images import found

        return found(Path(self.path))

    def stages(self, spec: Spec) -> tuple[AnyStage, ...]:
        """What is done to the film before any task: nothing."""
        return ()


@dataclass(frozen=True, slots=True)
class Pipe:
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
        _check_trim(self.from_, self.to, self.frames)
        if self.max_pixels < 1:
            raise BadSetting(f"max_pixels is {self.max_pixels}: wanted at least 1")
        if self.spool is not None and not Path(self.spool).is_dir():
            raise BadSetting(f"the folder {self.spool} does not exist: make it, to spool there")

    def open(self, threads: int | None = None) -> AbstractContextManager[Source]:
        """The film, its first frame looked at; read once. Raises BadFilm, Unsupported."""
        from filmgate.media.pipe import piped

        return piped(self, threads)

    def stages(self, spec: Spec) -> tuple[AnyStage, ...]:
        """What is done to the film before any task: nothing."""
        return ()


@dataclass(frozen=True, slots=True)
class Output:
    """A result on disk: .mp4, .m4v, .mov, .mkv or .webm, encoded anew; - writes to a pipe."""

    path: Path

    codec: Codec | None = None
    """How the picture is encoded; ffv1 loses nothing. Without: h264, in a .webm vp9. Those in the
    graphics card (_nvenc, _qsv, _videotoolbox) give close results, not the same ones."""

    crf: int | None = None
    """Quality: 0 is best, 51 (of vp9 and av1 63) smallest."""

    preset: str | None = None
    """Time against size, in the codec's own words: medium of h264 and hevc, 8 of av1 ..."""

    pix_fmt: str | None = None
    """The pixel format of the result, such as yuv420p or yuv422p10le. Without: the film's own; RGB
    becomes yuv420p unless a codec is chosen."""

    container: Container | None = None
    """The container, where the name does not tell it; without, a pipe gets y4m."""

    fit: Fit | None = None
    """What to do with odd sides that a codec does not take: pad or crop."""

    overwrite: bool = False
    """Replace the output if it exists."""

    def __post_init__(self) -> None:
        for name, known in (
            ("codec", get_args(Codec)), ("container", get_args(Container)), ("fit", get_args(Fit)),
        ):  # fmt: skip
            if getattr(self, name) not in (None, *known):
                raise BadSetting(
                    f"{name} is {getattr(self, name)!r}: wanted one of {', '.join(known)}"
                )
        named = Path(self.path).suffix.lower()
        if named in (*SUFFIXES, ".m4v") and self.suffix != named:
            raise BadSetting(
                f"container is {self.container} and the output is {self.path.name}: leave one"
            )
        codec = CODECS[self.coded]
        if self.crf is not None and codec.crf is None:
            raise BadSetting(f"crf is {self.crf}: {self.coded} has no such setting, leave it out")
        if self.crf is not None and not 0 <= self.crf <= codec.worst:
            raise BadSetting(
                f"crf is {self.crf}: wanted 0 (best) to {codec.worst} for {self.coded}"
            )
        if self.preset is not None and codec.presets and self.preset not in codec.presets:
            raise BadSetting(
                f"preset is {self.preset!r}: {self.coded} knows {', '.join(codec.presets)}"
            )
        if self.preset is not None and not codec.presets and codec.exact:
            raise BadSetting(f"preset is {self.preset!r}: {self.coded} has none, leave it out")

    @property
    def suffix(self) -> str:
        """The ending that tells the container: ".mkv", although the name may be another."""
        if self.container:
            return f".{self.container}"
        return ".y4m" if self.piped else Path(self.path).suffix.lower()

    @property
    def piped(self) -> bool:
        """Whether it goes to standard output."""
        return str(self.path) == "-"

    @property
    def coded(self) -> str:
        """The codec, chosen by the container where none is given."""
        usual = {".webm": "vp9", ".y4m": "rawvideo"}
        return self.codec or usual.get(self.suffix, "h264")

    def stages(self, spec: Spec) -> tuple[AnyStage, ...]:
        """What is done to the result before it is encoded. Raises Unsupported."""
        pixels = self.pix_fmt or spec.pixels
        if pixels.startswith("gbrp") and not (self.pix_fmt or self.codec):
            # images and gifs, for whom nobody chose: what every player shows
            pixels = "yuv420p" if spec.dtype == "uint8" else "yuv420p10le"
        if self.fit is None and pixels == spec.pixels:
            return ()
        from filmgate.media import shape

        return shape.shaped(spec, self.coded, pixels, self.fit)

    def open(
        self,
        film: Any,
        spec: Spec,
        *,
        slow: Fraction | None = Fraction(1),
        tags: Mapping[str, str] | None = None,
        threads: int = 2,
        keep: Keep | None = None,
    ) -> Recording | Segments:
        """The result being written, beside the other tracks of `film`, `slow`
        times as long (None: without those that have times); in pieces that outlive a crash if
        there is a `keep`. Raises UserError."""
        from filmgate.media.segments import Segments
        from filmgate.media.write import Recording

        if keep is None:
            return Recording(self, spec, film.origin, slow=slow, tags=tags, threads=threads)
        return Segments(keep, self, spec, film.origin, slow=slow, tags=tags, threads=threads)

    def leftovers(self, run: str) -> list[Path]:
        """Hidden files of a run that was killed; `run` is what FILMGATE_RUN was for it."""
        return list(Path(self.path).parent.glob(f".*.{run}.part*"))


@dataclass(frozen=True, slots=True)
class ImageOutput:
    """A result as pictures on disk: frames/%06d.png, .webp or .tiff, none of which loses a bit."""

    path: Path

    png_level: int = 4
    """How hard PNG files are squeezed, 0 (not at all) to 9."""

    overwrite: bool = False
    """Replace pictures that exist."""

    def __post_init__(self) -> None:
        if not 0 <= self.png_level <= 9:
            raise BadSetting(f"png_level is {self.png_level}: wanted 0 (quick) to 9 (small)")

    def stages(self, spec: Spec) -> tuple[AnyStage, ...]:
        """What is done to the result before it is written: made RGB of 8 or 16 bits."""
        from filmgate.media.stills import as_stills

        return as_stills(self, spec)

    def open(
        self,
        film: Any,
        spec: Spec,
        *,
        slow: Fraction | None = Fraction(1),
        tags: Mapping[str, str] | None = None,
        threads: int = 2,
        keep: Keep | None = None,
    ) -> Stills:
        """The pictures being written; those of an interrupted run stay, with or without a `keep`.
        Raises UserError."""
        from filmgate.media.stills import Stills

        return Stills(self, spec, film.origin, tags=tags or {}, threads=threads)


def is_images(path: Path) -> bool:
    """Whether `path` names images: a folder, a pattern such as %06d.png or *.jpg, or one image."""
    return path.suffix.lower() in IMAGE_SUFFIXES or path.is_dir()


def _check_trim(begin: Fraction | None, end: Fraction | None, frames: int | None) -> None:
    if begin is not None and begin < 0:
        raise BadSetting(f"from is {begin} s: wanted 0 or later")
    if end is not None and end <= (begin or 0):
        raise BadSetting(f"to is {end} s: wanted later than {begin or 0} s, where the film begins")
    if frames is not None and frames < 1:
        raise BadSetting(f"frames is {frames}: wanted at least 1")
