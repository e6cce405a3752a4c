"""What color tags mean where they are unknown; without torch."""

from __future__ import annotations

from filmgate.core.frame import ColorTags


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
