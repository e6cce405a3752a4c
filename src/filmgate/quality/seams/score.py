"""Score how far each frame of a video stands out, to find seams where batches of frames meet.

Each frame is compared with the one before it by the residual after motion compensation, the jump
of mean luma and the jump of sharpness. A jump scores by how far it exceeds the frames around it
and its two neighbours, so that motion, noise, fades and flashes score nothing.
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
from filmgate.quality.metrics.motion_residual import downscale, get_luma, mark_shots, measure_step
from filmgate.quality.seams.periodicity import Period, Values, find_period, measure_period

KINDS = ("residual", "luma", "sharpness")
# Above the score of any frame in videos without seams; docs/seams.md has the measurements.
SINGLE_THRESHOLD = 12.0

_WINDOW = 25  # frames that a frame is compared with
_MIN_SHOT = 7  # frames; shorter shots have no scores
# The least deviation that a score is divided by: of ln(levels), levels, ln(levels).
_FLOOR = {"residual": 0.06, "luma": 0.12, "sharpness": 0.02}
_RESIDUAL_OFFSET = 0.3  # levels; smaller residuals mean nothing
_FULL_CONTRAST = 16.0  # levels of contrast from which sharpness has its full weight
_REPEAT_LIMIT = 0.02  # levels; frames that differ by less are one frame, shown twice
_MAX_REPEATS = 3  # animation repeats a frame up to this often, a still for longer


@dataclass(frozen=True, slots=True)
class Signals:
    """Measurements of a video, one value for each frame; NaN on the first frame of a shot.

    `times` in seconds, `residual` and `luma` in 8-bit levels, `sharpness` as ln of its ratio to
    the frame before. `repeated`: the frame before is shown again.
    """

    times: Values
    residual: Values
    luma: Values
    sharpness: Values
    shot_start: npt.NDArray[np.bool_]
    repeated: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Outlier:
    """A frame that stands out: its number, time in seconds, score, and one of `KINDS`."""

    frame: int
    time: float
    score: float
    kind: str


@dataclass(frozen=True, slots=True)
class SeamReport:
    """The verdict on a video with its reasons; scores are in deviations of the frames around.

    `found` is the period that a search found, None without one; `given` are the user's periods.
    """

    video: Path
    frames: int
    shot_boundaries: int
    threshold: float
    worst: tuple[Outlier, ...]
    found: Period | None
    given: tuple[Period, ...]

    @property
    def ok(self) -> bool:
        """Whether the video has no seam."""
        single = not self.worst or self.worst[0].score < self.threshold
        return single and all(p.ok for p in (self.found, *self.given) if p)


def measure_signals(spec: StreamSpec, chunks: Iterable[list[Frame]]) -> Signals:
    """Measure a video in one pass; only numbers are kept of each frame."""
    columns = {name: array("d") for name in ("times", *KINDS)}
    shot_start, repeated = array("b"), array("b")
    before: tuple[Any, float, float, float] | None = None
    for frame in mark_shots(spec, chunks):
        full = get_luma(frame)
        small = downscale(full)
        sharpness = log(float(np.abs(cv2.Laplacian(full, cv2.CV_32F)).mean()) + 0.5)
        # Sharpness means nothing in darkness and fog.
        contrast = min(1.0, float(small.std()) / _FULL_CONTRAST)
        current = (small, float(small.mean()), sharpness, contrast)
        starts_shot = bool(frame.extras.get("cut"))
        values = [float("nan")] * 3
        same = False
        if before is not None and not starts_shot:
            same = float(np.abs(small - before[0]).mean()) < _REPEAT_LIMIT
            error = 0.0 if same else measure_step(before[0], small).error
            sharper = (current[2] - before[2]) * min(contrast, before[3])
            values = [error, current[1] - before[1], sharper]
        for name, value in zip(columns, (float(frame.time), *values), strict=True):
            columns[name].append(value)
        shot_start.append(starts_shot)
        repeated.append(same)
        before = current
    arrays = {name: np.array(values) for name, values in columns.items()}
    return Signals(
        **arrays, shot_start=np.array(shot_start, bool), repeated=np.array(repeated, bool)
    )


def compute_scores(signals: Signals) -> dict[str, Values]:
    """Return the score of each frame in each of `KINDS`; NaN where there is none."""
    kept = ~np.isnan(signals.residual) & ~_find_animation(signals.repeated)
    shots = np.cumsum(signals.shot_start)
    by_kind = {kind: np.full(len(kept), np.nan) for kind in KINDS}
    for shot in np.unique(shots):
        places = np.flatnonzero(kept & (shots == shot))
        if len(places) < _MIN_SHOT:
            continue
        for kind in KINDS:
            values = getattr(signals, kind)[places]
            if kind == "residual":
                values = np.log(values + _RESIDUAL_OFFSET)
            by_kind[kind][places] = _score_outliers(values, kind)
    return by_kind


def judge_signals(
    video: Path,
    signals: Signals,
    periods: Sequence[int] = (),
    threshold: float = SINGLE_THRESHOLD,
    worst: int = 6,
) -> SeamReport:
    """Return the verdict on a video's signals; `worst` is how many outliers to report.

    `periods` are measured whether they stand out or not. Raises BadSetting for a period that the
    video is too short for.
    """
    n = len(signals.times)
    for period in periods:
        if not 2 <= period <= n // 2:
            raise BadSetting(f"period is {period}: the video has {n} frames, so pass 2 to {n // 2}")
    by_kind = compute_scores(signals)
    total = take_highest(by_kind)
    order = [int(i) for i in np.argsort(-np.nan_to_num(total, nan=-np.inf))[:worst]]
    outliers = tuple(
        Outlier(i, float(signals.times[i]), float(total[i]),
               max(KINDS, key=lambda kind: by_kind[kind][i]))
        for i in order if not np.isnan(total[i]) and total[i] > 0
    )  # fmt: skip
    level = np.cumsum(np.nan_to_num(signals.sharpness))
    given = [measure_period(total, level, period) for period in periods]
    boundaries = int(signals.shot_start.sum())
    return SeamReport(video, n, boundaries, threshold, outliers, find_period(total, level),
                 tuple(period for period in given if period))  # fmt: skip


def take_highest(by_kind: dict[str, Values]) -> Values:
    """Return the highest score of each frame over its kinds."""
    return np.asarray(np.max(np.stack([by_kind[kind] for kind in KINDS]), axis=0))


def _score_outliers(values: Values, kind: str) -> Values:
    """Return how far each value exceeds its window and its neighbours, in deviations (MAD)."""
    width = min(_WINDOW, len(values))
    windows = sliding_window_view(values, width)
    at = np.clip(np.arange(len(values)) - width // 2, 0, len(values) - width)
    median, spread = np.empty_like(values), np.empty_like(values)
    for begin in range(0, len(values), 4096):  # a shot may be hours long
        part = slice(begin, begin + 4096)
        around = windows[at[part]]
        median[part] = np.median(around, axis=1)
        spread[part] = 1.4826 * np.median(np.abs(around - median[part, None]), axis=1)
    excess = values - median
    if kind != "residual":  # the others have a sign
        excess = np.abs(excess)
    padded = np.pad(excess, 1)
    neighbours = np.maximum(np.maximum(padded[:-2], padded[2:]), 0)
    return np.asarray((excess - neighbours) / (spread + _FLOOR[kind]))


def _find_animation(repeated: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which repeats are animation, such as 8 drawings a second in 24 frames."""
    animated = np.zeros(len(repeated), bool)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], repeated.astype(np.int8), [0]))))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        animated[start:end] = end - start <= _MAX_REPEATS
    return animated
