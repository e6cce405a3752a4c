"""PyAV frames to planes and colour tags."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane

from filmgate.core.frame import ColorTags
from filmgate.media.pixels import formats
from filmgate.media.pixels.planes import Plane, Planes, bits_of


def colour_of(frame: VideoFrame, siting: str) -> ColorTags:
    name = frame.format.name
    return ColorTags(
        matrix=formats.MATRICES.get(frame.colorspace, "unknown"),
        primaries=formats.PRIMARIES.get(frame.color_primaries, "unknown"),
        transfer=formats.TRANSFERS.get(frame.color_trc, "unknown"),
        range="pc" if "yuvj" in name else formats.RANGES.get(frame.color_range, "unknown"),
        siting=siting,
    )


def planes_of(frame: VideoFrame, pixels: str, colour: ColorTags) -> Planes:
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
