"""Measure how fast this machine's processor computes, without torch."""

from __future__ import annotations

from functools import cache
from time import perf_counter

_SIDE, _TRIES = 768, 3


@cache
def measure_host_speed() -> float:
    """Return operations a second in float32: of numpy's matrix product, in under a tenth of a
    second. Networks reach half of that or less."""
    import numpy as np

    matrix, best = np.ones((_SIDE, _SIDE), np.float32), float("inf")
    for _ in range(_TRIES):
        start = perf_counter()
        np.dot(matrix, matrix)
        best = min(best, perf_counter() - start)
    return 2 * _SIDE**3 / best
