"""Models and their weights: shown, fetched, verified, tried."""

import json as json_
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from filmgate import models
from filmgate.device.weights import Shelf, Tell, Weights, in_words, plain
from filmgate.errors import BadSetting, BadWeights, Exit

Name = Annotated[str, Parameter(name="NAME", help="The weights, as filmgate models names them.")]
Maybe = Annotated[str | None, Parameter(name="NAME", help="Only these. Without: all there are.")]
Accept = Annotated[bool, Parameter(help="Accept the terms that these weights come under.")]
Given = Annotated[
    Path | None, Parameter(help="Where the file lies, or a folder with it, if not in its place.")
]
Report = Annotated[
    Path | None, Parameter(help="Where the report goes. Without: filmgate-try-NAME.json here.")
]
Json = Annotated[bool, Parameter(help="Say it as JSON on standard output.")]
Row = dict[str, object]


def verbs() -> App:
    """`models`, and `models pull`, `verify` and `try` below it."""
    app = App(
        name="models",
        help="Show families of models and their weights: what is here, and under which terms.",
        default_command=show,
    )
    app.command(pull)
    app.command(verify)
    app.command(try_, name="try")
    return app


def show(*, json: Json = False) -> Exit:
    """Show families of models and their weights: what is here, and under which terms."""
    shelf, declared = Shelf.here(), models.weights()
    without = sorted(set(models.families()) - {one.family for one in declared})
    if json:
        rows: list[Row] = [_bare(name) for name in without]
        rows += [_row(shelf, one) for one in declared]
        print(json_.dumps({"folder": str(shelf.path), "families": rows}))
        return Exit.DONE
    table = _table("family", "weights", ">size", "licence", "commercial", "terms", "file", "")
    told = {name: found for name in without if (found := models.by_hand(name))}
    for name in without:
        if hand := told.get(name):
            table.add_row(name, "by hand", "", hand.licence, "depends", "", "", "unproven")
        else:
            table.add_row(name, "none to fetch", "", "", "yes", "none", "", "")
    for one in declared:
        state = _row(shelf, one)["state"]
        table.add_row(
            one.family,
            one.name,
            in_words(one.size_bytes),
            one.licence,
            {True: "yes", False: "no", None: "depends"}[one.commercial],
            "none" if one.terms is None else "accepted" if shelf.accepted(one) else "to accept",
            str(state),
            "proven" if one.proven else "unproven",
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(f"they lie in {shelf.path}", soft_wrap=True, markup=False)
    for name, hand in told.items():
        console.print(f"by hand, {name}: {hand.how}", soft_wrap=True, markup=False)
    return Exit.DONE


def _bare(name: str) -> Row:
    hand = models.by_hand(name)
    more = {"by_hand": hand.how, "licence": hand.licence} if hand else {}
    return {"family": name, "weights": None, **more}


def pull(name: Name, /, *, accept: Accept = False) -> Exit:
    """Fetch weights, or what is missing of them; a download that was cut goes on where it was."""
    from filmgate.device import fetch

    weights, shelf = models.weights_of(name), Shelf.here()
    with _watched() as tell:
        path = fetch.pull(weights, shelf, accept=accept, tell=tell)
    print(f"{weights.name} is here: {path}")
    return Exit.DONE


def verify(name: Maybe = None, /, *, weights: Given = None, json: Json = False) -> Exit:
    """Read weights through and compare their sha256. Exit code 1 if one is damaged."""
    shelf = Shelf.here()
    if weights is not None and name is None:
        raise BadSetting(f"weights is {weights} and no name is given: wanted the NAME of its model")
    asked = [models.weights_of(name)] if name else _here(shelf)
    rows: list[Row] = []
    with _watched() as tell:
        for one in asked:
            path = shelf.find(one, weights)
            try:
                shelf.verified(one, path, again=True, tell=tell)
                row: Row = {"ok": True, "sha256": shelf.sha256(path)}
            except BadWeights as error:
                row = {"ok": False, "why": str(error)}
            rows.append({"weights": one.name, "path": str(path), **row})
    if json:
        print(json_.dumps(rows))
    else:
        for row in rows:
            print(f"{row['weights']}  {row['path']}  {_verdict(row)}")
        if not rows:
            print(f"no weights are in {shelf.path}")
    return Exit.DONE if all(row["ok"] for row in rows) else Exit.VERDICT_NO


def try_(name: Name, /, *, weights: Given = None, report: Report = None) -> Exit:
    """Try real weights: their tensors, 16 frames through the task. Writes a report to send."""
    from filmgate.quality.trial import trial

    one = models.weights_of(name)
    with _watched() as tell:
        found = trial(one, Shelf.here(), weights, tell)
    path = report or Path(f"filmgate-try-{one.name}.json")
    try:
        path.write_text(json_.dumps(found, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise BadSetting(f"{path} can't be written: {error.strerror}; name another file with "
                         "--report") from error  # fmt: skip
    for part in ("tensors", "run"):
        said = found[part].get("why", "")
        print(f"{part:8} {'ok' if found[part]['ok'] else 'NO'}{said and ': ' + said}")
    print(f"the report is {path}: please send it, whatever it says")
    return Exit.DONE if found["ok"] else Exit.VERDICT_NO


def _here(shelf: Shelf) -> list[Weights]:
    return [one for one in models.weights() if shelf.place(one).is_file()]


def _row(shelf: Shelf, weights: Weights) -> Row:
    place = shelf.place(weights)
    part = place.with_name(f"{place.name}.part")
    came = part.stat().st_size if part.is_file() else 0
    state = "absent" if not came else "part of it"
    if place.is_file():
        state = "here" if weights.fits(place.stat().st_size) else "damaged"
    return {**plain(weights), "weights": weights.name, "accepted": shelf.accepted(weights),
            "state": state, "part_bytes": came, "place": str(place)}  # fmt: skip


def _verdict(row: Row) -> str:
    return f"ok  {row['sha256']}" if row["ok"] else f"NO  {row['why']}"


@contextmanager
def _watched() -> Iterator[Tell]:
    """What to tell of progress to: a bar on a terminal, else a line for each thing that is done."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        last = [""]

        def line(doing: str, done: int, total: int) -> None:
            if doing != last[0]:
                size = f" {in_words(total - done)}" if total > done else ""
                print(f"{doing}{size}", file=sys.stderr)
                last[0] = doing

        yield line
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(),
               TransferSpeedColumn(), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        bars: dict[str, int] = {}

        def bar(doing: str, done: int, total: int) -> None:
            if doing not in bars:
                for other in bars.values():
                    progress.remove_task(other)  # type: ignore[arg-type]
                bars.clear()
                bars[doing] = progress.add_task(doing, total=total or None, completed=done)
            progress.update(bars[doing], completed=done)  # type: ignore[arg-type]

        yield bar


def _table(*heads: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for head in heads:
        right = head.startswith(">")
        table.add_column(head.lstrip(">"), justify="right" if right else "left", overflow="fold")
    return table
