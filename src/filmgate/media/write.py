"""Frames as a file: the encoder, and a result that appears under its name only when whole."""

from __future__ import annotations

import io
import math
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import av
from av.codec.context import Flags
from av.packet import Packet
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from filmgate.core.frame import Frame, Spec
from filmgate.core.snapshot import Snapshot
from filmgate.errors import BadSetting, BrokenStage, OutputExists, Unsupported
from filmgate.media import formats
from filmgate.media.file import Output
from filmgate.media.mux import Muxer
from filmgate.media.planes import Planes
from filmgate.media.read import Film, rows_of
from filmgate.media.safety import writing
from filmgate.media.tracks import FORMATS

ENCODERS: Mapping[str, str] = MappingProxyType(
    {"h264": "libx264", "hevc": "libx265", "ffv1": "ffv1"}
)
_MICROSECOND = Fraction(1, 1_000_000)


class Encoder:
    """Turns frames into packets that count in `tick` seconds of the container's timeline.

    Groups of pictures are closed and `threads` is pinned, so the same frames give the same
    packets. Raises Unsupported before the first frame if the encoder can't take such pictures.
    """

    def __init__(
        self, output: Output, spec: Spec, tick: Fraction, film: Film, threads: int
    ) -> None:
        self._tick, self._offset, self._spec = tick, film.offset, spec
        self._given = _check(output, spec)
        self._ends = self._ticks(Fraction(0))
        # An encoder's stream belongs to a container; this one is only there to describe it.
        self._home = av.open(io.BytesIO(), "w", format="matroska")
        name = ENCODERS[output.codec]
        stream = self._home.add_stream(
            name, rate=spec.rate or Fraction(30), options=_options(output, spec, threads)
        )
        assert isinstance(stream, VideoStream)
        self.stream = stream
        context = self.stream.codec_context
        context.width, context.height, context.pix_fmt = spec.width, spec.height, self._given
        context.time_base = tick
        context.thread_count = threads
        context.flags |= Flags.frame_duration | Flags.closed_gop
        colour = spec.colour
        context.colorspace = formats.code_of(formats.MATRICES, colour.matrix)
        context.color_primaries = formats.code_of(formats.PRIMARIES, colour.primaries)
        context.color_trc = formats.code_of(formats.TRANSFERS, colour.transfer)
        context.color_range = formats.code_of(formats.RANGES, colour.range, unknown=0)
        if film.aspect:
            context.sample_aspect_ratio = film.aspect
        try:
            self._home.start_encoding()
        except av.FFmpegError as error:
            raise Unsupported(
                f"{name} does not take {spec.width}x{spec.height} {self._given} with crf "
                f"{output.crf} and preset {output.preset}: {error.strerror}; try codec ffv1"
            ) from error

    def packets(self, frames: Iterable[Frame]) -> list[Packet[Any]]:
        """What is ready after these frames; some wait inside."""
        done: list[Packet[Any]] = []
        for frame in frames:
            pts, end = self._ticks(frame.time), self._ticks(frame.end)
            if pts < self._ends:
                raise Unsupported(
                    f"frame {frame.index} at {float(frame.time):.6f} s falls on the one before it: "
                    f"the container counts in {float(self._tick):.6f} s; name the output .mp4"
                )
            picture = self._picture(frame)
            # a duration of 0 means untold, and readers would make up another
            self._ends = max(end, pts + 1)
            picture.pts, picture.duration, picture.time_base = pts, self._ends - pts, self._tick
            done += self.stream.encode(picture)
        return done

    def flush(self) -> list[Packet[Any]]:
        """What still waits."""
        return self.stream.encode(None)

    @property
    def end(self) -> int:
        """Where the last frame given ends, in ticks."""
        return self._ends

    def close(self) -> None:
        """Gives the encoder's memory back."""
        self._home.close()

    def _ticks(self, time: Fraction) -> int:
        return round((time + self._offset) / self._tick)

    def _picture(self, frame: Frame) -> VideoFrame:
        planes, spec = frame.image, self._spec
        if not isinstance(planes, Planes):
            raise BrokenStage(f"frame {frame.index} is a {type(planes).__name__}, wanted Planes")
        if (planes.size, planes.pixels) != ((spec.width, spec.height), spec.pixels):
            raise BrokenStage(
                f"frame {frame.index} is {planes.size[0]}x{planes.size[1]} {planes.pixels}, wanted "
                f"{spec.width}x{spec.height} {spec.pixels}"
            )
        picture = VideoFrame(spec.width, spec.height, spec.pixels)
        for plane, array in zip(picture.planes, planes.arrays, strict=True):
            rows_of(plane, array.dtype)[: array.shape[0], : array.shape[1]] = array
        return picture if self._given == spec.pixels else picture.reformat(format=self._given)


