"""Images on disk as a video, all of the first one's size and format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from pathlib import Path

from av.video.frame import VideoFrame

from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.core.prefetch import map_threads
from filmgate.core.snapshot import Cursor
from filmgate.core.source_metadata import SourceMetadata
from filmgate.errors import BadSetting, Unsupported
from filmgate.media.images.image_decoder import decode_image
from filmgate.media.images.numbering import find_images, find_skipped
from filmgate.media.options import ReadOptions
from filmgate.media.pixels.av_frames import extract_planes, read_color_tags
from filmgate.media.pixels.format_names import get_bit_depth
from filmgate.media.pixels.planes import Planes
from filmgate.media.reading.stateless_reader import StatelessReader
from filmgate.units import MIB

_DECODED_BYTES = 64 * MIB  # of images that are decoded at the same time


@dataclass(frozen=True, slots=True)
class ImageReader(StatelessReader):
    """Images that can be read from any one on; `paths` are those that the trim keeps.

    Frame n is shown at n / fps seconds. The first image determines size, format, colour and
    rotation (that of its EXIF, not applied to the samples); the others must match it.
    """

    options: ReadOptions
    paths: tuple[Path, ...]
    spec: StreamSpec
    metadata: SourceMetadata
    notice: str = ""  # about files that are left out

    @classmethod
    def open(cls, options: ReadOptions, fps: Fraction) -> ImageReader:
        """Find the images, decode the first one. Raises BadInput, BadSetting, Unsupported."""
        images = find_images(options.path)
        paths = _apply_trim(options, fps, images)
        frame, matrix = decode_image(paths[0], options.max_pixels)
        pixels = frame.format.name.replace("yuvj", "yuv")
        spec = StreamSpec(
            width=frame.width,
            height=frame.height,
            rate=fps,
            time_base=1 / fps,
            pixels=pixels,
            dtype="uint8" if get_bit_depth(pixels) == 8 else "uint16",
            colour=read_tags(frame),
            frames=len(paths),
        )
        metadata = SourceMetadata(
            display_matrix=matrix,
            trimmed=options.trim.is_set,
            images=images,
            images_path=options.path,
        )
        return cls(options, paths, spec, metadata, find_skipped(options.path, images))

    @property
    def duration(self) -> Fraction:
        """Seconds."""
        return len(self.paths) * self.spec.time_base

    def read(self, cursor: Cursor | None, size: int) -> Iterator[tuple[list[Frame], Cursor]]:
        """Yield chunks that end at multiples of `size`, each with the cursor after it.

        Raises BadInput, Unsupported with the name of the faulty file.
        """
        held: list[Frame] = []
        first = cursor.index if cursor else 0
        tick = self.spec.time_base
        for index, image in enumerate(self._decode_from(first), first):
            if held and index % size == 0:
                yield held, Cursor(index, index)
                held = []
            extras = {"notice": self.notice} if self.notice and index == 0 else {}
            held.append(Frame(index, index * tick, tick, image, extras))
        if held:
            yield held, Cursor(len(self.paths), len(self.paths))

    def iter_times(self) -> Iterator[tuple[Fraction, Fraction]]:
        """Yield (time, duration) of every frame in seconds."""
        tick = self.spec.time_base
        return ((n * tick, tick) for n in range(len(self.paths)))

    def _decode_from(self, first: int) -> Iterator[Planes]:
        """Yield the images from number `first` on, several decoded at a time."""
        bytes_each = self.spec.width * self.spec.height * (4 if self.spec.dtype == "uint8" else 8)
        together = max(1, min(self.options.threads, _DECODED_BYTES // bytes_each))
        for at in range(first, len(self.paths), together):
            yield from map_threads(self._decode, self.paths[at : at + together], together)

    def _decode(self, path: Path) -> Planes:
        spec = self.spec
        frame, matrix = decode_image(path, self.options.max_pixels)
        kind = (frame.width, frame.height, frame.format.name.replace("yuvj", "yuv"))
        if kind != (spec.width, spec.height, spec.pixels):
            raise Unsupported(
                f"{path} is {kind[0]}x{kind[1]} {kind[2]}, wanted {spec.width}x{spec.height} "
                f"{spec.pixels} as {self.paths[0].name}: convert it, or move it elsewhere"
            )
        if (matrix, read_tags(frame)) != (self.metadata.display_matrix, spec.colour):
            raise Unsupported(
                f"{path} has another rotation or other colour tags than {self.paths[0].name}, "
                "wanted the same: convert it, or move it elsewhere"
            )
        return extract_planes(frame, spec.pixels, spec.colour)


def _apply_trim(options: ReadOptions, fps: Fraction, paths: tuple[Path, ...]) -> tuple[Path, ...]:
    trim = options.trim
    start = ceil((trim.start or 0) * fps)
    end = len(paths) if trim.end is None else ceil(trim.end * fps)
    kept = paths[start:end][: trim.max_frames]
    if not kept:
        raise BadSetting(
            f"{options.path} has no frame from {float(trim.start or 0):.3f} s"
            + (f" to {float(trim.end):.3f} s" if trim.end is not None else " on")
            + f": it has {len(paths)}, {float(len(paths) / fps):.3f} s. Change --start or --end"
        )
    return kept


def read_tags(frame: VideoFrame) -> ColorTags:
    if frame.format.name.startswith("yuv"):
        return read_color_tags(frame, "center")  # of JPEG and WebP
    return replace(read_color_tags(frame, "unknown"), matrix="gbr", range="pc")
