"""Compare two videos frame by frame: frames of the same time are a pair, all others are not."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image

from filmgate.core.frame import Frame, StreamSpec
from filmgate.errors import BadSetting
from filmgate.media.pixels.planes import Planes
from filmgate.media.records.page import render_page, render_table
from filmgate.media.sources import ImageSequence, VideoFile, VideoPipe
from filmgate.quality.metrics import lpips, vmaf
from filmgate.quality.metrics.motion_residual import (
    Luma,
    downscale,
    estimate_flow,
    get_luma,
    mark_shots,
    warp,
)
from filmgate.quality.metrics.psnr_ssim import ssim
from filmgate.quality.report.html import render_figure, write_report
from filmgate.quality.report.plot import Curve, Marks, draw_plot, stack_vertically
from filmgate.tasks.job_config import source_from

BEST_DB = 100.0  # PSNR of equal frames
UNITS = MappingProxyType(
    {
        "psnr": "dB of the first plane, 100 for equal frames",
        "ssim": "of the first plane, at most 1",
        "tof": "pixels between the motion of A and of B, at 480 pixels",
        "warping": "residual after motion compensation, B less A, levels; above 0 B flickers",
        "lpips": "distance of features, 0 for equal frames",
        "vmaf": "0 to 100",
    }
)
_HIGHER_IS_BETTER = ("psnr", "ssim", "vmaf")
_MIN_SIDE = 11  # pixels: the window of SSIM
_MAX_ROUNDING = Fraction(1, 1000)  # seconds: the coarsest common time base, that of Matroska

LumaPair = tuple[Luma, Luma]  # of A and of B


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its mean over the video, and its worst value with its frame and time (s)."""

    name: str
    unit: str
    mean: float
    worst: float
    frame: int
    time: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """The metrics of the pairs; `unmatched_*` count frames that the other has none at the time of.

    `times` (seconds of A) and `values` (by metric) have one entry for each pair; NaN where there
    is none, as for motion on the first frame of a shot. `skipped`: metrics with the reason.
    """

    a: Path
    b: Path
    pairs: int
    unmatched_a: int
    unmatched_b: int
    metrics: tuple[Metric, ...]
    skipped: dict[str, str]
    times: npt.NDArray[np.float64]
    values: dict[str, npt.NDArray[np.float64]]


def compare_videos(a: Path, b: Path) -> Comparison:
    """Compare two videos; frames are a pair if both are at the same time.

    Times are equal up to the rounding of a container that counts milliseconds. tOF and warping are
    measured from one pair to the next, within a shot. Raises BadInput, Unsupported; BadSetting if
    sizes differ or no two frames share a time.
    """
    missing = {"vmaf": vmaf.explain_missing_vmaf(), "lpips": lpips.explain_missing_lpips()}
    skipped = {name: reason for name, reason in missing.items() if reason}
    distance = None if "lpips" in skipped else lpips.load_lpips()
    unmatched, columns, times = [0, 0], dict[str, list[float]](), list[float]()
    before: LumaPair | None = None
    with _find_source(a).open() as one, _find_source(b).open() as two:
        _check_comparable(a, b, one.spec, two.spec)
        videos = [mark_shots(x.spec, (frames for frames, _ in x.read(None, 8))) for x in (one, two)]
        rounding = max(_find_rounding(one.spec), _find_rounding(two.spec))
        for x, y in _match_frames(videos[0], videos[1], rounding):
            if _starts_shot(x) or _starts_shot(y):
                before = None
            if x is None or y is None:
                unmatched[x is None] += 1
                continue
            measured, before = _measure_pair(x, y, before)
            if distance is not None:
                assert isinstance(x.image, Planes)
                assert isinstance(y.image, Planes)
                measured["lpips"] = distance(x.image, y.image)
            times.append(float(x.time))
            for name, value in measured.items():
                columns.setdefault(name, []).append(value)
    if not times:
        raise BadSetting(f"cannot compare {a} with {b}: {unmatched[0]} and {unmatched[1]} frames, "
                         "and no two have the same time. Pass two videos of the same scene, cut at "
                         "the same place")  # fmt: skip
    values = {name: np.array(column) for name, column in columns.items()}
    if "vmaf" not in skipped:
        if any(unmatched) or a.is_dir() or b.is_dir():
            skipped["vmaf"] = "needs two video files with all frames at the same times"
        else:
            values["vmaf"] = vmaf.measure_vmaf(a, b)[: len(times)]
    metrics = tuple(_summarize(name, values[name], times) for name in UNITS if name in values)
    return Comparison(
        a, b, len(times), unmatched[0], unmatched[1], metrics, skipped, np.array(times), values
    )


