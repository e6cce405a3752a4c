"""A decoded image: its planes, with the meaning of their values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from filmgate.core.frame import ColorTags
from filmgate.errors import Unsupported
from filmgate.media.pixels.format_names import get_bit_depth

if TYPE_CHECKING:  # to read a header needs neither numpy nor torch
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor

Plane: TypeAlias = "npt.NDArray[np.uint8] | npt.NDArray[np.uint16]"


@dataclass(frozen=True, slots=True, repr=False)
class Planes:
    """Planes of one image, each (rows, columns), uint8 or uint16 with the value in the low bits.

    `pixels` is FFmpeg's name of a planar format, and the arrays are in its order: Y U V [A],
    grey [A], or G B R [A]. Chroma planes are smaller by the format's subsampling (rounded up).
    Arrays are read only by convention: they may be the decoder's own memory.
    """

    arrays: tuple[Plane, ...]
    pixels: str
    colour: ColorTags = ColorTags()

    def __repr__(self) -> str:
        width, height = self.size
        return f"Planes({width}x{height} {self.pixels})"

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the first plane, in pixels."""
        height, width = self.arrays[0].shape
        return width, height

    @property
    def bits(self) -> int:
        """Bits per sample: 8, 9, 10, 12, 14 or 16."""
        return get_bit_depth(self.pixels)

    def with_arrays(self, arrays: tuple[Any, ...]) -> Planes:
        """Return an image of the same format with other samples."""
        return replace(self, arrays=arrays)

    def to_rgb(self, dtype: torch.dtype | None = None, device: str = "cpu") -> Tensor:
        """Return a tensor (3, H, W): R, G and B in [0, 1], by the image's matrix and range.

        `dtype` is a floating-point one; default: float32. Values keep the image's transfer
        ("gamma"): they are not linear light. Raises Unsupported for alpha and for YCgCo.
        """
        import torch

        from filmgate.media.pixels.color import to_rgb

        return to_rgb(self, dtype or torch.float32, device)

    def from_rgb(self, rgb: Tensor) -> Planes:
        """Return RGB (3, H, W) in [0, 1] as planes of this image's format and colour.

        The inverse of `to_rgb`; the size may be another. Values outside [0, 1] are clipped.
        Raises Unsupported for another shape or dtype, FloatingPointError for NaN and infinity.
        """
        from filmgate.media.pixels.color import check_rgb, from_rgb

        return replace(self, arrays=from_rgb(check_rgb(rgb), self.pixels, self.colour))

    def __array__(self, dtype: object = None, copy: object = None) -> NoReturn:
        shapes = ", ".join(
            f"{name} {plane.shape[1]}x{plane.shape[0]}"
            for name, plane in zip(_name_planes(self.pixels), self.arrays, strict=False)
        )
        raise Unsupported(
            f"an image of {self.pixels} is no single array: its planes are {shapes}. Call "
            "image.to_rgb() for a tensor (3, H, W) in [0, 1], or take one of image.arrays"
        )


def _name_planes(pixels: str) -> tuple[str, ...]:
    if pixels.startswith("gray"):
        return "grey", "alpha"
    return ("G", "B", "R", "alpha") if pixels.startswith("gbr") else ("Y", "U", "V", "alpha")
