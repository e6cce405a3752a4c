"""Rhythm: does something happen in a film every so many frames?"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import erfc, sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]  # (frames,)

# What a film without seams does not reach; docs/seams.md has the figures.
BOUNDARY = 1.0  # the median score of frames at boundaries, of a period that is given
FOUND = 2.0  # the same of one that was looked for: an encoder's pattern reaches 1.14
CHANCE = 1e-3
BREATH = 0.2  # how alike one period is to the next, as a correlation
DEPTH = 0.015  # how far sharpness goes up and down, as a share

_SHORTEST = 3  # frames of the periods that are looked for
_LONGEST = 512
_LOOKED_AT = 20  # of the strongest, which may be an encoder's: often and hardly
_BREATHING = 6  # frames: in shorter periods breathing can't be told from an encoder's pattern
_ENCODERS = (4, 3)  # frames: the patterns of B-frames, which are evened out


@dataclass(frozen=True, slots=True)
class Period:
    """Boundaries every `frames` frames from `first` on; `score` is the median of their scores.

    `others`: that of all other frames. `chance`: how probably the same frames in any order would
    look so, over all periods that were tried. `again`: the scores' autocorrelation at that distance
    (-1 to 1). `breath`, `depth`: see `breathing`. `given`: asked for, and not found.
    """

    frames: int
    first: int
    boundaries: int
    score: float
    others: float
    chance: float
    again: float
    breath: float
    depth: float
    breathes: bool
    given: bool

    @property
    def jumps(self) -> bool:
        """Whether frames at the boundaries stand out."""
        return self.score >= (BOUNDARY if self.given else FOUND) and self.chance <= CHANCE

    @property
    def ok(self) -> bool:
        """Whether nothing is seen there. Breathing counts at given periods: people breathe too."""
        return not self.jumps and not (self.given and self.breathes)


def found_period(total: Values, level: Values) -> Period | None:
    """The period at which frames stand out most, None if none does by more than chance."""
    periods = range(_SHORTEST, min(_LONGEST, len(total) // 4) + 1)
    strongest = _strongest(_ranked(total), ~np.isnan(total), periods)
    for strength, frames, first in strongest[:_LOOKED_AT]:
        found = _period(total, level, strength, frames, first, sum(periods), False)
        if found.jumps:
            return found
    return None


def given_period(total: Values, level: Values, frames: int) -> Period | None:
    """What is at the boundaries of a period, wherever the first one lies; None: nothing told."""
    for strength, _, first in _strongest(_ranked(total), ~np.isnan(total), [frames]):
        return _period(total, level, strength, frames, first, frames, True)
    return None


def breathing(level: Values, frames: int) -> tuple[float, float, bool]:
    """Whether a film gets sharper and softer in every period, as where batches are blended.

    `level` is ln of sharpness. Gives how alike periods are (their mean correlation), how far it
    goes (a share), and whether that is more than chance and noise do.
    """
    for width in _ENCODERS:
        if len(level) > width:
            level = np.convolve(level, np.ones(width) / width, "valid")
    around = frames // 2, frames - 1 - frames // 2
    count = len(level) // frames
    if count < 4 or frames < _BREATHING:
        return 0.0, 0.0, False
    middle = np.convolve(np.pad(level, around, "edge"), np.ones(frames) / frames, "valid")
    rest: Values = level - middle
    rest = np.clip(rest, *np.quantile(rest, [0.02, 0.98]))
    rows = rest[: count * frames].reshape(count, frames)
    own = float(np.square(rows).sum())
    both = float(np.square(rows.sum(0)).sum()) - own
    alike = both / (own * (count - 1)) if own > 1e-9 else 0.0
    depth = float(np.ptp(np.median(rows, axis=0)))
    # three spreads of such a mean, where smooth curves have about three free values each
    least = max(BREATH, sqrt(6 / (count * (count - 1))))
    return alike, depth, alike >= least and depth >= DEPTH


def autocorrelation(total: Values, longest: int) -> Values:
    """Of the scores, ranked: -1 to 1 at each distance from 0 to `longest` frames."""
    ranked = _ranked(total)
    n = len(ranked)
    size = 1 << (2 * n - 1).bit_length()
    power = np.abs(np.fft.rfft(ranked, size)) ** 2
    found = np.fft.irfft(power, size)[: longest + 1]
    return np.asarray(found / max(found[0], 1e-12))


def _strongest(
    ranked: Values, told: npt.NDArray[np.bool_], periods: Iterable[int]
) -> list[tuple[float, int, int]]:
    """How far the boundaries of each period stand out, where they do most: (spreads, frames, first
    boundary), the strongest first."""
    found = []
    for period in periods:
        places = np.arange(len(told)) % period
        count = np.bincount(places, weights=told, minlength=period)
        sums = np.bincount(places, weights=ranked, minlength=period)
        strength = np.where(count >= 3, sums / np.sqrt(np.maximum(count, 1)), -np.inf)
        first = int(np.argmax(strength))
        if count[first] >= 3:
            found.append((float(strength[first]), period, first))
    return sorted(found, reverse=True)


def _period(
    total: Values, level: Values, strength: float, frames: int, first: int, tried: int, given: bool
) -> Period:
    told = ~np.isnan(total)
    at = np.zeros(len(total), bool)
    at[first::frames] = True
    breath, depth, breathes = breathing(level, frames)
    return Period(
        frames=frames,
        first=first,
        boundaries=int((at & told).sum()),
        score=float(np.median(total[at & told])),
        others=float(np.median(total[told if at[told].all() else told & ~at])),
        chance=min(1.0, tried * erfc(strength / sqrt(2)) / 2),
        again=float(autocorrelation(total, frames)[frames]),
        breath=breath,
        depth=depth,
        breathes=breathes,
        given=given,
    )


def _ranked(total: Values) -> Values:
    """Normal scores of the ranks: their sum over k frames in any order has the spread sqrt(k)."""
    told = ~np.isnan(total)
    found = np.zeros(len(total))
    if not told.any():
        return found
    _, where, count = np.unique(total[told], return_inverse=True, return_counts=True)
    middle = (np.cumsum(count) - count / 2) / told.sum()
    quantile = NormalDist().inv_cdf
    found[told] = np.array([quantile(float(share)) for share in middle])[where]
    return found
