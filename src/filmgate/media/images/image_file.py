"""The definition of an input that is one image. No library is needed until it is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filmgate.errors import Unsupported
from filmgate.media.settings import check_settings

if TYPE_CHECKING:
    from filmgate.media.pixels.planes import Planes

MAX_PIXELS = 1 << 28


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image: a PNG, JPEG, WebP or TIFF."""

    path: Path

    def __post_init__(self) -> None:
        check_settings(self)

    def read(self) -> Planes:
        """Return the image, upright by its EXIF. Raises BadInput, Unsupported if it is transparent.

        Alpha that is opaque everywhere is dropped.
        """
        import numpy as np

        from filmgate.media.images.image_decoder import decode_image
        from filmgate.media.images.image_encoder import turn_upright
        from filmgate.media.images.image_reader import read_tags
        from filmgate.media.pixels.av_frames import extract_planes
        from filmgate.media.pixels.format_names import has_alpha

        frame, matrix = decode_image(self.path, MAX_PIXELS)
        planes = extract_planes(frame, frame.format.name.replace("yuvj", "yuv"), read_tags(frame))
        if has_alpha(planes.pixels):
            planes = _drop_opaque_alpha(planes)
        if has_alpha(planes.pixels):
            raise Unsupported(f"{self.path} has transparent pixels ({planes.pixels}), wanted an "
                              "opaque image: flatten it onto a background")  # fmt: skip
        # tensors cannot share memory that is read backwards, as that of a turned image
        arrays: tuple[Any, ...] = tuple(
            np.ascontiguousarray(turn_upright(array, matrix)) for array in planes.arrays
        )
        return replace(planes, arrays=arrays)


def _drop_opaque_alpha(planes: Planes) -> Planes:
    """Return the image without its alpha if that is opaque everywhere, else the image."""
    *colours, alpha = planes.arrays
    if int(alpha.min()) < (1 << planes.bits) - 1:
        return planes
    pixels = planes.pixels.replace("gbrap", "gbrp").replace("yuva", "yuv")
    return replace(planes, arrays=tuple(colours), pixels=pixels)
