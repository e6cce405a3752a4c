"""PSNR and SSIM of two images."""

from math import inf, log10
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

# (H, W) or (H, W, channels)
Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.float32]


def psnr(a: Samples, b: Samples, peak: int = 255) -> float:
    """Return the peak signal-to-noise ratio in dB over all samples; inf for equal images.

    `peak` is the largest value of a sample: 255, or 1023 for 10 bits. Raises ValueError for
    different shapes or dtypes.
    """
    _check_same_shape(a, b)
    error = float(np.mean(np.square(a.astype(np.float64) - b)))
    return 10 * log10(peak * peak / error) if error else inf


def ssim(a: Samples, b: Samples, peak: int = 255) -> float:
    """Return the structural similarity, -1 to 1: the mean over all windows and channels.

    Wang et al., IEEE TIP 2004, section III: Gaussian window of 11x11, sigma 1.5, K 0.01 and 0.03;
    only windows that are inside the image. Raises ValueError below 11x11.
    """
    _check_same_shape(a, b)
    if min(a.shape[:2]) < 11:
        raise ValueError(f"an image is {a.shape[1]}x{a.shape[0]}: SSIM needs 11x11 or more")
    x, y = a.astype(np.float64), b.astype(np.float64)
    mean_x, mean_y = _average_window(x), _average_window(y)
    variance_x = _average_window(x * x) - mean_x * mean_x
    variance_y = _average_window(y * y) - mean_y * mean_y
    covariance = _average_window(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    denominator = (mean_x * mean_x + mean_y * mean_y + c1) * (variance_x + variance_y + c2)
    return float(np.mean(numerator / denominator))


def _average_window(values: Any) -> Any:
    return cv2.GaussianBlur(values, (11, 11), 1.5)[5:-5, 5:-5]


def _check_same_shape(a: Samples, b: Samples) -> None:
    if a.shape != b.shape or a.dtype != b.dtype:
        raise ValueError(f"cannot compare {a.dtype} {a.shape} with {b.dtype} {b.shape}: both "
                         "images need one shape and dtype")  # fmt: skip
