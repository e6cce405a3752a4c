"""PyAV frames to planes and color tags, and back."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, get_args

import av
from av.packet import Packet, PacketSideData, PktSideDataT
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane

from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.errors import StageContractError
from filmgate.media.pixels import formats
from filmgate.media.pixels.format_names import get_bit_depth
from filmgate.media.pixels.planes import Plane, Planes

if TYPE_CHECKING:  # to read a header needs no numpy
    import numpy.typing as npt


def read_color_tags(frame: VideoFrame | VideoCodecContext, siting: str) -> ColorTags:
    """Return the tags of a frame or a stream's decoder; what is not set is "unknown"."""
    name = frame.format.name if frame.format else ""
    return ColorTags(
        matrix=formats.MATRICES.get(frame.colorspace, "unknown"),
        primaries=formats.PRIMARIES.get(frame.color_primaries, "unknown"),
        transfer=formats.TRANSFERS.get(frame.color_trc, "unknown"),
        range="pc" if "yuvj" in name else formats.RANGES.get(frame.color_range, "unknown"),
        siting=siting,
    )


def extract_planes(frame: VideoFrame, pixels: str, colour: ColorTags) -> Planes:
    """Return a decoded frame as Planes, without a copy if its format is planar already."""
    if frame.format.name.replace("yuvj", "yuv") != pixels:
        frame = frame.reformat(format=pixels)
    if any(plane.line_size < 0 for plane in frame.planes):
        frame = _turn_rows(frame)
    import numpy as np

    dtype = np.uint8 if get_bit_depth(pixels) == 8 else np.uint16
    arrays = tuple(view_rows(plane, dtype)[: plane.height, : plane.width] for plane in frame.planes)
    return Planes(arrays, pixels, colour)


def _turn_rows(frame: VideoFrame) -> VideoFrame:
    """Return a copy of a frame of which a decoder stores the last row first."""
    graph = av.filter.Graph()
    tick = frame.time_base or Fraction(1, 1000)
    source = graph.add_buffer(None, frame.width, frame.height, frame.format, time_base=tick)
    graph.link_nodes(source, graph.add("copy"), graph.add("buffersink")).configure()
    graph.push(frame)
    copy = graph.pull()
    assert isinstance(copy, VideoFrame)
    return copy


def make_av_frame(planes: Planes) -> VideoFrame:
    """Return planes as a PyAV frame of the same format, without color tags. Copies."""
    frame = VideoFrame(*planes.size, planes.pixels)
    for plane, array in zip(frame.planes, planes.arrays, strict=True):
        view_rows(plane, array.dtype)[: array.shape[0], : array.shape[1]] = array
    return frame


def attach_captions(frame: VideoFrame, captions: bytes) -> VideoFrame:
    """Return a copy of a planar frame with closed captions (ATSC A/53) as its side data.

    PyAV cannot set side data; a decoder of raw video takes it over from a packet.
    """
    decoder = av.CodecContext.create("rawvideo", "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.width, decoder.height, decoder.pix_fmt = frame.width, frame.height, frame.format.name
    samples = 1 if frame.format.components[0].bits == 8 else 2  # bytes of each
    rows = (view_rows(plane, "u1")[: plane.height, : plane.width * samples]
            for plane in frame.planes)  # fmt: skip
    packet = Packet(b"".join(plane.tobytes() for plane in rows))
    kind = get_args(PktSideDataT).index("a53_cc")
    side_data = PacketSideData(kind, len(captions))  # type: ignore[call-arg]  # its stub
    side_data.update(captions)
    packet.set_sidedata(side_data)
    (copy,) = decoder.decode(packet)
    return copy


def check_planes(frame: Frame, spec: StreamSpec) -> Planes:
    """Return the planes of a frame. Raises StageContractError if they are not as in `spec`."""
    planes = frame.image
    if not isinstance(planes, Planes):
        raise StageContractError(f"frame {frame.index} is a {type(planes).__name__}, wanted Planes")
    if (planes.size, planes.pixels) != ((spec.width, spec.height), spec.pixels):
        raise StageContractError(
            f"frame {frame.index} is {planes.size[0]}x{planes.size[1]} {planes.pixels}, wanted "
            f"{spec.width}x{spec.height} {spec.pixels}"
        )
    return planes


def view_rows(plane: VideoPlane, dtype: npt.DTypeLike) -> Plane:
    """Return the plane's memory as rows with their padding; the array keeps the frame alive."""
    buffer: Any = plane
    import numpy as np

    flat: Plane = np.frombuffer(buffer, dtype=dtype)
    return flat.reshape(-1, plane.line_size // flat.itemsize)
