"""Images for display look like those that are converted exactly."""

import numpy as np
import pytest

from filmgate.core.frame import ColorTags
from filmgate.media.pixels.display import to_bgr
from filmgate.media.pixels.planes import Planes


@pytest.mark.parametrize("pixels", ["gray", "gray10le", "gbrp", "gbrp10le"])
@pytest.mark.parametrize("range_", ["tv", "pc"])
def test_grey_and_rgb_of_limited_range_are_shown_in_full(pixels: str, range_: str) -> None:
    bits = 10 if "10" in pixels else 8
    low, high = (16, 235) if range_ == "tv" else (0, 255)
    codes = np.tile(np.linspace(low, high, 64), (48, 1)) * 2 ** (bits - 8)
    plane = codes.astype(np.uint16 if bits > 8 else np.uint8)
    planes = (plane,) if pixels.startswith("gray") else (plane, plane, plane)
    matrix = "unknown" if pixels.startswith("gray") else "gbr"
    shown = to_bgr(Planes(planes, pixels, ColorTags(matrix=matrix, range=range_)))
    wanted = np.linspace(0, 255, 64)
    assert np.abs(shown[0].astype(float) - wanted[:, None]).max() <= 2
