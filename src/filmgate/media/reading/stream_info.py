"""What a video is: from its header, its index and its first frame."""

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
from filmgate.media.pixels.av_frames import read_color_tags
from filmgate.media.pixels.planes import get_bit_depth
from filmgate.media.reading.decoded_frame import has_only_decode_times
from filmgate.media.reading.uniform_size import is_opaque

_RATE_PACKETS = 256  # packets that show whether the rate varies
_FIRST_FIELDS = MappingProxyType({2: "top", 3: "bottom", 4: "bottom", 5: "top"})  # shown first
_SITINGS = MappingProxyType({(1, 1): "topleft", (1, 2): "left", (2, 1): "top", (2, 2): "center"})


def read_spec(container: InputContainer, stream: VideoStream, first: VideoFrame) -> StreamSpec:
    """Return the spec by the first frame; a gif that starts opaque gets no alpha."""
    rate, frames = _read_rate(container, stream)
    pixels = formats.find_planar_format(first.format.name)
    if stream.codec_context.name == "gif" and first.format.name == "bgra" and is_opaque(first):
        pixels = "gbrp"
    return StreamSpec(
        width=first.width,
        height=first.height,
        rate=rate,
        time_base=stream.time_base or Fraction(1, 1000),
        pixels=pixels,
        dtype="uint8" if get_bit_depth(pixels) == 8 else "uint16",
        colour=read_color_tags(first, _read_siting(stream, pixels)),
        frames=frames,
    )


def read_declared_end(stream: VideoStream) -> Fraction | None:
    """Return the stream's end by its header, in seconds of the container's timeline."""
    if stream.duration and stream.time_base:
        return ((stream.start_time or 0) + stream.duration) * stream.time_base
    parts = stream.metadata.get("DURATION", "").split(":")  # Matroska's: "00:00:01.500000000"
    if len(parts) != 3:
        return None
    try:
        return Fraction(parts[0]) * 3600 + Fraction(parts[1]) * 60 + Fraction(parts[2])
    except ValueError:
        return None


def read_display_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    """Return FFmpeg's 9 integers of the frame's display matrix, None if it has none."""
    side_data: Any = frame.side_data  # a mapping by type, despite its stub
    if Type.DISPLAYMATRIX not in side_data:
        return None
    return tuple(int(n) for n in np.frombuffer(side_data[Type.DISPLAYMATRIX], np.int32))


def read_hdr_metadata(frame: VideoFrame) -> tuple[bytes | None, bytes | None]:
    """Return FFmpeg's HDR side data: mastering display and content light level."""
    side_data: Any = frame.side_data
    kinds = (Type.MASTERING_DISPLAY_METADATA, Type.CONTENT_LIGHT_LEVEL)
    display, level = (bytes(side_data[kind]) if kind in side_data else None for kind in kinds)
    return display, level


def read_field_order(stream: VideoStream, first: VideoFrame) -> str:
    """Return the field shown first ("top", "bottom"), empty if the video is not interlaced."""
    order = _FIRST_FIELDS.get(stream.codec_context.field_order, "")
    return order or ("unknown" if first.interlaced_frame else "")


def _read_siting(stream: VideoStream, pixels: str) -> str:
    """Return where chroma samples are, read from a Matroska header: PyAV 18 does not expose it.

    ChromaSitingHorz and ChromaSitingVert (RFC 9559, 5.1.4.1.28.23): 1 cosited, 2 half-way.
    """
    head = BytesIO()
    # FFmpegError, ValueError: Matroska can't hold the codec
    with suppress(av.FFmpegError, ValueError), av.open(head, "w", format="matroska") as out:
        out.add_stream_from_template(stream)
        out.start_encoding()
    match = re.search(rb"\x55\xb7\x81([\x01\x02])\x55\xb8\x81([\x01\x02])", head.getvalue())
    if not match or "444" in pixels:
        return "unknown"
    return _SITINGS[match[1][0], match[2][0]]


def _read_rate(
    container: InputContainer, stream: VideoStream
) -> tuple[Fraction | None, int | None]:
    """Return frames per second (None: variable) and the number of frames (None: unknown)."""
    base, average = stream.base_rate, stream.average_rate
    ticks = stream.time_base or Fraction(1, 1000)
    count = stream.frames or int(stream.metadata.get("NUMBER_OF_FRAMES", "0")) or None
    if "mov" in container.format.name:  # its index lists every frame; others' only keyframes
        times = [e.timestamp for e in stream.index_entries if not e.is_discard]
        count = len(times) or count
    else:  # the rate in the header is often wrong: use the packets
        container.seek(stream.start_time or 0, stream=stream)
        packets = list(islice(container.demux(stream), _RATE_PACKETS))
        by_dts = has_only_decode_times(container, stream)
        stamps = [p.dts if by_dts else p.pts for p in packets if p.size]
        times = [time for time in stamps if time is not None]
    times.sort()
    for rate in (base, average):  # of an interlaced video the first counts fields
        if rate and len(times) > 1 and _is_regular(times, ticks, rate):
            return rate, count
    return (average if len(times) < 2 else None), count


def _is_regular(times: list[int], tick: Fraction, rate: Fraction) -> bool:
    """Whether frames follow each other at this rate, within the precision of the ticks."""
    steps = [b - a for a, b in pairwise(times)]
    odd = sum(abs(step * tick - 1 / rate) > tick for step in steps)
    drift = abs((times[-1] - times[0]) * tick - (len(times) - 1) / rate)
    return odd <= 1 + len(steps) // 1000 and drift <= 4 / rate  # an edit list leaves an odd step
