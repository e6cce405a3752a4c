"""Check a video for seams and report them as a page and a plot."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from filmgate.core.frame import Frame
from filmgate.errors import BadSetting
from filmgate.media.records.page import render_page, render_table
from filmgate.media.sources import VideoPipe
from filmgate.quality.metrics.motion_residual import downscale, estimate_flow, get_luma, warp
from filmgate.quality.report.contact_sheet import render_frame
from filmgate.quality.report.html import render_figure, write_report
from filmgate.quality.report.plot import (
    Curve,
    Limit,
    Marks,
    draw_plot,
    stack_horizontally,
    stack_vertically,
)
from filmgate.quality.seams.periodicity import MIN_SCORE_FOUND, Period, compute_autocorrelation
from filmgate.quality.seams.score import (
    KINDS,
    SINGLE_THRESHOLD,
    SeamReport,
    Signals,
    compute_scores,
    judge_signals,
    measure_signals,
    take_highest,
)
from filmgate.tasks.job_config import source_from

_SCORE_NOTE = (
    "A score is how far a frame exceeds the frames around it and its two neighbours, in median "
    "absolute deviations."
)
_TITLES = {
    "residual": "residual after motion compensation",
    "luma": "jump of mean luma",
    "sharpness": "jump of sharpness",
}
_UNITS = {"residual": "levels", "luma": "levels", "sharpness": "ln of ratio"}


def check_seams(
    video: Path, report: Path, periods: Sequence[int] = (), threshold: float = SINGLE_THRESHOLD
) -> SeamReport:
    """Return the verdict on a video, and write the page `report` and its plot as a PNG.

    The video is read twice, the second time up to its worst frame. Raises BadInput, BadSetting,
    Unsupported.
    """
    source = source_from({"path": video})
    if isinstance(source, VideoPipe):
        raise BadSetting("cannot check a pipe for seams: it can only be read once. Pass a file")
    with source.open() as reader:
        if report.suffix.lower() not in (".html", ".htm"):
            raise BadSetting(f"report is {report}: pass a name that ends in .html")
        signals = measure_signals(reader.spec, (frames for frames, _ in reader.read(None, 16)))
        result = judge_signals(video, signals, periods, threshold)
        chunks = (frames for frames, _ in reader.read(None, 16))
        shots = render_worst_frames(chunks, [outlier.frame for outlier in result.worst])
    plot = draw_seams(result, signals)
    write_report(report, render_seams_page(result, plot, shots), plot)
    return result


def draw_seams(result: SeamReport, signals: Signals) -> Image.Image:
    """Return a plot of the scores over time, each signal, and the scores' autocorrelation."""
    by_kind = compute_scores(signals)
    total, times = take_highest(by_kind), signals.times
    period = result.found or (result.given[0] if result.given else None)
    at = times[period.first :: period.frames] if period else times[signals.shot_start]
    meaning = f"every {period.frames} frames" if period else "shot boundary"
    panels = [
        draw_plot(
            [Curve("score of the frame", times, total)],
            title="scores",
            x_name="time, seconds",
            y_name="score",
            low=0,
            high=1.08 * max(result.threshold, float(np.nanmax(total, initial=0))),
            limits=list_limits(result.threshold),
            marks=Marks(meaning, [float(time) for time in at]) if len(at) else None,
        ),
        *(
            draw_plot([Curve(kind, times, getattr(signals, kind))], size=(960, 150),
                      title=_TITLES[kind], x_name="time, seconds", y_name=_UNITS[kind])
            for kind in KINDS
        ),
    ]  # fmt: skip
    longest = min(256, len(total) // 3)
    if longest >= 4:
        correlation = compute_autocorrelation(total, longest)
        near = [period.frames] if period and period.frames <= longest else []
        lags = Curve("autocorrelation", np.arange(1.0, longest + 1), correlation[1:])
        panels.append(
            draw_plot(
                [lags],
                title="autocorrelation of the scores",
                x_name="lag, frames",
                y_name="-1 to 1",
                marks=Marks(f"lag of {near[0]} frames", near) if near else None,
                size=(960, 150),
            )
        )
    return stack_vertically(panels)


def list_limits(threshold: float = SINGLE_THRESHOLD) -> list[Limit]:
    """Return the scores from which frames count as seams, for a plot."""
    return [
        Limit(f"seam: a single frame, {threshold:g}", threshold),
        Limit(f"seam: median at a period found, {MIN_SCORE_FOUND:g}", MIN_SCORE_FOUND),
    ]


def render_seams_page(result: SeamReport, plot: Image.Image, shots: Sequence[Image.Image]) -> str:
    """Return the page on one video; `shots` are images of its worst frames."""
    rows = [format_period(period) for period in (result.found, *result.given) if period]
    heads = ("period", "first boundary", "boundaries", "median score", "score of other frames",
             "p-value", "autocorrelation", "breathing depth (similarity)", "verdict")  # fmt: skip
    parts = [
        f"<p>{result.frames} frames, {result.shot_boundaries} shot boundaries. {_SCORE_NOTE}</p>",
        render_table(heads, rows) if rows else "<p>No period was found.</p>",
        render_figure(plot, "Scores, and the signals that they are computed from"),
        *(
            render_figure(image, f"Frame {m.frame} at {m.time:.3f} s: score {m.score:.1f} in "
                                 f"{m.kind}. From left: the frame before, the frame, the frame "
                                 "after, the residual after motion compensation (amplified)")
            for image, m in zip(shots, result.worst, strict=True)
        ),
    ]  # fmt: skip
    return render_page(f"Seams of {result.video.name}", describe_verdict(result), result.ok, parts)


def describe_verdict(result: SeamReport) -> str:
    """Return the verdict as text."""
    if result.ok:
        highest = max((outlier.score for outlier in result.worst), default=0.0)
        return (f"no seams in {result.frames} frames (highest score {highest:.1f}, threshold "
                f"{result.threshold:g})")  # fmt: skip
    reasons = []
    for period in (result.found, *result.given):
        if period and not period.ok:
            what = "jumps" if period.jumps else "sharpness breathes"
            reasons.append(f"{what} every {period.frames} frames")
    if result.worst and result.worst[0].score >= result.threshold:
        worst = result.worst[0]
        reasons.append(f"frame {worst.frame} jumps, at {worst.time:.3f} s")
    return "; ".join(dict.fromkeys(reasons))


def format_period(period: Period) -> tuple[str, ...]:
    """Return a period as the cells of a table row."""
    return (
        f"{period.frames} ({'given' if period.given else 'found'})",
        str(period.first),
        str(period.boundaries),
        f"{period.score:.1f}",
        f"{period.others:.1f}",
        f"{period.p_value:.0e}",
        f"{period.autocorrelation:.2f}",
        f"{period.depth:.1%} ({period.similarity:.2f})",
        describe_period(period),
    )


def describe_period(period: Period) -> str:
    """Return the verdict on one period in a word or two."""
    return "no seam" if period.ok else "jumps" if period.jumps else "breathes"


def render_worst_frames(
    chunks: Iterable[list[Frame]], wanted: Sequence[int], width: int = 236
) -> list[Image.Image]:
    """Return a row of images for each wanted frame: before, itself, after, and the residual."""
    near = {n + k for n in wanted for k in (-1, 0, 1)}
    shown, residuals = dict[int, Image.Image](), dict[int, Image.Image]()
    before: Frame | None = None
    for frames in chunks:
        for frame in frames:
            if frame.index in near:
                shown[frame.index] = render_frame(frame, width)
            if frame.index in wanted and before is not None:
                residuals[frame.index] = _render_residual(before, frame)
            before = frame if frame.index + 1 in wanted else None
        if near and frames[-1].index > max(near):
            break
    rows = []
    for n in wanted:
        row = [shown[k] for k in (n - 1, n, n + 1) if k in shown]
        if n in residuals:
            residuals[n].thumbnail((width - 4, 4 * width))
            row.append(residuals[n].convert("RGB"))
        rows.append(stack_horizontally(row, width))
    return rows


def _render_residual(before: Frame, after: Frame) -> Image.Image:
    """Return what remains after motion compensation, amplified to be visible."""
    a, b = downscale(get_luma(before)), downscale(get_luma(after))
    residual = np.abs(b - warp(a, estimate_flow(a, b)))
    peak = max(4.0, float(np.quantile(residual, 0.998)))
    return Image.fromarray(np.clip(residual * (255 / peak), 0, 255).astype(np.uint8))
