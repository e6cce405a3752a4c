"""How far apart two pictures are: PSNR and SSIM."""

from math import inf, log10
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

# (H, W) or (H, W, channels)
Picture = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.float32]


def psnr(a: Picture, b: Picture, peak: int = 255) -> float:
    """Peak signal to noise in dB over all samples of two pictures of one shape; equal: inf.

    `peak` is the largest value a sample can have: 255, or 1023 for 10 bits.
    """
    _alike(a, b)
    error = float(np.mean(np.square(a.astype(np.float64) - b)))
    return 10 * log10(peak * peak / error) if error else inf


def ssim(a: Picture, b: Picture, peak: int = 255) -> float:
    """Structural similarity, -1 to 1: the mean over all windows, then over the channels.

    Wang et al., IEEE TIP 2004, section III: Gaussian window of 11x11, sigma 1.5, K 0.01 and 0.03;
    only windows that lie inside the picture. Raises ValueError below 11x11.
    """
    _alike(a, b)
    if min(a.shape[:2]) < 11:
        raise ValueError(f"a picture is {a.shape[1]}x{a.shape[0]}: SSIM wants 11x11 or more")
    x, y = a.astype(np.float64), b.astype(np.float64)
    mean_x, mean_y = _window(x), _window(y)
    spread_x = _window(x * x) - mean_x * mean_x
    spread_y = _window(y * y) - mean_y * mean_y
    common = _window(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    alike = (2 * mean_x * mean_y + c1) * (2 * common + c2)
    whole = (mean_x * mean_x + mean_y * mean_y + c1) * (spread_x + spread_y + c2)
    return float(np.mean(alike / whole))


def _window(values: Any) -> Any:
    return cv2.GaussianBlur(values, (11, 11), 1.5)[5:-5, 5:-5]


def _alike(a: Picture, b: Picture) -> None:
    if a.shape != b.shape or a.dtype != b.dtype:
        raise ValueError(f"{a.dtype} {a.shape} and {b.dtype} {b.shape}: pictures that are compared "
                         "have one shape and dtype")  # fmt: skip
