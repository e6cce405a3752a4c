"""Overlaps of boxes, and the best pairs of tracks and detections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from filmgate.models.people.association import Box

Floats = npt.NDArray[np.float64]


def measure_overlaps(a: Sequence[Box], b: Sequence[Box]) -> Floats:
    """Return (len(a), len(b)): the area that two boxes share, as a part of what both cover.

    Boxes are left, top, width and height.
    """
    first, second = (np.array(boxes, np.float64).reshape(-1, 4) for boxes in (a, b))
    shared = measure_shared(first, second)
    areas = [boxes[:, 2] * boxes[:, 3] for boxes in (first, second)]
    total = areas[0][:, None] + areas[1][None] - shared
    return np.divide(shared, total, out=np.zeros_like(shared), where=total > 0)


def measure_shared(a: Floats, b: Floats) -> Floats:
    """Return (A, B): the area that two boxes share, in square pixels, for boxes (A, 4), (B, 4)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum((a[:, :2] + a[:, 2:])[:, None], (b[:, :2] + b[:, 2:])[None])
    return np.asarray(np.maximum(high - low, 0).prod(2), np.float64)


def match(overlaps: Floats, least: float, weights: npt.ArrayLike = 1.0) -> list[tuple[int, int]]:
    """Return the pairs (row, column) with the largest sum of overlaps times `weights` (columns).

    Each row and column is in one pair at most, and each pair overlaps by `least` or more.
    """
    if not overlaps.size:
        return []
    from scipy.optimize import linear_sum_assignment

    allowed = overlaps >= least
    values = np.where(allowed, overlaps * np.asarray(weights), 0.0)
    rows, columns = linear_sum_assignment(values, maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(row, column) for row, column in pairs if allowed[row, column]]
