"""The encoder: frames into packets, the same ones each time."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import av
from av.codec.context import Flags
from av.packet import Packet
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from filmgate.core.frame import Frame, Spec
from filmgate.errors import BrokenStage, Unsupported
from filmgate.media import formats
from filmgate.media.file import Output
from filmgate.media.origin import Origin
from filmgate.media.planes import Planes
from filmgate.media.read import rows_of

ENCODERS: Mapping[str, str] = MappingProxyType(
    {"h264": "libx264", "hevc": "libx265", "ffv1": "ffv1"}
)


class Encoder:
    """Turns frames into packets that count in `tick` seconds of the container's timeline.

    Groups of pictures are closed and `threads` is pinned, so the same frames give the same
    packets. Raises Unsupported before the first frame if the encoder can't take such pictures.
    """

    def __init__(
        self, output: Output, spec: Spec, tick: Fraction, origin: Origin, threads: int
    ) -> None:
        self._tick, self._offset, self._spec = tick, origin.offset, spec
        self._given = _check(output, spec)
        self._ends = self._ticks(Fraction(0))
        # An encoder's stream belongs to a container; this one is only there to describe it.
        self._home = av.open(io.BytesIO(), "w", format="matroska")
        name = ENCODERS[output.codec or "h264"]
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
        if origin.aspect:
            context.sample_aspect_ratio = origin.aspect
        try:
            self._home.start_encoding()
        except av.FFmpegError as error:
            raise Unsupported(
                f"{name} does not take {spec.width}x{spec.height} {self._given} with "
                f"{_options(output, spec, threads)}: {error.strerror}; try codec ffv1"
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


def _check(output: Output, spec: Spec) -> str:
    """The format that the encoder is given. Raises Unsupported."""
    encoder = ENCODERS[output.codec or "h264"]
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


def _options(output: Output, spec: Spec, threads: int) -> dict[str, str]:
    chosen = {"level": "3", "slicecrc": "1", "g": "1"}
    if output.codec != "ffv1":
        crf = 18 if output.crf is None else output.crf
        chosen = {"crf": str(crf), "preset": output.preset or "medium"}
    if output.codec == "hevc":
        chosen["x265-params"] = f"log-level=none:open-gop=0:pools={threads}:frame-threads=1"
    if spec.colour.siting != "unknown":
        chosen["chroma_sample_location"] = spec.colour.siting
    return chosen
