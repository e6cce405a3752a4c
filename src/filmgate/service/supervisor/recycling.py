"""When a worker is replaced because of what it holds between jobs: decided from its figures."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from filmgate.units import format_bytes

WARN_PERCENT = 85  # of what it may hold
LEAK_JOBS = 20  # over which growth is measured
_LEAK_SHARE = 0.01  # growth for each job, of what it held at first
_LEAK_TOTAL = 0.5  # growth over all of them: less is not worth a replacement


def explain_recycling(idle_bytes: Sequence[int], most_bytes: int) -> str:
    """Return why a worker that held so much after each of its jobs is replaced, "" if it is not.

    `idle_bytes`: the first is from before its first job. `most_bytes`: what it may hold.
    """
    held = idle_bytes[-1] if idle_bytes else 0
    if held >= most_bytes:
        return f"it holds {format_bytes(held)} between jobs, at most {format_bytes(most_bytes)}"
    latest = idle_bytes[-LEAK_JOBS:]
    if len(latest) < LEAK_JOBS:
        return ""
    slope, first = measure_growth(latest), idle_bytes[0]
    if slope > _LEAK_SHARE * first and held > (1 + _LEAK_TOTAL) * first:
        return (f"it grows by {format_bytes(int(slope))} with each job, and holds "
                f"{format_bytes(held)} between them")  # fmt: skip
    return ""


def is_near_limit(idle_bytes: Sequence[int], most_bytes: int) -> bool:
    """Return whether it holds so much that this is worth a warning."""
    return bool(idle_bytes) and idle_bytes[-1] >= most_bytes * WARN_PERCENT // 100


def measure_growth(values: Sequence[int]) -> float:
    """Return the median of the slopes between all pairs: single jumps do not count."""
    pairs = [
        (later - earlier) / (n - k)
        for k, earlier in enumerate(values)
        for n, later in enumerate(values[k + 1 :], k + 1)
    ]
    return median(pairs) if pairs else 0.0
