"""What a video is: from its header, its index and its first frame."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from filmgate.core.frame import StreamSpec
from filmgate.errors import BadInput, Unsupported
from filmgate.media.containers.animated_webp import WEBP
from filmgate.media.pixels import formats
from filmgate.media.pixels.av_frames import read_color_tags
from filmgate.media.pixels.format_names import get_bit_depth
from filmgate.media.reading.frame_count import count_frames, read_duration_tag
from filmgate.media.reading.stream_header import StreamHeader
from filmgate.media.reading.uniform_size import is_opaque
from filmgate.media.timing.clock_choice import FirstPackets, find_rate
from filmgate.media.timing.frame_clock import FrameClock


def choose_stream(path: Path, container: InputContainer, index: int | None) -> VideoStream:
    """Return the video stream to process: `index`, else the default one, else the largest.

    One that FFmpeg cannot decode is chosen only by its index, or if there is no other. Raises
    BadInput, Unsupported.
    """
    videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not videos:
        streams = ", ".join(f"{s.index}: {s.type}" for s in container.streams) or "nothing"
        raise BadInput(f"{path} has no video stream: it has {streams}")
    best = container.streams.best("video") if index is None else None
    if best and best.frames == 1 and best.duration is None:  # the cover of an animated AVIF
        best = max(videos, key=lambda stream: stream.frames)
    stream = next((s for s in videos if s.index == (best.index if best else index)), None)
    if index is None and stream is None:  # FFmpeg's best one is a cover
        stream = videos[0]
    decodable = [s for s in videos if s.codec_context is not None]
    if index is None and decodable and stream not in decodable:
        stream = decodable[0]
    if stream is None:
        indices = " or ".join(str(s.index) for s in videos)
        raise BadInput(f"{path} has no video stream {index}: pass --stream {indices}")
    if stream.codec_context is None:
        raise Unsupported(f"{path}: FFmpeg has no decoder for its video stream {stream.index}")
    return stream


def read_spec(
    container: InputContainer,
    stream: VideoStream,
    first: VideoFrame,
    header: StreamHeader,
    packets: FirstPackets,
    clock: FrameClock,
) -> StreamSpec:
    """Return the spec by the first frame; a gif or WebP that starts opaque gets no alpha."""
    frames = count_frames(container, stream, packets.packets)
    rate = find_rate(stream, packets, clock)
    pixels = formats.find_planar_format(first.format.name)
    animation = stream.codec_context.name == "gif" or container.format.name == WEBP
    if animation and first.format.name == "bgra" and is_opaque(first):
        pixels = "gbrp"
    return StreamSpec(
        width=first.width,
        height=first.height,
        rate=rate,
        time_base=clock.tick,
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
