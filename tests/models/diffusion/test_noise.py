"""Keyed noise: the same wherever it is asked, and nothing to do with its neighbours."""

import numpy as np

from filmgate.models.diffusion.noise import noise


def test_noise_is_the_same_in_any_order() -> None:
    there = [noise(1, "x", index, (4, 4)) for index in range(5)]
    back = [noise(1, "x", index, (4, 4)) for index in reversed(range(5))]
    assert all(np.array_equal(a, b) for a, b in zip(there, reversed(back), strict=True))


def test_these_bits_are_a_promise() -> None:
    """A film that was begun with one version must go on the same with the next."""
    promised = [0.24152018129825592, 0.7652981877326965, 1.4495660066604614]
    assert noise(7, "grain", 3, (3,)).tolist() == promised


def test_noise_differs_by_seed_purpose_and_frame() -> None:
    base = noise(1, "x", 1, (1000,))
    for other in (noise(2, "x", 1, (1000,)), noise(1, "y", 1, (1000,)), noise(1, "x", 2, (1000,))):
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.15


def test_noise_is_standard_normal_float32() -> None:
    many = noise(0, "x", 0, (300, 300))
    assert many.dtype == np.float32
    assert abs(many.mean()) < 0.02
    assert abs(many.std() - 1) < 0.02
    assert abs((np.abs(many) < 1).mean() - 0.6827) < 0.01
