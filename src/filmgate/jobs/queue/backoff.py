"""How long to wait before trying again."""

from __future__ import annotations

from collections.abc import Callable

BASE_S, MAX_S = 1.0, 300.0
Uniform = Callable[[float, float], float]  # a random number between two, as random.uniform


def compute_backoff_s(
    failures: int, uniform: Uniform, base_s: float = BASE_S, max_s: float = MAX_S
) -> float:
    """Return seconds to wait after so many failures in a row, 0 after none.

    Exponential with full jitter: anything from 0 to twice the longest wait before, at most
    `max_s`. Without it all that failed at one moment would try again at one moment.
    """
    if failures < 1:
        return 0.0
    return uniform(0.0, min(max_s, base_s * 2.0 ** min(failures - 1, 60)))
