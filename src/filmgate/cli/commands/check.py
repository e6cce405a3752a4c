"""The verbs that judge films: `check`, and what is asked of it."""

import json as json_
from collections.abc import Iterable, Sequence
from math import isfinite
from pathlib import Path

from filmgate.cli.views import reports, tables
from filmgate.errors import BadSetting, Exit
from filmgate.quality.comparison import alone_words, compare_films, comparison_page
from filmgate.quality.seams.report import look_for_seams, period_verdict, verdict
from filmgate.quality.seams.score import SINGLE, Seams
from filmgate.quality.verify import check
from filmgate.tasks.job_config import plain


def checked(
    out: Path,
    against: Path | None,
    seams: bool,
    periods: Sequence[int],
    threshold: float | None,
    report: Path | None,
    json: bool,
) -> Exit:
    """Holds a result against its source, looks for seams, or both."""
    if against is None and not seams:
        raise BadSetting(f"nothing to check of {out}: pass --against FILM, --seams or both")
    if not seams and (periods or threshold is not None or report):
        raise BadSetting("--period, --threshold and --report are for --seams: pass that too")
    found = check(out, against) if against else None
    place = report or out.with_name(f"{out.name}.seams.html")
    jumps = look_for_seams(out, place, periods, SINGLE if threshold is None else threshold) \
        if seams else None  # fmt: skip
    ok = all(one.ok for one in (found, jumps) if one)
    if json and jumps:
        said = {"ok": jumps.ok, **plain(jumps), "report": str(place)}
        print(json_.dumps({**(plain(found) if found else {}), "ok": ok, "seams": said}))
    elif found:
        reports.report(found, json)
    if jumps and not json:
        _seams(jumps, place)
    return Exit.DONE if ok else Exit.VERDICT_NO


def compared(a: Path, b: Path, report: Path | None, json: bool) -> Exit:
    """Compares two films; a page is written where one is asked for."""
    found = compare_films(a, b)
    if report:
        comparison_page(found, report)
    if json:
        per_frame = {name: _numbers(values) for name, values in found.values.items()}
        said = {
            "a": str(a), "b": str(b), "pairs": found.pairs,
            "alone": {"a": found.alone_a, "b": found.alone_b},
            "metrics": {
                m.name: {"unit": m.unit, "mean": _number(m.mean), "worst": _number(m.worst),
                         "frame": m.frame, "time": m.time} for m in found.metrics
            },
            "left_out": found.left_out,
            "per_frame": {"time": _numbers(found.times), **per_frame},
        }  # fmt: skip
        print(json_.dumps(said))
        return Exit.DONE
    console = tables.plain_console()
    for m in found.metrics:
        console.print(f"{m.name:8} {m.mean:9.4f}  worst {m.worst:9.4f} at {m.time:.3f} s  {m.unit}")
    for name, why in found.left_out.items():
        console.print(f"{name:8} {why}")
    console.print(f"{found.pairs} pairs of frames; {alone_words(found)}")
    return Exit.DONE


def _numbers(values: Iterable[float]) -> list[float | None]:
    return [_number(float(value)) for value in values]


def _number(value: float) -> float | None:
    return value if isfinite(value) else None  # JSON has no other


def _seams(found: Seams, place: Path) -> None:
    console = tables.plain_console()
    for period in (found.found, *found.given):
        if period:
            console.print(
                f"every {period.frames} frames ({'given' if period.given else 'found'}), from "
                f"frame {period.first}: {period.boundaries} boundaries score {period.score:.1f}, "
                f"others {period.others:.1f}, by chance {period.chance:.0e}; sharpness breathes by "
                f"{period.depth:.1%}, alike {period.breath:.2f}: {period_verdict(period)}"
            )
    for moment in found.worst[:3]:
        console.print(f"frame {moment.frame} at {moment.time:.3f} s: {moment.score:.1f} in "
                      f"{moment.kind}")  # fmt: skip
    console.print(tables.safe(f"{found.video}: {verdict(found)}; {place} shows it"))
