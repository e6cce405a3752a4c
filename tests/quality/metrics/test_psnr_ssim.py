"""PSNR and SSIM equal the values of a reference library."""

from math import inf

import numpy as np
import numpy.typing as npt
import pytest

from filmgate.quality.metrics.psnr_ssim import psnr, ssim


def make_pair() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return two deterministic images."""
    y, x = np.mgrid[0:48, 0:64]
    base = x * 5 + y * 3
    other = base + x * y % 7 * 4
    return (base % 256).astype(np.uint8), (other % 256).astype(np.uint8)


def test_ssim_is_that_of_scikit_image() -> None:
    """Version 0.26.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False."""
    a, b = make_pair()
    assert ssim(a, b) == pytest.approx(0.609950564194884, abs=1e-9)
    colour = np.dstack([a, b, a[::-1]]), np.dstack([b, a[:, ::-1], a])
    assert ssim(*colour) == pytest.approx(0.3124954531097737, abs=1e-9)
    deep = a.astype(np.uint16) * 4 + 3, b.astype(np.uint16) * 4
    assert ssim(*deep, peak=1023) == pytest.approx(0.6109167552830584, abs=1e-9)
    assert ssim(a, a) == 1


def test_psnr_is_the_known_value() -> None:
    a = np.full((4, 4), 100, np.uint8)
    deep = a.astype(np.uint16)
    assert psnr(a, a) == inf
    assert psnr(a, a + np.uint8(1)) == pytest.approx(48.1308, abs=1e-4)  # 20 log10(255)
    assert psnr(deep, deep + np.uint16(1), 1023) == pytest.approx(60.1975, abs=1e-4)
    assert psnr(a, np.zeros_like(a)) == pytest.approx(8.1308, abs=1e-4)  # 20 log10(255 / 100)


def test_images_that_cannot_be_compared_are_refused() -> None:
    a, b = make_pair()
    with pytest.raises(ValueError, match="one shape"):
        psnr(a, b[:-1])
    with pytest.raises(ValueError, match="11x11"):
        ssim(a[:8, :8], b[:8, :8])
