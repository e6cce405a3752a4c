"""Pictures on disk as a film: which files, in what order, and all of one kind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from types import TracebackType

from av.video.frame import VideoFrame

from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.core.prefetch import map_threads
from filmgate.core.snapshot import Cursor
from filmgate.errors import BadSetting, Unsupported
from filmgate.media.images.image_decoder import picture
from filmgate.media.images.numbering import found
from filmgate.media.pixels import formats
from filmgate.media.pixels.av_frames import planes_of
from filmgate.media.pixels.planes import Planes, bits_of
from filmgate.media.source_metadata import SourceMetadata
from filmgate.media.sources import ImageSequence
from filmgate.units import MIB

_DECODED = 64 * MIB  # of pictures that are decoded at the same time


@dataclass(frozen=True, slots=True)
class ImageReader:
    """Pictures that can be read from any place; `paths` are those that the trim keeps.

    Frame n is shown at n / in_fps seconds. The first picture says what all of them are: size,
    format, colour and turn (that of its EXIF, not applied to the samples).
    """

    images: ImageSequence
    paths: tuple[Path, ...]
    spec: StreamSpec
    origin: SourceMetadata
    threads: int

    @classmethod
    def of(cls, images: ImageSequence, threads: int | None = None) -> ImageReader:
        """The pictures, the first one decoded. Raises BadInput, BadSetting, Unsupported."""
        paths = _trimmed(images, found(Path(images.path)))
        frame, turn = picture(paths[0], images.max_pixels)
        pixels = frame.format.name.replace("yuvj", "yuv")
        spec = StreamSpec(
            width=frame.width,
            height=frame.height,
            rate=images.in_fps,
            time_base=1 / images.in_fps,
            pixels=pixels,
            dtype="uint8" if bits_of(pixels) == 8 else "uint16",
            colour=_colour(frame),
            frames=len(paths),
        )
        trimmed = (images.from_, images.to, images.frames) != (None,) * 3
        origin = SourceMetadata(turn=turn, trimmed=trimmed)
        return cls(images, paths, spec, origin, threads or min(8, os.cpu_count() or 1))

    def read(self, cursor: Cursor | None, size: int) -> Iterator[tuple[list[Frame], Cursor]]:
        """Chunks that end at multiples of `size`, each with the place after it.

        Raises BadInput, Unsupported with the name of the file that is wrong.
        """
        held: list[Frame] = []
        first = cursor.index if cursor else 0
        tick = self.spec.time_base
        for index, image in enumerate(self._decoded(first), first):
            if held and index % size == 0:
                yield held, Cursor(index, index)
                held = []
            held.append(Frame(index, index * tick, tick, image))
        if held:
            yield held, Cursor(len(self.paths), len(self.paths))

    def times(self) -> Iterator[tuple[Fraction, Fraction]]:
        """(time, duration) of every frame shown, in seconds of film time."""
        tick = self.spec.time_base
        return ((n * tick, tick) for n in range(len(self.paths)))

    def __enter__(self) -> ImageReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass  # nothing stays open between two reads

    def _decoded(self, first: int) -> Iterator[Planes]:
        """Pictures from number `first` on, some at a time."""
        bytes_each = self.spec.width * self.spec.height * (4 if self.spec.dtype == "uint8" else 8)
        together = max(1, min(self.threads, _DECODED // bytes_each))
        for at in range(first, len(self.paths), together):
            yield from map_threads(self._planes, self.paths[at : at + together], together)

    def _planes(self, path: Path) -> Planes:
        spec = self.spec
        frame, turn = picture(path, self.images.max_pixels)
        kind = (frame.width, frame.height, frame.format.name.replace("yuvj", "yuv"))
        if kind != (spec.width, spec.height, spec.pixels):
            raise Unsupported(
                f"{path} is {kind[0]}x{kind[1]} {kind[2]}, and {self.paths[0].name} before it is "
                f"{spec.width}x{spec.height} {spec.pixels}: make them alike, or take it out"
            )
        if (turn, _colour(frame)) != (self.origin.turn, spec.colour):
            raise Unsupported(
                f"{path} has another rotation or other colours than {self.paths[0].name} before "
                "it: make them alike, or take it out"
            )
        return planes_of(frame, spec.pixels, spec.colour)


def _trimmed(images: ImageSequence, paths: tuple[Path, ...]) -> tuple[Path, ...]:
    begin = ceil((images.from_ or 0) * images.in_fps)
    end = len(paths) if images.to is None else ceil(images.to * images.in_fps)
    kept = paths[begin:end][: images.frames]
    if not kept:
        raise BadSetting(
            f"{images.path} shows no frame from {float(images.from_ or 0):.3f} s"
            + (f" to {float(images.to):.3f} s" if images.to is not None else " on")
            + f": it has {len(paths)}, {float(len(paths) / images.in_fps):.3f} s"
        )
    return kept


def _colour(frame: VideoFrame) -> ColorTags:
    name = frame.format.name
    told = formats.RANGES.get(frame.color_range, "unknown")
    yuv = name.startswith("yuv")
    return ColorTags(
        matrix=formats.MATRICES.get(frame.colorspace, "unknown") if yuv else "gbr",
        primaries=formats.PRIMARIES.get(frame.color_primaries, "unknown"),
        transfer=formats.TRANSFERS.get(frame.color_trc, "unknown"),
        range=told if yuv and "yuvj" not in name else "pc",
        siting="center" if yuv else "unknown",  # of JPEG and WebP
    )
