"""Definitions of outputs: a video file, images or records. No media library is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, get_args

from filmgate.errors import BadSetting
from filmgate.media.codecs import CODECS
from filmgate.media.options import (
    SUFFIXES,
    AudioMode,
    Codec,
    Container,
    EncodeOptions,
    Fit,
    ImageOptions,
    StreamOptions,
    SubtitleMode,
)
from filmgate.media.pixels.format_names import check_pixel_format
from filmgate.media.settings import check_settings

if TYPE_CHECKING:
    from filmgate.core.frame import StreamSpec
    from filmgate.core.snapshot import CheckpointStore, Commit
    from filmgate.core.source_metadata import SourceMetadata
    from filmgate.core.stage import AnyStage
    from filmgate.media.images.image_writer import ImageWriter
    from filmgate.media.records.writer import RecordWriter
    from filmgate.media.writing.segment_writer import SegmentWriter
    from filmgate.media.writing.video_writer import VideoWriter

# Pixel formats that default codecs do not take, or that few players show.
_UNUSUAL: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"h264": ("gbrp", "yuv411p", "yuv410p", "yuv440p"), "vp9": ("gbrp", "yuv411p", "yuv410p")}
)
_RAW_SUFFIXES = (".nut", ".y4m")  # in others, readers would not know the pixel format


@dataclass(frozen=True, slots=True)
class VideoOutput:
    """A video file: .mp4, .m4v, .mov, .mkv, .webm, .nut or .y4m. "-" writes to standard output."""

    takes_images: ClassVar[bool] = True

    path: Path

    codec: Codec | None = None
    """Video codec. ffv1 is lossless. Hardware encoders (_nvenc, _qsv, _videotoolbox) do not give
    the same bits every time. Default: h264; vp9 in a .webm."""

    crf: int | None = None
    """Quality: 0 is best, 51 (63 for vp9 and av1) is smallest. Default: 18 for h264 and hevc, 24
    for vp9, 25 for av1."""

    preset: str | None = None
    """Encoding speed against size, in the codec's terms: medium for h264 and hevc, 8 for av1."""

    pix_fmt: str | None = None
    """Pixel format of the output, such as yuv420p or yuv422p10le. Default: that of the input; RGB
    and the 4:1:1 of DV become yuv420p unless a codec is chosen."""

    container: Container | None = None
    """Container format. Default: by the name of the output; y4m for standard output."""

    fit: Fit | None = None
    """Pad or crop frames whose width or height the codec does not accept."""

    overwrite: bool = False
    """Replace the output if it exists."""

    drop: tuple[str, ...] = ()
    """Leave out streams of the input: audio, subtitle, data, attachment or video (all but the one
    that is processed), one of a kind such as audio:1 (counted from 0), or the number of a stream as
    probe shows it. Can be given several times."""

    audio: AudioMode | None = None
    """Audio of the input: copy it, encode it (aac, in .webm opus), or drop it. Default: what the
    container cannot hold is encoded, PCM as PCM where that fits; the rest is copied."""

    subtitles: SubtitleMode = "copy"
    """Subtitles of the input: copy them (text becomes the container's kind of text), or drop
    them."""

    def __post_init__(self) -> None:
        check_settings(self)
        _ = self.stream_options  # checks them
        if self.pix_fmt is not None:
            check_pixel_format(self.pix_fmt)
        for name, values in (
            ("codec", get_args(Codec)), ("container", get_args(Container)), ("fit", get_args(Fit)),
        ):  # fmt: skip
            if getattr(self, name) not in (None, *values):
                raise BadSetting(
                    f"{name} is {getattr(self, name)!r}, wanted one of {', '.join(values)}"
                )
        ending = Path(self.path).suffix.lower()
        if ending in (*SUFFIXES, ".m4v") and self.suffix != ending:
            raise BadSetting(
                f"container is {self.container} and the output is {self.path.name}: omit one"
            )
        known = self.suffix in (*SUFFIXES, ".m4v")
        if known and self.chosen_codec == "rawvideo" and self.suffix not in _RAW_SUFFIXES:
            raise BadSetting(
                f"codec is rawvideo and the container is {self.suffix}, wanted "
                f"{' or '.join(_RAW_SUFFIXES)}: name the output so, or pass --codec ffv1, which is "
                "lossless too"
            )
        codec = CODECS[self.chosen_codec]
        if self.crf is not None and codec.crf is None:
            raise BadSetting(f"crf is {self.crf}: {self.chosen_codec} has no such option, omit it")
        if self.crf is not None and not 0 <= self.crf <= codec.worst:
            raise BadSetting(
                f"crf is {self.crf}, wanted 0 (best) to {codec.worst} for {self.chosen_codec}"
            )
        if self.preset is not None and codec.presets and self.preset not in codec.presets:
            raise BadSetting(
                f"preset is {self.preset!r}, wanted one of {', '.join(codec.presets)} for "
                f"{self.chosen_codec}"
            )
        if self.preset is not None and not codec.presets and codec.exact:
            raise BadSetting(
                f"preset is {self.preset!r}: {self.chosen_codec} has no presets, omit it"
            )

    @property
    def suffix(self) -> str:
        """The suffix of the container, such as ".mkv", whatever the name ends in."""
        if self.container:
            return f".{self.container}"
        return ".y4m" if self.to_pipe else Path(self.path).suffix.lower()

    @property
    def to_pipe(self) -> bool:
        """Whether the video goes to standard output."""
        return str(self.path) == "-"

    @property
    def chosen_codec(self) -> Codec:
        """The codec, or the default of the container."""
        if self.codec is not None:
            return self.codec
        defaults: dict[str, Codec] = {".webm": "vp9", ".y4m": "rawvideo"}
        return defaults.get(self.suffix, "h264")

    @property
    def encode_options(self) -> EncodeOptions:
        """The settings for the writers, with defaults filled in."""
        return EncodeOptions(
            path=Path(self.path),
            suffix=self.suffix,
            codec=self.chosen_codec,
            crf=self.crf,
            preset=self.preset,
            overwrite=self.overwrite,
            to_pipe=self.to_pipe,
            streams=self.stream_options,
        )

    @property
    def stream_options(self) -> StreamOptions:
        """Which other streams of the input are kept. Raises BadSetting."""
        return StreamOptions(drop=tuple(self.drop), audio=self.audio, subtitles=self.subtitles)

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """Return the stages that run before encoding. Raises BadSetting, Unsupported."""
        pixels = self.pix_fmt or spec.pixels
        if pixels.startswith(_UNUSUAL.get(self.chosen_codec, "gbrp")) and not (
            self.pix_fmt or self.codec
        ):
            # images, gifs and tapes without a chosen codec: what every player shows
            pixels = "yuv420p" if spec.dtype == "uint8" else "yuv420p10le"
        if self.fit is None and pixels == spec.pixels:
            return ()
        from filmgate.media.pixels import reformat

        return reformat.build_output_stages(spec, self.chosen_codec, pixels, self.fit)

    def open(
        self,
        source: SourceMetadata,
        spec: StreamSpec,
        *,
        time_scale: Fraction | None = Fraction(1),
        tags: Mapping[str, str] | None = None,
        threads: int = 2,
        checkpoints: CheckpointStore | None = None,
        run_name: str = "",
    ) -> VideoWriter | SegmentWriter:
        """Open the output for frames of `spec`; see `core.job.SinkFile`. Raises UserError."""
        from filmgate.media.writing.segment_writer import SegmentWriter
        from filmgate.media.writing.video_writer import VideoWriter

        options = self.encode_options
        if checkpoints is None:
            return VideoWriter(
                options,
                spec,
                source,
                time_scale=time_scale,
                tags=tags,
                threads=threads,
                run_name=run_name,
            )
        return SegmentWriter(
            checkpoints, options, spec, source, time_scale=time_scale, tags=tags, threads=threads
        )

    def find_leftovers(self, run_name: str) -> list[Path]:
        """Return the hidden files of the run of this name, for removal after it was killed."""
        return list(Path(self.path).parent.glob(f".*.{run_name}.part*"))


