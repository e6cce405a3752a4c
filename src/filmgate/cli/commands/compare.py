"""`filmgate compare`: compare two videos frame by frame, or tracks with the truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from filmgate.errors import Exit

if TYPE_CHECKING:
    from filmgate.quality.comparison import Comparison
    from filmgate.quality.metrics.tracking import TrackingScores

Reference = Annotated[Path, Parameter(name="A", help="The reference: the original, if any.")]
Judged = Annotated[Path, Parameter(name="B", help="The video to judge.")]
Report = Annotated[Path | None, Parameter(help="File of the page; its plot is saved next to it.")]
Json = Annotated[bool, Parameter(help="Print JSON on standard output, with every frame.")]
Mot = Annotated[
    bool,
    Parameter(
        help="Compare tracks, A the truth: JSON Lines as filmgate track writes them, or text of "
        "the MOT challenge."
    ),
]


def build_app(words: Sequence[str]) -> App:
    """Return the command."""
    return App(name="compare", default_command=run)


def run(
    a: Reference, b: Judged, /, *, report: Report = None, json: Json = False, mot: Mot = False
) -> Exit:
    """Compare two videos of the same size, frame by frame.

    PSNR, SSIM, motion and flicker; VMAF and LPIPS where they are installed. With --mot compare
    tracks: HOTA, MOTA and IDF1.
    """
    if mot:
        return _compare_tracks(a, b, report, json)
    from filmgate.quality.comparison import compare_videos, write_comparison_page
    from filmgate.quality.report.html import check_report

    if report:
        check_report(report)
    comparison = compare_videos(a, b)
    if report:
        write_comparison_page(comparison, report)
    if json:
        _print_json(a, b, comparison)
    else:
        _print_text(comparison)
    return Exit.DONE


def _compare_tracks(truth: Path, found: Path, report: Path | None, json: bool) -> Exit:
    import json as json_
    from dataclasses import asdict

    from filmgate.errors import BadSetting
    from filmgate.quality.metrics.tracking import compare_tracks

    if report:
        raise BadSetting(f"report is {report}, and --mot makes none: omit it, or pass --json")
    scores = compare_tracks(truth, found)
    if json:
        print(json_.dumps({"truth": str(truth), "found": str(found), **asdict(scores)}))
    else:
        _print_scores(scores)
    return Exit.DONE


def _print_scores(s: TrackingScores) -> None:
    from filmgate.cli.views.tables import build_plain_console

    parts = f"detection {s.detection:.4f}, association {s.association:.4f}"
    errors = f"{s.missed} boxes missed, {s.false} false, {s.switches} numbers switched"
    rows = (
        ("HOTA", s.hota, f"{parts}, localization {s.localization:.4f}"),
        ("MOTA", s.mota, errors),
        ("IDF1", s.idf1, f"precision {_format(s.id_precision)}, recall {_format(s.id_recall)}"),
        ("MOTP", s.motp, f"mean overlap of {s.truth - s.missed} matched boxes"),
    )
    console = build_plain_console()
    for name, value, why in rows:
        console.print(f"{name:8} {_format(value):>9}  {why}")
    console.print(f"{s.people} people with {s.truth} boxes, {s.tracks} tracks with {s.found}, in "
                  f"{s.frames} frames; {s.mostly_tracked} people mostly tracked, {s.mostly_lost} "
                  f"mostly lost, {s.fragments} times lost and found")  # fmt: skip


def _format(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _print_text(comparison: Comparison) -> None:
    from filmgate.cli.views.tables import build_plain_console
    from filmgate.quality.comparison import describe_unmatched

    console = build_plain_console()
    for m in comparison.metrics:
        console.print(f"{m.name:8} {m.mean:9.4f}  worst {m.worst:9.4f} at {m.time:.3f} s  {m.unit}")
    for name, reason in comparison.skipped.items():
        console.print(f"{name:8} {reason}")
    console.print(f"{comparison.pairs} pairs of frames; {describe_unmatched(comparison)}")


def _print_json(a: Path, b: Path, comparison: Comparison) -> None:
    import json

    per_frame = {name: _to_json(values) for name, values in comparison.values.items()}
    metrics = {
        m.name: {"unit": m.unit, "frame": m.frame, "time": m.time}
        | dict(zip(("mean", "worst"), _to_json((m.mean, m.worst)), strict=True))
        for m in comparison.metrics
    }
    print(json.dumps({
        "a": str(a),
        "b": str(b),
        "pairs": comparison.pairs,
        "unmatched": {"a": comparison.unmatched_a, "b": comparison.unmatched_b},
        "metrics": metrics,
        "skipped": comparison.skipped,
        "per_frame": {"time": _to_json(comparison.times), **per_frame},
    }))  # fmt: skip


def _to_json(values: Iterable[float]) -> list[float | None]:
    """Return the numbers, None for infinite ones, which JSON does not have."""
    from math import isfinite

    return [float(value) if isfinite(value) else None for value in values]
