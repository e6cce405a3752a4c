"""What a film looks like, from its header, its index and its first picture."""

from __future__ import annotations

import re
from contextlib import suppress
from fractions import Fraction
from io import BytesIO
from itertools import islice, pairwise
from types import MappingProxyType
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from filmgate.core.frame import StreamSpec
from filmgate.media.pixels import formats
from filmgate.media.pixels.av_frames import colour_of
from filmgate.media.pixels.planes import bits_of
from filmgate.media.reading.decoded_frame import counted
from filmgate.media.reading.uniform_size import opaque

_LOOKED_AT = 256  # packets that show whether the rate varies
_FIELDS = MappingProxyType({2: "top", 3: "bottom", 4: "bottom", 5: "top"})  # the one shown first
_SITINGS = MappingProxyType({(1, 1): "topleft", (1, 2): "left", (2, 1): "top", (2, 2): "center"})


def spec_of(container: InputContainer, stream: VideoStream, first: VideoFrame) -> StreamSpec:
    """The film as its first picture shows it; a gif that begins opaque has no transparency."""
    rate, frames = _rate(container, stream)
    pixels = formats.planar(first.format.name)
    if stream.codec_context.name == "gif" and first.format.name == "bgra" and opaque(first):
        pixels = "gbrp"
    return StreamSpec(
        width=first.width,
        height=first.height,
        rate=rate,
        time_base=stream.time_base or Fraction(1, 1000),
        pixels=pixels,
        dtype="uint8" if bits_of(pixels) == 8 else "uint16",
        colour=colour_of(first, _siting(stream, pixels)),
        frames=frames,
    )


def declared_end(stream: VideoStream) -> Fraction | None:
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


def turn_of(frame: VideoFrame) -> tuple[int, ...] | None:
    """The display matrix: 9 integers as FFmpeg has them."""
    found: Any = frame.side_data  # a mapping by type, whatever its stub says
    if Type.DISPLAYMATRIX not in found:
        return None
    return tuple(int(n) for n in np.frombuffer(found[Type.DISPLAYMATRIX], np.int32))


def light_of(frame: VideoFrame) -> tuple[bytes | None, bytes | None]:
    """HDR side data as FFmpeg lays it out: mastering display, content light level."""
    found: Any = frame.side_data
    kinds = (Type.MASTERING_DISPLAY_METADATA, Type.CONTENT_LIGHT_LEVEL)
    display, level = (bytes(found[kind]) if kind in found else None for kind in kinds)
    return display, level


def fields_of(stream: VideoStream, first: VideoFrame) -> str:
    """The field that is shown first ("top", "bottom"), empty if the film is not interlaced."""
    named = _FIELDS.get(stream.codec_context.field_order, "")
    return named or ("unknown" if first.interlaced_frame else "")


def _siting(stream: VideoStream, pixels: str) -> str:
    """Where chroma samples lie. FFmpeg knows, PyAV 18 does not tell: a Matroska header does.

    Its ChromaSitingHorz and ChromaSitingVert (RFC 9559, 5.1.4.1.28.23): 1 cosited, 2 half-way.
    """
    head = BytesIO()
    # FFmpegError, ValueError: Matroska has no place for the codec
    with suppress(av.FFmpegError, ValueError), av.open(head, "w", format="matroska") as out:
        out.add_stream_from_template(stream)
        out.start_encoding()
    found = re.search(rb"\x55\xb7\x81([\x01\x02])\x55\xb8\x81([\x01\x02])", head.getvalue())
    if not found or "444" in pixels:
        return "unknown"
    return _SITINGS[found[1][0], found[2][0]]


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
        packets = list(islice(container.demux(stream), _LOOKED_AT))
        told = [p.dts if counted(container, stream) else p.pts for p in packets if p.size]
        times = [time for time in told if time is not None]
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