@dataclass(frozen=True, slots=True)
class ImageOutput:
    """Lossless images: a folder (PNG), or a pattern such as frames/%06d.png, .webp or .tiff."""

    takes_images: ClassVar[bool] = True

    path: Path

    png_level: int = 4
    """Compression of PNG files, 0 (none) to 9."""

    overwrite: bool = False
    """Replace images that exist."""

    def __post_init__(self) -> None:
        check_settings(self)
        if not 0 <= self.png_level <= 9:
            raise BadSetting(f"png_level is {self.png_level}, wanted 0 (fast) to 9 (small)")

    @property
    def image_options(self) -> ImageOptions:
        """The settings for the writer."""
        return ImageOptions(
            path=Path(self.path), png_level=self.png_level, overwrite=self.overwrite
        )

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """Return the stages that convert to RGB or grey of 8 or 16 bits. Raises Unsupported."""
        from filmgate.media.images.image_encoder import build_image_stages
        from filmgate.media.images.image_files import resolve_pattern

        return build_image_stages(resolve_pattern(Path(self.path)).suffix.lower(), spec)

    def open(
        self,
        source: SourceMetadata,
        spec: StreamSpec,
        *,
        time_scale: Fraction | None = Fraction(1),
        tags: Mapping[str, str] | None = None,
        threads: int = 2,
        checkpoints: CheckpointStore | None = None,
        run_name: str = "",
    ) -> ImageWriter:
        """Open the output for frames of `spec`; see `core.job.SinkFile`. Raises UserError."""
        from filmgate.media.images.image_writer import ImageWriter

        return ImageWriter(
            self.image_options, spec, source, threads=threads, checkpoints=checkpoints
        )

    def find_leftovers(self, run_name: str) -> list[Path]:
        """Return no files: what a killed run leaves is in its directory, for the next run."""
        return []

    def discard(self, folder: Path, commits: Sequence[Commit]) -> None:
        """Delete the images that an earlier run in `folder` wrote, by its `commits`; no others."""
        from filmgate.media.images.image_writer import discard_images

        discard_images(self.image_options, folder, commits)


