"""Seams of a video as a report."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from filmgate.core.frame import Frame
from filmgate.errors import BadSetting
from filmgate.media.sources import VideoPipe
from filmgate.quality.metrics.motion_residual import flow, luma, small, warped
from filmgate.quality.report.contact_sheet import picture_of
from filmgate.quality.report.html import figure, page, plot_path, table, write
from filmgate.quality.report.plot import Line, plot, stacked
from filmgate.quality.seams.periodicity import BOUNDARY, Period, autocorrelation
from filmgate.quality.seams.score import (
    KINDS,
    SINGLE,
    Seams,
    Signals,
    highest,
    judged,
    measured,
    scores,
)
from filmgate.tasks.job_config import source_from

_SCORE = "A score is how far a frame stands out of its surroundings, alone, in their own spreads."


def look_for_seams(
    video: Path, report: Path, periods: Sequence[int] = (), threshold: float = SINGLE
) -> Seams:
    """Reads a film, writes the page `report` with its plot beside it, and gives the verdict.

    Reads it again up to its worst frame, for pictures. Raises BadInput, BadSetting, Unsupported.
    """
    source = source_from({"path": video})
    if isinstance(source, VideoPipe):
        raise BadSetting("a pipe can't be read twice: name a file")
    with source.open() as opened:
        if report.suffix.lower() not in (".html", ".htm"):
            raise BadSetting(f"report is {report}: wanted a name that ends in .html")
        signals = measured(opened.spec, (frames for frames, _ in opened.read(None, 16)))
        found = judged(video, signals, periods, threshold)
        chunks = (frames for frames, _ in opened.read(None, 16))
        shots = worst_shots(chunks, [moment.frame for moment in found.worst])
    plot = drawn(found, signals)
    write(report, seams_page(found, plot, shots), plot)
    return found


def drawn(found: Seams, signals: Signals) -> Image.Image:
    """The plot: scores over time with boundaries, each kind of jump, and what repeats."""
    by_kind = scores(signals)
    total, times = highest(by_kind), signals.times
    period = found.found or (found.given[0] if found.given else None)
    marks = [float(t) for t in (times[period.first :: period.frames] if period else
                                times[signals.cut])]  # fmt: skip
    top = max(BOUNDARY * 2, float(np.nanmax(total, initial=0)))
    words = "how far each frame stands out, over seconds"
    words += f"; upright: every {period.frames} frames" if period else "; upright: cuts"
    names = {"residual": "left over by motion", "luma": "jump of luma", "sharpness": "of sharpness"}
    panels = [
        plot([Line("score", times, total)], title=words, low=0, high=top, limit=found.threshold
             if found.threshold <= top else None, marks=marks),
        *(plot([Line(kind, times, getattr(signals, kind))], size=(960, 130),
               title=f"{names[kind]}, {'ln' if kind == 'sharpness' else 'levels'}")
          for kind in KINDS),
    ]  # fmt: skip
    longest = min(256, len(total) // 3)
    if longest >= 4:
        again = autocorrelation(total, longest)
        near = [period.frames] if period and period.frames <= longest else []
        lags = Line("", np.arange(1.0, longest + 1), again[1:])
        words = "how alike the scores are so many frames later"
        panels.append(plot([lags], size=(960, 130), title=words, marks=near))
    return stacked(panels)


def seams_page(found: Seams, plot: Image.Image, shots: Sequence[Image.Image]) -> str:
    """The page on one film; `shots` are the pictures of its worst frames."""
    rows = [period_row(period) for period in (found.found, *found.given) if period]
    heads = ("period", "first at", "boundaries", "their score", "others'", "by chance", "repeats",
             "breathing", "verdict")  # fmt: skip
    parts = [
        f"<p>{found.frames} frames, {found.cuts} cuts. {_SCORE}</p>",
        table(heads, rows) if rows else "<p>No period was found.</p>",
        figure(plot, "Scores and what they come from"),
        *(
            figure(image, f"Frame {m.frame} at {m.time:.3f} s: {m.score:.1f} in {m.kind}. Before, "
                          "the frame, after; right: what motion leaves over, stretched")
            for image, m in zip(shots, found.worst, strict=True)
        ),
    ]  # fmt: skip
    return page(f"Seams of {found.video.name}", verdict(found), found.ok, parts)


def verdict(found: Seams) -> str:
    """The verdict in words."""
    if found.ok:
        return "no seam is seen"
    why = []
    for period in (found.found, *found.given):
        if period and not period.ok:
            what = "jumps" if period.jumps else "breathes"
            why.append(f"it {what} every {period.frames} frames")
    if found.worst and found.worst[0].score >= found.threshold:
        why.append(f"frame {found.worst[0].frame} jumps, at {found.worst[0].time:.3f} s")
    return "; ".join(dict.fromkeys(why))


def period_row(period: Period) -> tuple[str, ...]:
    """What is said of a period, cell by cell."""
    return (
        f"{period.frames} ({'given' if period.given else 'found'})",
        str(period.first),
        str(period.boundaries),
        f"{period.score:.1f}",
        f"{period.others:.1f}",
        f"{period.chance:.0e}",
        f"{period.again:.2f}",
        f"{period.depth:.1%} ({period.breath:.2f})",
        period_verdict(period),
    )


def period_verdict(period: Period) -> str:
    """What is seen there, in a word or two."""
    return "nothing seen" if period.ok else "jumps" if period.jumps else "breathes"


def worst_shots(
    chunks: Iterable[list[Frame]], wanted: Sequence[int], width: int = 236
) -> list[Image.Image]:
    """For each number of a frame: the one before, itself, the one after, what motion leaves."""
    near = {n + k for n in wanted for k in (-1, 0, 1)}
    kept, left = dict[int, Image.Image](), dict[int, Image.Image]()
    before: Frame | None = None
    for frames in chunks:
        for frame in frames:
            if frame.index in near:
                kept[frame.index] = picture_of(frame, width)
            if frame.index in wanted and before is not None:
                a, b = small(luma(before)), small(luma(frame))
                rest = np.abs(b - warped(a, flow(a, b)))
                most = max(4.0, float(np.quantile(rest, 0.998)))
                levels = np.clip(rest * (255 / most), 0, 255).astype(np.uint8)
                left[frame.index] = Image.fromarray(levels)
            before = frame if frame.index + 1 in wanted else None
        if near and frames[-1].index > max(near):
            break
    found = []
    for n in wanted:
        row = [kept[k] for k in (n - 1, n, n + 1) if k in kept]
        if n in left:
            left[n].thumbnail((width - 4, 4 * width))
            row.append(left[n].convert("RGB"))
        found.append(plot_path(row, width))
    return found
