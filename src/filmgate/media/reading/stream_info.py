"""What a video is: from its header, its index and its first frame."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from fractions import Fraction
from itertools import islice, pairwise
from types import MappingProxyType
from typing import Any

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from filmgate.core.frame import StreamSpec
from filmgate.media.pixels import formats
from filmgate.media.pixels.av_frames import read_color_tags
from filmgate.media.pixels.format_names import get_bit_depth
from filmgate.media.reading.decoded_frame import has_only_decode_times
from filmgate.media.reading.frame_count import count_frames, read_duration_tag
from filmgate.media.reading.stream_header import StreamHeader
from filmgate.media.reading.uniform_size import is_opaque

_RATE_PACKETS = 256  # packets that show whether the rate varies
_FIRST_FIELDS = MappingProxyType({2: "top", 3: "bottom", 4: "bottom", 5: "top"})  # shown first


def read_spec(
    container: InputContainer, stream: VideoStream, first: VideoFrame, header: StreamHeader
) -> StreamSpec:
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
        colour=read_color_tags(first, "unknown" if "444" in pixels else header.siting),
        frames=frames,
    )


def read_declared_end(stream: VideoStream) -> Fraction | None:
    """Return the stream's end by its header, in seconds of the container's timeline."""
    if stream.duration and stream.time_base:
        return ((stream.start_time or 0) + stream.duration) * stream.time_base
    return read_duration_tag(stream)


def read_display_matrix(side_data: Mapping[str, bytes]) -> tuple[int, ...] | None:
    """Return FFmpeg's 9 integers of a frame's display matrix, None if it has none."""
    matrix = side_data.get("DISPLAYMATRIX")
    return None if matrix is None else struct.unpack("=9i", matrix[:36])


def read_hdr_metadata(side_data: Mapping[str, bytes]) -> tuple[bytes | None, bytes | None]:
    """Return FFmpeg's HDR side data of a frame: mastering display and content light level."""
    return side_data.get("MASTERING_DISPLAY_METADATA"), side_data.get("CONTENT_LIGHT_LEVEL")


def read_field_order(stream: VideoStream, first: VideoFrame) -> str:
    """Return the field shown first ("top", "bottom"), empty if the video is not interlaced."""
    order = _FIRST_FIELDS.get(stream.codec_context.field_order, "")
    return order or ("unknown" if first.interlaced_frame else "")


def _read_rate(
    container: InputContainer, stream: VideoStream
) -> tuple[Fraction | None, int | None]:
    """Return frames per second (None: variable) and the number of frames (None: unknown)."""
    base, average = stream.base_rate, stream.average_rate
    ticks = stream.time_base or Fraction(1, 1000)
    packets: list[Packet[Any]] = []
    if "mov" in container.format.name:  # its index lists every frame; others' only keyframes
        times = [e.timestamp for e in stream.index_entries if not e.is_discard]
    else:  # the rate in the header is often wrong: use the packets
        container.seek(stream.start_time or 0, stream=stream)
        packets = list(islice(container.demux(stream), _RATE_PACKETS))
        by_dts = has_only_decode_times(container, stream)
        stamps = [p.dts if by_dts else p.pts for p in packets if p.size]
        times = [time for time in stamps if time is not None]
    count = count_frames(container, stream, packets)
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
