"""Find a period at which frames stand out: jumps or blurring that repeat."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import erfc, sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]  # (frames,)

# Limits above what videos without seams reach; docs/seams.md has the measurements.
MIN_SCORE_GIVEN = 1.0  # median score of boundary frames, at a period that the user gave
MIN_SCORE_FOUND = 2.0  # the same at a period that was searched for: B-frames reach 1.14
MAX_P_VALUE = 1e-3
MIN_SIMILARITY = 0.2  # mean correlation of one period with the others
MIN_DEPTH = 0.015  # how far sharpness rises and falls, as a fraction

_MIN_PERIOD = 3  # frames
_MAX_PERIOD = 512  # frames
_CANDIDATE_COUNT = 20  # the strongest may be an encoder's pattern, which is frequent but weak
_MIN_BREATHING_PERIOD = 6  # frames; shorter breathing looks like the pattern of an encoder
_B_FRAME_PATTERNS = (4, 3)  # frames; sharpness is averaged over these lengths


@dataclass(frozen=True, slots=True)
class Period:
    """Boundaries every `frames` frames from `first` on; `score` is the median of their scores.

    `others`: the median of all other frames. `p_value`: of frames in random order, over all
    periods that were tried. `autocorrelation`: of the scores at that lag, -1 to 1. `similarity`,
    `depth`, `breathes`: see `measure_breathing`. `given`: the user gave this period.
    """

    frames: int
    first: int
    boundaries: int
    score: float
    others: float
    p_value: float
    autocorrelation: float
    similarity: float
    depth: float
    breathes: bool
    given: bool

    @property
    def jumps(self) -> bool:
        """Whether frames at the boundaries stand out."""
        return (
            self.score >= (MIN_SCORE_GIVEN if self.given else MIN_SCORE_FOUND)
            and self.p_value <= MAX_P_VALUE
        )

    @property
    def ok(self) -> bool:
        """Whether no seam shows. Breathing counts only at given periods: people breathe too."""
        return not self.jumps and not (self.given and self.breathes)


def find_period(total: Values, level: Values) -> Period | None:
    """Return the period at which frames stand out most, None if none is significant."""
    periods = range(_MIN_PERIOD, min(_MAX_PERIOD, len(total) // 4) + 1)
    strongest = _rank_periods(_rank_scores(total), ~np.isnan(total), periods)
    for strength, frames, first in strongest[:_CANDIDATE_COUNT]:
        period = _describe_period(total, level, strength, frames, first, sum(periods), False)
        if period.jumps:
            return period
    return None


def measure_period(total: Values, level: Values, frames: int) -> Period | None:
    """Return the boundaries of a period at their strongest offset; None if too few have scores."""
    for strength, _, first in _rank_periods(_rank_scores(total), ~np.isnan(total), [frames]):
        return _describe_period(total, level, strength, frames, first, frames, True)
    return None


def measure_breathing(level: Values, frames: int) -> tuple[float, float, bool]:
    """Measure whether a video gets sharper and softer in every period, as blended batches do.

    `level` is ln of sharpness for each frame. Returns the mean correlation between periods, the
    depth as a fraction, and whether both are more than chance and noise give.
    """
    for width in _B_FRAME_PATTERNS:
        if len(level) > width:
            level = np.convolve(level, np.ones(width) / width, "valid")
    padding = frames // 2, frames - 1 - frames // 2
    count = len(level) // frames
    if count < 4 or frames < _MIN_BREATHING_PERIOD:
        return 0.0, 0.0, False
    middle = np.convolve(np.pad(level, padding, "edge"), np.ones(frames) / frames, "valid")
    rest: Values = level - middle
    rest = np.clip(rest, *np.quantile(rest, [0.02, 0.98]))
    rows = rest[: count * frames].reshape(count, frames)
    variance = float(np.square(rows).sum())
    covariance = float(np.square(rows.sum(0)).sum()) - variance
    similarity = covariance / (variance * (count - 1)) if variance > 1e-9 else 0.0
    depth = float(np.ptp(np.median(rows, axis=0)))
    # three standard deviations of such a mean: a smooth curve has about three free values
    least = max(MIN_SIMILARITY, sqrt(6 / (count * (count - 1))))
    return similarity, depth, similarity >= least and depth >= MIN_DEPTH


def compute_autocorrelation(total: Values, longest: int) -> Values:
    """Return the autocorrelation of the ranked scores, -1 to 1, at lags 0 to `longest` frames."""
    ranked = _rank_scores(total)
    n = len(ranked)
    size = 1 << (2 * n - 1).bit_length()
    power = np.abs(np.fft.rfft(ranked, size)) ** 2
    products = np.fft.irfft(power, size)[: longest + 1]
    return np.asarray(products / max(products[0], 1e-12))


def _rank_periods(
    ranked: Values, scored: npt.NDArray[np.bool_], periods: Iterable[int]
) -> list[tuple[float, int, int]]:
    """Return (strength, frames, first boundary) of each period, the strongest first.

    `strength` is in standard deviations, at the offset where the boundaries stand out most.
    """
    ranking = []
    for period in periods:
        places = np.arange(len(scored)) % period
        count = np.bincount(places, weights=scored, minlength=period)
        sums = np.bincount(places, weights=ranked, minlength=period)
        strength = np.where(count >= 3, sums / np.sqrt(np.maximum(count, 1)), -np.inf)
        first = int(np.argmax(strength))
        if count[first] >= 3:
            ranking.append((float(strength[first]), period, first))
    return sorted(ranking, reverse=True)


def _describe_period(
    total: Values, level: Values, strength: float, frames: int, first: int, tried: int, given: bool
) -> Period:
    scored = ~np.isnan(total)
    at = np.zeros(len(total), bool)
    at[first::frames] = True
    similarity, depth, breathes = measure_breathing(level, frames)
    return Period(
        frames=frames,
        first=first,
        boundaries=int((at & scored).sum()),
        score=float(np.median(total[at & scored])),
        others=float(np.median(total[scored if at[scored].all() else scored & ~at])),
        p_value=min(1.0, tried * erfc(strength / sqrt(2)) / 2),
        autocorrelation=float(compute_autocorrelation(total, frames)[frames]),
        similarity=similarity,
        depth=depth,
        breathes=breathes,
        given=given,
    )


def _rank_scores(total: Values) -> Values:
    """Return normal scores of the ranks: the sum of k in random order deviates by sqrt(k)."""
    scored = ~np.isnan(total)
    ranked = np.zeros(len(total))
    if not scored.any():
        return ranked
    _, where, count = np.unique(total[scored], return_inverse=True, return_counts=True)
    middle = (np.cumsum(count) - count / 2) / scored.sum()
    quantile = NormalDist().inv_cdf
    ranked[scored] = np.array([quantile(float(share)) for share in middle])[where]
    return ranked