def write_comparison_page(result: Comparison, report: Path) -> Path:
    """Write the page `report`, and its plot as a PNG of the same name; return the page's path."""
    if report.suffix.lower() not in (".html", ".htm"):
        raise BadSetting(f"report is {report}: pass a name that ends in .html")
    plot = stack_vertically([_draw_metric(metric, result) for metric in result.metrics])
    rows = [
        (m.name, f"{m.mean:.4g}", f"{m.worst:.4g}", f"frame {m.frame}, {m.time:.3f} s", m.unit)
        for m in result.metrics
    ]
    parts = [
        render_table(("metric", "mean", "worst", "worst at", "unit"), rows),
        render_table(("skipped", "reason"), result.skipped.items()) if result.skipped else "",
        render_figure(plot, "Metrics of each pair of frames"),
    ]
    summary = f"{result.pairs} pairs of frames; {describe_unmatched(result)}"
    title = f"{result.b.name} compared with {result.a.name}"
    return write_report(report, render_page(title, summary, None, parts), plot)[0]


def describe_unmatched(result: Comparison) -> str:
    """Return how many frames were not compared, as the other video has none at their time."""
    if not result.unmatched_a and not result.unmatched_b:
        return "all frames matched"
    return (f"not compared: {result.unmatched_a} frames of A and {result.unmatched_b} of B, at "
            "whose times the other video has none")  # fmt: skip


def _draw_metric(metric: Metric, result: Comparison) -> Image.Image:
    values = result.values[metric.name]
    curve = Curve(metric.name, result.times[: len(values)], values)
    title = f"{metric.name}: {metric.unit}"
    worst = Marks("worst frame", [metric.time])
    return draw_plot([curve], title=title, x_name="time, seconds", y_name=metric.name, marks=worst,
                     size=(960, 150))  # fmt: skip


def _find_source(path: Path) -> VideoFile | ImageSequence:
    source = source_from({"path": path})
    if isinstance(source, VideoPipe):
        raise BadSetting("cannot compare a pipe: it can only be read once. Pass two files")
    return source


def _check_comparable(a: Path, b: Path, one: StreamSpec, two: StreamSpec) -> None:
    if (one.width, one.height) != (two.width, two.height):
        raise BadSetting(
            f"{a} is {one.width}x{one.height} and {b} is {two.width}x{two.height}: only videos of "
            "one size can be compared. Scale one of them first"
        )
    if one.pixels.startswith("gbr") != two.pixels.startswith("gbr"):
        raise BadSetting(
            f"{a} is {one.pixels} and {b} is {two.pixels}: the first plane of one is green and of "
            "the other luma. Convert one with --pix-fmt"
        )
    if min(one.width, one.height) < _MIN_SIDE:
        raise BadSetting(
            f"{a} is {one.width}x{one.height}: SSIM needs {_MIN_SIDE} pixels on each side. Pass "
            "larger videos"
        )


def _find_rounding(spec: StreamSpec) -> Fraction:
    """Return by how much times may be rounded, in seconds; 0 if the time base is exact."""
    exact = spec.rate is not None and (1 / spec.rate / spec.time_base).denominator == 1
    return Fraction(0) if exact else min(spec.time_base, _MAX_ROUNDING)


def _match_frames(
    a: Iterator[Frame], b: Iterator[Frame], rounding: Fraction = Fraction(0)
) -> Iterator[tuple[Frame | None, Frame | None]]:
    """Yield pairs of frames at the same time, and None with each frame that has no match."""
    x, y = next(a, None), next(b, None)
    while x is not None or y is not None:
        same = x is not None and y is not None and abs(x.time - y.time) <= rounding
        first = x is not None and (y is None or x.time < y.time)
        yield (x if same or first else None), (y if same or not first else None)
        x, y = (next(a, None) if same or first else x), (next(b, None) if same or not first else y)


def _starts_shot(frame: Frame | None) -> bool:
    return frame is not None and bool(frame.extras.get("cut"))


def _measure_pair(x: Frame, y: Frame, before: LumaPair | None) -> tuple[dict[str, float], LumaPair]:
    """Return every metric of two frames, and their luma for the next pair."""
    a, b = get_luma(x), get_luma(y)
    after = downscale(a), downscale(b)
    error = float(np.mean(np.square(a - b, dtype=np.float64)))
    values = {
        "psnr": min(BEST_DB, 10 * float(np.log10(255 * 255 / error))) if error else BEST_DB,
        "ssim": ssim(a, b),
        "tof": float("nan"),
        "warping": float("nan"),
    }
    if before is not None:
        fields = [estimate_flow(old, new) for old, new in zip(before, after, strict=True)]
        # the field is at half the size of the downscaled frame
        values["tof"] = 2 * float(np.linalg.norm(fields[0] - fields[1], axis=-1).mean())
        # Both are moved as A moves: B's own motion would follow its errors.
        residuals = [float(np.abs(new - warp(old, fields[0])).mean())
                     for old, new in zip(before, after, strict=True)]  # fmt: skip
        values["warping"] = residuals[1] - residuals[0]
    return values, after


def _summarize(name: str, values: npt.NDArray[np.float64], times: list[float]) -> Metric:
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return Metric(name, UNITS[name], float("nan"), float("nan"), 0, times[0])
    worst = np.argmin if name in _HIGHER_IS_BETTER else np.argmax
    at = int(known[worst(values[known])])
    mean = float(values[known].mean())
    return Metric(name, UNITS[name], mean, float(values[at]), at, times[at])
