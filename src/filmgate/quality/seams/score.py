"""Seams: does a film jump where one batch of frames ends and the next begins?

Each frame is held against the one before it in three ways: what motion leaves over, the jump of
mean luma, and the jump of sharpness. A jump counts by how far it stands out of its own
surroundings, and only if it stands alone: motion, noise, fades and flashes do not.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from filmgate.core.frame import Frame, StreamSpec
from filmgate.errors import BadSetting
from filmgate.quality.metrics.motion_residual import luma, small, step, with_cuts
from filmgate.quality.seams.periodicity import Period, Values, found_period, given_period

KINDS = ("residual", "luma", "sharpness")
# A score that a frame of a film without seams does not reach; docs/seams.md has the figures.
SINGLE = 12.0

_AROUND = 25  # frames that are a frame's surroundings
_FEWEST = 7  # a shot with fewer says nothing
# A spread below this does not count: of ln(levels), levels, ln(levels).
_FLOOR = {"residual": 0.06, "luma": 0.12, "sharpness": 0.02}
_SOFT = 0.3  # levels that a residual may have without being anything
_CLEAR = 16.0  # levels of contrast from which sharpness counts in full
_SAME = 0.02  # levels: two pictures that differ by less are one picture, shown twice
_HELD = 3  # so many repetitions in a row are how animation is made, more are a still


@dataclass(frozen=True, slots=True)
class Signals:
    """What was measured of a film, a number for each frame; not a number on the first of a shot.

    `times` in seconds, `residual` and `luma` in 8-bit levels, `sharpness` as ln of its ratio to
    the frame before. `held`: the picture before, shown again.
    """

    times: Values
    residual: Values
    luma: Values
    sharpness: Values
    cut: npt.NDArray[np.bool_]
    held: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Moment:
    """A frame that stands out: by how much, and in what."""

    frame: int
    time: float
    score: float
    kind: str


@dataclass(frozen=True, slots=True)
class Seams:
    """What `seams` found: the verdict with its reasons; scores are in spreads of the surroundings.

    `found`: the period that was looked for and found, None without one.
    """

    video: Path
    frames: int
    cuts: int
    threshold: float
    worst: tuple[Moment, ...]
    found: Period | None
    given: tuple[Period, ...]

    @property
    def ok(self) -> bool:
        """Whether the film shows no seam."""
        single = not self.worst or self.worst[0].score < self.threshold
        return single and all(p.ok for p in (self.found, *self.given) if p)


def measured(spec: StreamSpec, chunks: Iterable[list[Frame]]) -> Signals:
    """Looks at a film once, frame by frame; of each frame numbers are kept and nothing else."""
    columns = {name: array("d") for name in ("times", *KINDS)}
    cut, held = array("b"), array("b")
    before: tuple[Any, float, float, float] | None = None
    for frame in with_cuts(spec, chunks):
        whole = luma(frame)
        picture = small(whole)
        sharp = log(float(np.abs(cv2.Laplacian(whole, cv2.CV_32F)).mean()) + 0.5)
        # In the dark, and in fog, sharpness has no meaning.
        clear = min(1.0, float(picture.std()) / _CLEAR)
        now = (picture, float(picture.mean()), sharp, clear)
        is_cut = bool(frame.extras.get("cut"))
        said = [float("nan")] * 3
        same = False
        if before is not None and not is_cut:
            same = float(np.abs(picture - before[0]).mean()) < _SAME
            error = 0.0 if same else step(before[0], picture).error
            sharper = (now[2] - before[2]) * min(clear, before[3])
            said = [error, now[1] - before[1], sharper]
        for name, value in zip(columns, (float(frame.time), *said), strict=True):
            columns[name].append(value)
        cut.append(is_cut)
        held.append(same)
        before = now
    arrays = {name: np.array(values) for name, values in columns.items()}
    return Signals(**arrays, cut=np.array(cut, bool), held=np.array(held, bool))


def scores(signals: Signals) -> dict[str, Values]:
    """How far each frame stands out, alone, in each of `KINDS`; not a number where untold."""
    kept = ~np.isnan(signals.residual) & ~_animated(signals.held)
    shots = np.cumsum(signals.cut)
    found = {kind: np.full(len(kept), np.nan) for kind in KINDS}
    for shot in np.unique(shots):
        places = np.flatnonzero(kept & (shots == shot))
        if len(places) < _FEWEST:
            continue
        for kind in KINDS:
            values = getattr(signals, kind)[places]
            if kind == "residual":
                values = np.log(values + _SOFT)
            found[kind][places] = _alone(values, kind)
    return found


def judged(
    video: Path,
    signals: Signals,
    periods: Sequence[int] = (),
    threshold: float = SINGLE,
    worst: int = 6,
) -> Seams:
    """The verdict on what was measured; `periods` are looked at whether they stand out or not."""
    n = len(signals.times)
    for period in periods:
        if not 2 <= period <= n // 2:
            raise BadSetting(f"period is {period}: the film has {n} frames, wanted 2 to {n // 2}")
    by_kind = scores(signals)
    total = highest(by_kind)
    order = [int(i) for i in np.argsort(-np.nan_to_num(total, nan=-np.inf))[:worst]]
    moments = tuple(
        Moment(i, float(signals.times[i]), float(total[i]),
               max(KINDS, key=lambda kind: by_kind[kind][i]))
        for i in order if not np.isnan(total[i]) and total[i] > 0
    )  # fmt: skip
    level = np.cumsum(np.nan_to_num(signals.sharpness))
    given = [given_period(total, level, period) for period in periods]
    return Seams(video, n, int(signals.cut.sum()), threshold, moments, found_period(total, level),
                 tuple(period for period in given if period))  # fmt: skip


def highest(by_kind: dict[str, Values]) -> Values:
    """The score of each frame: the highest of its kinds."""
    return np.asarray(np.max(np.stack([by_kind[kind] for kind in KINDS]), axis=0))


def _alone(values: Values, kind: str) -> Values:
    """How far each value is above its surroundings and its neighbours, in spreads."""
    width = min(_AROUND, len(values))
    windows = sliding_window_view(values, width)
    at = np.clip(np.arange(len(values)) - width // 2, 0, len(values) - width)
    middle, spread = np.empty_like(values), np.empty_like(values)
    for begin in range(0, len(values), 4096):  # a film may be one shot
        part = slice(begin, begin + 4096)
        around = windows[at[part]]
        middle[part] = np.median(around, axis=1)
        spread[part] = 1.4826 * np.median(np.abs(around - middle[part, None]), axis=1)
    excess = values - middle
    if kind != "residual":  # which has no sign
        excess = np.abs(excess)
    padded = np.pad(excess, 1)
    beside = np.maximum(np.maximum(padded[:-2], padded[2:]), 0)
    return np.asarray((excess - beside) / (spread + _FLOOR[kind]))


def _animated(held: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Repeated pictures between others, as where 8 drawings a second make 24 frames."""
    found = np.zeros(len(held), bool)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], held.astype(np.int8), [0]))))
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        found[begin:end] = end - begin <= _HELD
    return found