class Recording:
    """A result being written; its file has a hidden name until it is whole.

    `spec` is what arrives: Planes of `spec.pixels`. `film` gives the other tracks (none that has
    times unless `tracks`), chapters, metadata, rotation, pixel aspect and the place in time.
    `tags` are added to the metadata; `dropped` says in words what is not carried. Left without its
    last commit, it leaves nothing behind. Raises UserError before the first frame.
    """

    def __init__(
        self,
        output: Output,
        spec: Spec,
        film: Film,
        *,
        tracks: bool = True,
        tags: Mapping[str, str] | None = None,
        threads: int = 2,
    ) -> None:
        path = Path(output.path)
        suffix = _check_place(path, output.overwrite, film)
        self.path, self._done = path, False
        self.tick = _tick(suffix, spec.time_base, film.offset)
        self._encoder = Encoder(output, spec, self.tick, film, threads)
        self._part = path.with_name(f".{path.stem[:100]}.{secrets.token_hex(4)}.part{suffix}")
        try:
            self._muxer = Muxer(
                self._part,
                self._encoder.stream,
                self.tick,
                film,
                variable=spec.rate is None,
                timed=tracks,
                tags=tags or {},
            )
        except BaseException:
            self._part.unlink(missing_ok=True)
            raise
        self.dropped = self._muxer.dropped

    def write(self, frames: Sequence[Frame]) -> None:
        """Takes the next frames; they may wait in the encoder."""
        with writing(self.path):
            self._muxer.write(self._encoder.packets(frames))

    def commit(self, snapshot: Snapshot) -> None:
        """The end, if the snapshot has no state: the file gets its name."""
        if snapshot.state is None:
            self.finish()

    def finish(self) -> None:
        """Nothing follows: the file is made whole and durable, and gets its name."""
        with writing(self.path):
            self._muxer.write(self._encoder.flush())
            self._muxer.close(self._encoder.end)
        with open(self._part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(self._part, self.path)
        self._done = True
        if hasattr(os, "O_DIRECTORY"):
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._encoder.close()
        if not self._done:
            with suppress(av.FFmpegError):  # a trailer for a file that is thrown away
                self._muxer.close(None)
            self._part.unlink(missing_ok=True)


def _check(output: Output, spec: Spec) -> str:
    """The format that the encoder is given. Raises Unsupported."""
    encoder = ENCODERS[output.codec]
    given = formats.taken(spec.pixels, encoder)
    if not given:
        others = [c for c, e in ENCODERS.items() if formats.taken(spec.pixels, e)]
        raise Unsupported(
            f"{output.codec} does not take {spec.pixels}: choose codec "
            f"{' or '.join(others) or 'ffv1'}, or make it {formats.nearest(spec.pixels, encoder)}"
        )
    format = VideoFormat(spec.pixels, 64, 64)
    across, down = 64 // (format.chroma_width(64) or 64), 64 // (format.chroma_height(64) or 64)
    if encoder != "ffv1" and (spec.width % across or spec.height % down):
        fit = f"{-(-spec.width // across) * across}x{-(-spec.height // down) * down}"
        raise Unsupported(
            f"the film is {spec.width}x{spec.height} and {output.codec} in {spec.pixels} wants "
            f"sides that {across}x{down} divides: pad it to {fit}, or choose codec ffv1"
        )
    return given[0]


def _check_place(path: Path, overwrite: bool, film: Film) -> str:
    """The suffix of the output, if a file may appear there."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise BadSetting(
            f"the output is {path.name}, wanted a name that ends in {', '.join(FORMATS)}"
        )
    if not path.parent.is_dir():
        raise BadSetting(f"the folder {path.parent} does not exist: make it first")
    if path.exists():
        if path.samefile(film.path):
            raise BadSetting(f"{path} is the film itself: name another output")
        if not overwrite:
            raise OutputExists(f"{path} exists: name another output, or say overwrite")
    return suffix


def _tick(suffix: str, time_base: Fraction, offset: Fraction) -> Fraction:
    """The unit that timestamps are counted in: exact where the container can."""
    if suffix == ".mkv":
        return Fraction(1, 1000)
    ticks = math.lcm(time_base.denominator, offset.denominator)
    if ticks > 1_000_000:  # an mp4 counts a frame's duration in 32 bits
        return _MICROSECOND
    while ticks < 10_000:
        ticks *= 2
    return Fraction(1, ticks)


def _options(output: Output, spec: Spec, threads: int) -> dict[str, str]:
    chosen = {"level": "3", "slicecrc": "1", "g": "1"}
    if output.codec != "ffv1":
        chosen = {"crf": str(output.crf), "preset": output.preset}
    if output.codec == "hevc":
        chosen["x265-params"] = f"log-level=none:open-gop=0:pools={threads}:frame-threads=1"
    if spec.colour.siting != "unknown":
        chosen["chroma_sample_location"] = spec.colour.siting
    return chosen
