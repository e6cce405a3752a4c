"""What color tags mean where they are unknown; without torch."""

from __future__ import annotations

from dataclasses import replace

from filmgate.core.frame import ColorTags, StreamSpec


def is_cosited(siting: str) -> tuple[bool, bool]:
    """Return whether chroma is at the first luma sample, across and down."""
    return siting not in ("center", "top"), siting in ("topleft", "top")


def is_full_range(pixels: str, colour: ColorTags) -> bool:
    """Return whether codes use the full range; if it is unknown, RGB and grey do, YUV does not."""
    return colour.range == "pc" or (colour.range == "unknown" and not pixels.startswith("yuv"))


def choose_matrix(colour: ColorTags, width: int, height: int) -> str:
    """Return the matrix; if it is unknown, BT.709 from 1280 x 720 pixels on, else BT.601."""
    if colour.matrix != "unknown":
        return colour.matrix
    return "bt709" if width >= 1280 or height >= 720 else "smpte170m"


def resize_color_tags(spec: StreamSpec, width: int, height: int) -> ColorTags:
    """Return the stream's tags at another size, for the same colours.

    An unknown matrix depends on the size (`choose_matrix`): if it would change, it is set.
    """
    matrix = choose_matrix(spec.colour, spec.width, spec.height)
    if matrix == choose_matrix(spec.colour, width, height) or not spec.pixels.startswith("yuv"):
        return spec.colour
    return replace(spec.colour, matrix=matrix)
