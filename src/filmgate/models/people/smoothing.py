"""The One-Euro filter on points: strong where they rest, weak where they move.

Casiez, Roussel & Vogel, "1€ Filter", CHI 2012.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import pi
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class FilterState:
    """What the filter remembers of one person: filtered points, speeds (N, D), and their time."""

    points: npt.NDArray[Any]
    speeds: npt.NDArray[Any]
    time: Fraction


def start_filter(points: npt.NDArray[Any], time: Fraction) -> FilterState:
    """Return the state whose filtered points are these, at rest."""
    return FilterState(points, np.zeros_like(points), time)


@dataclass(frozen=True, slots=True)
class OneEuro:
    """Settings of the filter. Lengths are in parts of the region, times in seconds.

    The cutoff frequency in Hz is `lowest` at rest and grows by `gain` for each unit of speed; that
    of the speed itself is `speed_cutoff`.
    """

    lowest: float = 0.5
    gain: float = 60.0
    speed_cutoff: float = 1.0

    def filter(
        self, state: FilterState, points: npt.NDArray[Any], time: Fraction, scale: float
    ) -> FilterState:
        """Return the state after points (N, D) at `time`; `scale` is the side of their region."""
        step = float(time - state.time)
        if step <= 0:
            return start_filter(points, time)
        raw = (points - state.points) / (step * scale)
        share = _find_share(np.array(self.speed_cutoff), step)
        speeds = state.speeds + share * (raw - state.speeds)
        # one cutoff for all directions, so that turned points give turned results
        speed = np.sqrt(np.square(speeds).sum(1, keepdims=True))
        shares = _find_share(self.lowest + self.gain * speed, step)
        return FilterState(state.points + shares * (points - state.points), speeds, time)


def _find_share(cutoff: npt.NDArray[Any], step: float) -> npt.NDArray[Any]:
    """Return the weight of a new value in a low-pass filter of this cutoff, in Hz."""
    turns = 2 * pi * cutoff * step
    return turns / (1 + turns)
