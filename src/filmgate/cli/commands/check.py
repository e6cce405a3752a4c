"""`filmgate check`: check a result against its source, or for seams."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from filmgate.errors import BadSetting, Exit

Out = Annotated[Path, Parameter(name="OUT", help="The result.")]
Against = Annotated[
    tuple[Path, ...],
    Parameter(
        negative=(),
        help="The video that the result was made from; given several times, its parts in order.",
    ),
]
Seams = Annotated[
    bool, Parameter(help="Look for jumps between frames; writes a page and a plot next to OUT.")
]
Periods = Annotated[
    tuple[int, ...], Parameter(help="Also test boundaries every so many frames, as with batches.")
]
Threshold = Annotated[
    float | None,
    Parameter(help="Score from which on a single frame counts as a seam. Default: 12."),
]
Combs = Annotated[
    bool, Parameter(help="Count frames that show two fields of different times (combs).")
]
Person = Annotated[
    bool,
    Parameter(
        help="Measure a result of lipsync or animate: repetition, its ending, edges, smoothness."
    ),
]
Report = Annotated[
    Path | None, Parameter(help="File of the page about seams; its plot is saved next to it.")
]
Json = Annotated[bool, Parameter(help="Print JSON on standard output.")]


def build_app(words: Sequence[str]) -> App:
    """Return the command."""
    return App(name="check", default_command=run)


def run(
    out: Out, /, *, against: Against = (), seams: Seams = False, combs: Combs = False,
    person: Person = False, period: Periods = (), threshold: Threshold = None,
    report: Report = None, json: Json = False,
) -> Exit:  # fmt: skip
    """Check a result: times, audio sync, streams, tags, seams, combs.

    Exit code 1 if something is wrong.
    """
    if not against and not seams and not combs and not person:
        raise BadSetting(f"nothing to check about {out}: pass --against VIDEO, --seams or --combs")
    if not seams and (period or threshold is not None or report):
        raise BadSetting("--period, --threshold and --report need --seams: pass it too")
    if threshold is not None and not 0 < threshold < 1e9:
        raise BadSetting(f"threshold is {threshold}: pass more than 0, such as 12")
    if person and not against:
        raise BadSetting("--person compares with a video: pass --against, too: the source of "
                         "lipsync, or the driving video of animate")  # fmt: skip
    import json as json_
    from dataclasses import replace

    from filmgate.cli.views import reports
    from filmgate.quality.combs import count_combs
    from filmgate.quality.report.html import check_report
    from filmgate.quality.seams.report import check_seams
    from filmgate.quality.seams.score import SINGLE_THRESHOLD
    from filmgate.quality.verify import check
    from filmgate.storage.atomic import append_suffix
    from filmgate.tasks.settings import plain

    page = report or append_suffix(out, ".seams.html")
    if seams:
        check_report(page)
    checked = check(out, against[0], against[1:]) if against else None
    if checked and person:
        from filmgate.quality.person_check import check_person

        more = check_person(out, against[0], against[1:])
        checked = replace(checked, findings=(*checked.findings, *more))
    limit = SINGLE_THRESHOLD if threshold is None else threshold
    found = check_seams(out, page, period, limit) if seams else None
    counted = count_combs(out) if combs else None
    ok = all(part.ok for part in (checked, found, counted) if part)
    if json:
        values = plain(checked) if checked else {}
        if found:
            values["seams"] = {"ok": found.ok, **plain(found), "report": str(page)}
        if counted:
            values["combs"] = {"ok": counted.ok, **plain(counted)}
        print(json_.dumps({**values, "ok": ok}))
        return Exit.DONE if ok else Exit.VERDICT_NO
    if checked:
        reports.print_check(checked)
    if found:
        reports.print_seams(found, page)
    if counted:
        reports.print_combs(counted, out)
    return Exit.DONE if ok else Exit.VERDICT_NO
