"""Noise per frame: reproducible, and independent of its neighbours."""

import numpy as np

from filmgate.models.diffusion.noise import draw_noise


def test_noise_does_not_depend_on_the_order() -> None:
    there = [draw_noise(1, "x", index, (4, 4)) for index in range(5)]
    back = [draw_noise(1, "x", index, (4, 4)) for index in reversed(range(5))]
    assert all(np.array_equal(a, b) for a, b in zip(there, reversed(back), strict=True))


def test_these_bits_never_change() -> None:
    """A video that was started with one version must resume identically with the next."""
    promised = [0.24152018129825592, 0.7652981877326965, 1.4495660066604614]
    assert draw_noise(7, "grain", 3, (3,)).tolist() == promised


def test_noise_differs_by_seed_purpose_and_frame() -> None:
    base = draw_noise(1, "x", 1, (1000,))
    for other in (
        draw_noise(2, "x", 1, (1000,)),
        draw_noise(1, "y", 1, (1000,)),
        draw_noise(1, "x", 2, (1000,)),
    ):
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.15


def test_noise_is_standard_normal_float32() -> None:
    many = draw_noise(0, "x", 0, (300, 300))
    assert many.dtype == np.float32
    assert abs(many.mean()) < 0.02
    assert abs(many.std() - 1) < 0.02
    assert abs((np.abs(many) < 1).mean() - 0.6827) < 0.01
