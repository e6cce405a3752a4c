"""Where results go: a video file or images. Definitions, as a job holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from filmgate.errors import BadSetting
from filmgate.media.codecs import CODECS
from filmgate.media.options import SUFFIXES, Codec, Container, Fit

if TYPE_CHECKING:
    from filmgate.core.frame import StreamSpec
    from filmgate.core.snapshot import CheckpointStore
    from filmgate.core.stage import AnyStage
    from filmgate.media.images.image_writer import ImageWriter
    from filmgate.media.writing.segment_writer import SegmentWriter
    from filmgate.media.writing.video_writer import VideoWriter


@dataclass(frozen=True, slots=True)
class VideoOutput:
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

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """What is done to the result before it is encoded. Raises Unsupported."""
        pixels = self.pix_fmt or spec.pixels
        if pixels.startswith("gbrp") and not (self.pix_fmt or self.codec):
            # images and gifs, for whom nobody chose: what every player shows
            pixels = "yuv420p" if spec.dtype == "uint8" else "yuv420p10le"
        if self.fit is None and pixels == spec.pixels:
            return ()
        from filmgate.media.pixels import reformat

        return reformat.shaped(spec, self.coded, pixels, self.fit)

    def open(
        self,
        video: Any,
        spec: StreamSpec,
        *,
        slow: Fraction | None = Fraction(1),
        tags: Mapping[str, str] | None = None,
        threads: int = 2,
        keep: CheckpointStore | None = None,
    ) -> VideoWriter | SegmentWriter:
        """The result being written, beside the other tracks of `film`, `slow`
        times as long (None: without those that have times); in pieces that outlive a crash if
        there is a `keep`. Raises UserError."""
        from filmgate.media.writing.segment_writer import SegmentWriter
        from filmgate.media.writing.video_writer import VideoWriter

        if keep is None:
            return VideoWriter(self, spec, video.origin, slow=slow, tags=tags, threads=threads)
        return SegmentWriter(keep, self, spec, video.origin, slow=slow, tags=tags, threads=threads)

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

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """What is done to the result before it is written: made RGB of 8 or 16 bits."""
        from filmgate.media.images.image_writer import as_stills

        return as_stills(self, spec)

    def open(
        self,
        video: Any,
        spec: StreamSpec,
        *,
        slow: Fraction | None = Fraction(1),
        tags: Mapping[str, str] | None = None,
        threads: int = 2,
        keep: CheckpointStore | None = None,
    ) -> ImageWriter:
        """The pictures being written; those of an interrupted run stay, with or without a `keep`.
        Raises UserError."""
        from filmgate.media.images.image_writer import ImageWriter

        return ImageWriter(self, spec, video.origin, tags=tags or {}, threads=threads)
