"""A picture as it was decoded: its planes, untouched, with what their numbers mean."""

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from filmgate.core.frame import ColorTags

# Luma samples per chroma sample, across and down, by the digits of the format's name.
_STEPS = MappingProxyType(
    {"444": (1, 1), "440": (1, 2), "422": (2, 1), "420": (2, 2), "411": (4, 1), "410": (4, 4)}
)

Plane = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Planes:
    """Planes of one picture, each (rows, columns), uint8 or uint16 with the value in the low bits.

    `pixels` is FFmpeg's name of a planar format, and the arrays are in its order: Y U V [A],
    grey [A], or G B R [A]. Chroma planes are smaller by the format's subsampling (rounded up).
    Nobody writes into an array: it may be the decoder's own memory.
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
        """Bits in a sample: 8, 9, 10, 12, 14 or 16."""
        return bits_of(self.pixels)

    def with_arrays(self, arrays: tuple[Any, ...]) -> "Planes":
        """A picture of the same kind from other samples."""
        return replace(self, arrays=arrays)


def bits_of(pixels: str) -> int:
    """Bits in a sample of a planar format, from its name: "yuv420p10le" -> 10, "gray" -> 8."""
    digits = pixels.removesuffix("le").removesuffix("be")
    for bits in (9, 10, 12, 14, 16):
        if digits.endswith((f"p{bits}", f"gray{bits}")):
            return bits
    return 8


def steps_of(pixels: str) -> tuple[int, int]:
    """Luma samples per chroma sample, across and down: "yuv420p" -> (2, 2), "gbrp" -> (1, 1)."""
    return _STEPS[pixels.removeprefix("yuv").removeprefix("a")[:3]] if "yuv" in pixels else (1, 1)


def has_alpha(pixels: str) -> bool:
    """Whether a planar format carries transparency."""
    return pixels.startswith(("yuva", "gbrap"))


def is_hdr(colour: ColorTags) -> bool:
    """Whether numbers mean light as in ITU-R BT.2100: PQ or HLG."""
    return colour.transfer in ("smpte2084", "arib-std-b67")
