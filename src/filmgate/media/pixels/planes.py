"""A decoded image: its planes, with the meaning of their values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from filmgate.core.frame import ColorTags

if TYPE_CHECKING:  # to read a header needs no numpy
    import numpy as np
    import numpy.typing as npt

# Luma samples per chroma sample, across and down, by the digits of the format's name.
_SUBSAMPLING = MappingProxyType(
    {"444": (1, 1), "440": (1, 2), "422": (2, 1), "420": (2, 2), "411": (4, 1), "410": (4, 4)}
)

Plane: TypeAlias = "npt.NDArray[np.uint8] | npt.NDArray[np.uint16]"


@dataclass(frozen=True, slots=True)
class Planes:
    """Planes of one image, each (rows, columns), uint8 or uint16 with the value in the low bits.

    `pixels` is FFmpeg's name of a planar format, and the arrays are in its order: Y U V [A],
    grey [A], or G B R [A]. Chroma planes are smaller by the format's subsampling (rounded up).
    Arrays are read only by convention: they may be the decoder's own memory.
    """

    arrays: tuple[Plane, ...]
    pixels: str
    colour: ColorTags = ColorTags()

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


def get_bit_depth(pixels: str) -> int:
    """Return the bits per sample of a planar format: "yuv420p10le" -> 10, "gray" -> 8."""
    digits = pixels.removesuffix("le").removesuffix("be")
    for bits in (9, 10, 12, 14, 16):
        if digits.endswith((f"p{bits}", f"gray{bits}")):
            return bits
    return 8


def get_subsampling(pixels: str) -> tuple[int, int]:
    """Return luma samples per chroma sample, across and down: "yuv420p" -> (2, 2)."""
    return (
        _SUBSAMPLING[pixels.removeprefix("yuv").removeprefix("a")[:3]]
        if "yuv" in pixels
        else (1, 1)
    )


def has_alpha(pixels: str) -> bool:
    """Return whether a planar format has an alpha channel."""
    return pixels.startswith(("yuva", "gbrap"))


def is_hdr(colour: ColorTags) -> bool:
    """Return whether the transfer is that of ITU-R BT.2100: PQ or HLG."""
    return colour.transfer in ("smpte2084", "arib-std-b67")
