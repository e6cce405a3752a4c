"""A file as frames: every picture that is shown, with its exact time, from any place on."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.stream import VideoStream

from filmgate.core.frame import Colour, Frame, Spec
from filmgate.core.snapshot import Cursor
from filmgate.errors import BadFilm, Unsupported
from filmgate.media import formats
from filmgate.media.decode import pick, shown
from filmgate.media.origin import Origin
from filmgate.media.planes import Plane, Planes, bits_of
from filmgate.media.safety import opened, translated
from filmgate.media.whole import flaw

_LOOKED_AT = 256  # packets that show whether the rate varies


@dataclass(frozen=True, slots=True)
class Film:
    """A film that can be read from any place, as often as wanted; nothing stays open in between.

    `video` is the number of its stream, `start` the first shown picture's pts in ticks of
    `spec.time_base`, and `offset` the same in seconds on the container's timeline: film time is
    container time less `offset`. `end`: where the container says that the stream ends, or None.
    `aspect` is that of a pixel, `turn` the display matrix (9 integers as FFmpeg has them).
    """

    path: Path
    video: int
    spec: Spec
    start: int
    end: Fraction | None
    aspect: Fraction | None
    turn: tuple[int, ...] | None
    threads: int

    @classmethod
    def of(cls, path: Path, video: int | None = None, threads: int | None = None) -> Film:
        """The film at `path`, its first frame decoded. Raises BadFilm, Unsupported."""
        threads = threads or min(8, os.cpu_count() or 1)
        with opened(path) as container:
            stream = pick(path, container, video)
            if found := flaw(path):
                last = _last_time(path, container, stream)
                raise BadFilm(
                    f"{path} is {found}; pictures can be found up to {last:.3f} s: get the whole "
                    "file"
                )
            first, start = next(shown(path, container, stream, threads), (None, 0))
            if first is None:
                raise BadFilm(f"{path} shows no picture: stream {stream.index} is empty")
            with translated(path, "reading its times"):
                rate, frames = _rate(container, stream)
            pixels = formats.planar(first.format.name)
            spec = Spec(
                width=first.width,
                height=first.height,
                rate=rate,
                time_base=stream.time_base or Fraction(1, 1000),
                pixels=pixels,
                dtype="uint8" if bits_of(pixels) == 8 else "uint16",
                colour=_colour(first, stream.codec_context.name),
                frames=frames,
            )
            return cls(
                path=path,
                video=stream.index,
                spec=spec,
                start=start,
                end=_declared_end(stream),
                aspect=stream.sample_aspect_ratio,
                turn=_turn(first),
                threads=threads,
            )

    @property
    def offset(self) -> Fraction:
        """Container time of the first shown frame, in seconds."""
        return self.start * self.spec.time_base

    @property
    def origin(self) -> Origin:
        """What a result takes from this film, beside the pictures."""
        return Origin(
            path=self.path,
            video=self.video,
            offset=self.offset,
            aspect=self.aspect,
            turn=self.turn,
        )

    def read(self, cursor: Cursor | None, size: int) -> Iterator[tuple[list[Frame], Cursor]]:
        """Chunks that end at multiples of `size`, each with the place after it.

        Frames hold Planes that lie in the decoder's memory. Raises BadFilm, Unsupported with the
        time of what is wrong.
        """
        held: list[Frame] = []
        index = cursor.index if cursor else 0
        for picture, pts, end in self._timed(cursor):
            if held and index % size == 0:
                yield held, Cursor(index, pts)
                held = []
            image = planes_of(picture, self.spec.pixels, self.spec.colour)
            held.append(Frame(index, self._at(pts), end - self._at(pts), image))
            index += 1
        if held:
            yield held, Cursor(index, self.start + round(held[-1].end / self.spec.time_base))

    def times(self) -> Iterator[tuple[Fraction, Fraction]]:
        """(time, duration) of every frame shown, in seconds of film time."""
        for _, pts, end in self._timed(None):
            yield self._at(pts), end - self._at(pts)

    def __enter__(self) -> Film:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass  # nothing stays open between two reads

    def _timed(self, cursor: Cursor | None) -> Iterator[tuple[VideoFrame, int, Fraction]]:
        """Pictures from `cursor` on, their pts, and the film time when they end."""
        held: tuple[VideoFrame, int] | None = None
        for following in self._pass(None) if cursor is None else self._from(cursor):
            if held is not None:
                yield *held, self._at(following[1])
            held = following
        if held is not None:
            yield *held, self._at(held[1]) + self._last_duration(*held)

    def _from(self, cursor: Cursor) -> Iterator[tuple[VideoFrame, int]]:
        """Pictures from `cursor` on, the same as when reading from the beginning."""
        back = 0
        while True:
            seek = cursor.pts - back if cursor.pts - back > self.start else None
            landed = self._landed(cursor.pts, seek)
            if landed is not None:
                yield from landed
                return
            if seek is None:
                raise BadFilm(
                    f"{self.path} has no frame at {float(self._at(cursor.pts)):.3f} s, where frame "
                    f"{cursor.index} was: the file has changed; start again"
                )
            back = 4 * back or int(1 / self.spec.time_base)

    def _landed(self, pts: int, seek: int | None) -> Iterator[tuple[VideoFrame, int]] | None:
        """Pictures from exactly `pts` on; None if this seek lands too late or breaks a picture."""
        pictures = self._pass(seek)
        before = False
        try:
            for picture in pictures:
                if picture[1] == pts:
                    return chain([picture], pictures)
                if picture[1] > pts:
                    pictures.close()
                    return None
                before = True
        except BadFilm:
            if seek is None:
                raise
            return None
        return iter(()) if before else None  # the place after the last frame

    def _pass(self, seek: int | None) -> Generator[tuple[VideoFrame, int]]:
        """Pictures from the last key picture before `seek` on, all as the first one was."""
        spec = self.spec
        with opened(self.path) as container:
            stream = pick(self.path, container, self.video)
            if seek is not None:
                with translated(self.path, "seeking in it"):
                    container.seek(seek, stream=stream)
            for frame, pts in shown(self.path, container, stream, self.threads, self.start):
                pixels = formats.planar(frame.format.name)
                if (frame.width, frame.height, pixels) != (spec.width, spec.height, spec.pixels):
                    raise Unsupported(
                        f"{self.path} changes at {float(self._at(pts)):.3f} s from {spec.width}x"
                        f"{spec.height} {spec.pixels} to {frame.width}x{frame.height} {pixels}: "
                        "cut it there"
                    )
                yield frame, pts

    def _at(self, pts: int) -> Fraction:
        return (pts - self.start) * self.spec.time_base

    def _last_duration(self, frame: VideoFrame, pts: int) -> Fraction:
        # In a film of variable rate with B-frames the last packet's own duration is that of
        # another frame (it is counted in decoding order): the stream's end knows better.
        if self.spec.rate is None and self.end is not None:
            left = self.end - pts * self.spec.time_base
            if left > 0:
                return left
        if frame.duration:
            return frame.duration * self.spec.time_base
        return 1 / self.spec.rate if self.spec.rate else Fraction(1, 25)


def planes_of(frame: VideoFrame, pixels: str, colour: Colour) -> Planes:
    """A decoded picture as Planes, without a copy where its format is planar already."""
    if frame.format.name.replace("yuvj", "yuv") != pixels:
        frame = frame.reformat(format=pixels)
    dtype = np.uint8 if bits_of(pixels) == 8 else np.uint16
    arrays = tuple(rows_of(plane, dtype)[: plane.height, : plane.width] for plane in frame.planes)
    return Planes(arrays, pixels, colour)


def rows_of(plane: VideoPlane, dtype: npt.DTypeLike) -> Plane:
    """The plane's memory as rows, line padding included; it keeps the picture alive."""
    buffer: Any = plane
    flat: Plane = np.frombuffer(buffer, dtype=dtype)
    return flat.reshape(-1, plane.line_size // flat.itemsize)


def _colour(frame: VideoFrame, codec: str) -> Colour:
    name = frame.format.name
    return Colour(
        matrix=formats.MATRICES.get(frame.colorspace, "unknown"),
        primaries=formats.PRIMARIES.get(frame.color_primaries, "unknown"),
        transfer=formats.TRANSFERS.get(frame.color_trc, "unknown"),
        range="pc" if "yuvj" in name else formats.RANGES.get(frame.color_range, "unknown"),
        # FFmpeg knows what the film says of siting, but PyAV 18 does not tell it
        siting="center" if codec == "mjpeg" else "unknown",
    )


def _turn(frame: VideoFrame) -> tuple[int, ...] | None:
    found: Any = frame.side_data  # a mapping by type, whatever its stub says
    if Type.DISPLAYMATRIX not in found:
        return None
    return tuple(int(n) for n in np.frombuffer(found[Type.DISPLAYMATRIX], np.int32))


def _rate(container: InputContainer, stream: VideoStream) -> tuple[Fraction | None, int | None]:
    """Frames per second (None: it varies) and number of frames, as index and header tell."""
    base, average = stream.base_rate, stream.average_rate
    ticks = stream.time_base or Fraction(1, 1000)
    count = stream.frames or int(stream.metadata.get("NUMBER_OF_FRAMES", "0")) or None
    if "mov" in container.format.name:  # its index lists every frame; others' only keyframes
        times = [e.timestamp for e in stream.index_entries if not e.is_discard]
        count = len(times) or count
    else:  # what the header says is often wrong: look at the packets
        container.seek(stream.start_time or 0, stream=stream)
        packets = islice(container.demux(stream), _LOOKED_AT)
        times = [packet.pts for packet in packets if packet.pts is not None]
    times.sort()
    for rate in (base, average):  # of an interlaced film the first counts fields
        if rate and len(times) > 1 and _even(times, ticks, rate):
            return rate, count
    return (average if len(times) < 2 else None), count


def _even(times: list[int], tick: Fraction, rate: Fraction) -> bool:
    """Whether pictures follow each other at this rate, as well as ticks can say it."""
    steps = [b - a for a, b in pairwise(times)]
    odd = sum(abs(step * tick - 1 / rate) > tick for step in steps)
    drift = abs((times[-1] - times[0]) * tick - (len(times) - 1) / rate)
    return odd <= 1 + len(steps) // 1000 and drift <= 4 / rate  # an edit list leaves an odd step


def _declared_end(stream: VideoStream) -> Fraction | None:
    """Where the container says that the stream ends, in seconds of its timeline."""
    if stream.duration and stream.time_base:
        return ((stream.start_time or 0) + stream.duration) * stream.time_base
    said = stream.metadata.get("DURATION", "").split(":")  # Matroska's: "00:00:01.500000000"
    if len(said) != 3:
        return None
    try:
        return Fraction(said[0]) * 3600 + Fraction(said[1]) * 60 + Fraction(said[2])
    except ValueError:
        return None


def _last_time(path: Path, container: InputContainer, stream: VideoStream) -> float:
    """How far the packets of a film that is cut short go, in seconds."""
    last = 0.0
    with suppress(BadFilm), translated(path, "reading it"):
        for packet in container.demux(stream):
            if packet.pts is not None and packet.size:
                last = max(last, float(packet.pts * packet.time_base))
    return last
