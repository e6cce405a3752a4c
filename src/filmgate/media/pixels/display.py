"""Images for display in 8 bits, converted by FFmpeg: fast, without torch, not exact."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from av.video.reformatter import ColorRange, Colorspace

from filmgate.media.pixels.av_frames import make_av_frame
from filmgate.media.pixels.color_tags import choose_matrix, is_full_range
from filmgate.media.pixels.planes import Planes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_MATRICES = MappingProxyType(
    {"bt709": Colorspace.ITU709, "fcc": Colorspace.FCC, "smpte240m": Colorspace.SMPTE240M,
     "bt2020nc": Colorspace.BT2020}
)  # fmt: skip


def to_bgr(image: Planes) -> npt.NDArray[np.uint8]:
    """Return the image as (rows, columns, 3): blue, green and red, as OpenCV takes them.

    High dynamic range is not mapped: it looks flat.
    """
    matrix = choose_matrix(image.colour, *image.size)
    is_full = is_full_range(image.pixels, image.colour)
    from numpy import arange, asarray, clip, rint, take, uint8

    frame = make_av_frame(image).reformat(
        format="bgr24",
        src_colorspace=_MATRICES.get(matrix, Colorspace.ITU601),
        src_color_range=ColorRange.JPEG if is_full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        threads=1,  # starting others takes longer than a small image
    )
    bgr = asarray(frame.to_ndarray(), uint8)
    if is_full or image.pixels.startswith("yuv"):
        return bgr
    # FFmpeg takes values of grey and RGB for those of full range
    expanded = clip(rint((arange(256) - 16) * (255 / 219)), 0, 255).astype(uint8)
    return take(expanded, bgr)