@dataclass(frozen=True, slots=True)
class RecordOutput:
    """Records instead of a video, in a format by the suffix of the name.

    .jsonl: JSON Lines; .parquet; .txt: text of the MOT challenge; .json: COCO keypoints; .pkl: as
    PHALP writes it; .html: a page that shows the tracks.
    """

    takes_images: ClassVar[bool] = False

    path: Path

    overwrite: bool = False
    """Replace the output if it exists."""

    def __post_init__(self) -> None:
        check_settings(self)

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """Return no stages: images are not written."""
        return ()

    def open(
        self,
        source: SourceMetadata,
        spec: StreamSpec,
        *,
        time_scale: Fraction | None = Fraction(1),
        tags: Mapping[str, str] | None = None,
        threads: int = 1,
        checkpoints: CheckpointStore | None = None,
        run_name: str = "",
    ) -> RecordWriter:
        """Open the output; see `core.job.SinkFile`. Raises UserError."""
        from filmgate.media.records.formats import make_format
        from filmgate.media.records.writer import RecordWriter

        path = Path(self.path)
        return RecordWriter(
            path,
            make_format(path.suffix.lower(), spec, path.stem),
            overwrite=self.overwrite,
            checkpoints=checkpoints,
            run_name=run_name,
        )

    def find_leftovers(self, run_name: str) -> list[Path]:
        """Return the hidden files of the run of this name, for removal after it was killed."""
        return list(Path(self.path).parent.glob(f".*.{run_name}.part*"))
