"""Models and their weights: shown, fetched, verified, tried."""

import json as json_
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from filmgate.cli.views.tables import sheet
from filmgate.errors import BadSetting, BadWeights, Exit
from filmgate.models import registry
from filmgate.storage.fingerprint import Tell
from filmgate.units import format_bytes
from filmgate.weights.definitions import OPENED, Weights, WeightsRepository
from filmgate.weights.repository import listed
from filmgate.weights.store import WeightsStore, plain

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
Row = dict[str, Any]


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
    shelf = WeightsStore.here()
    declared: list[Weights | WeightsRepository] = [*registry.weights(), *registry.folders()]
    without = sorted(set(registry.families()) - {one.family for one in declared})
    if json:
        rows: list[Row] = [_bare(name) for name in without]
        rows += [_row(shelf, one) for one in declared]
        print(json_.dumps({"folder": str(shelf.path), "families": rows}))
        return Exit.DONE
    table = sheet("family", "weights", ">size", "licence", "commercial", "terms", "file", "",
                  fold=True)  # fmt: skip
    told = {name: found for name in without if (found := registry.by_hand(name))}
    for name in without:
        if hand := told.get(name):
            table.add_row(name, "by hand", "", hand.licence, "depends", "", "", "unproven")
        else:
            table.add_row(name, "none to fetch", "", "", "yes", "none", "", "")
    for one in declared:
        row = _row(shelf, one)
        table.add_row(
            one.family,
            one.name,
            format_bytes(row["size_bytes"]) if row["size_bytes"] else "",
            one.licence,
            {True: "yes", False: "no", None: "depends"}[one.commercial],
            "none" if one.terms is None else "accepted" if shelf.accepted(one) else "to accept",
            row["state"],
            "proven" if one.proven else "unproven",
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(f"they lie in {shelf.path}", soft_wrap=True, markup=False)
    for name, hand in told.items():
        console.print(f"by hand, {name}: {hand.how}", soft_wrap=True, markup=False)
    return Exit.DONE


def _bare(name: str) -> Row:
    hand = registry.by_hand(name)
    more = {"by_hand": hand.how, "licence": hand.licence} if hand else {}
    return {"family": name, "weights": None, **more}


def pull(name: Name, /, *, accept: Accept = False) -> Exit:
    """Fetch weights, or what is missing of them; a download that was cut goes on where it was."""
    from filmgate.weights import download, repository

    weights, shelf = registry.weights_of(name), WeightsStore.here()
    with _watched() as tell:
        if isinstance(weights, WeightsRepository):
            path = repository.pull(weights, shelf, accept=accept, tell=tell)
        else:
            path = download.pull(weights, shelf, accept=accept, tell=tell)
    print(f"{weights.name} is here: {path}")
    return Exit.DONE


def verify(name: Maybe = None, /, *, weights: Given = None, json: Json = False) -> Exit:
    """Read weights through and compare their sha256. Exit code 1 if one is damaged."""
    shelf = WeightsStore.here()
    if weights is not None and name is None:
        raise BadSetting(f"weights is {weights} and no name is given: wanted the NAME of its model")
    asked = _parts(shelf, registry.weights_of(name), weights) if name else _here(shelf)
    rows: list[Row] = []
    with _watched() as tell:
        for one in asked:
            path = shelf.place(one)
            try:
                path = shelf.find(one, weights)
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
    from filmgate.quality.weights_check import trial

    one = registry.weights_of(name)
    if isinstance(one, WeightsRepository):
        raise BadSetting(f"{name} is a published folder, and models try knows single files: run "
                         "its family on a short film, with --sample 5s")  # fmt: skip
    with _watched() as tell:
        found = trial(one, WeightsStore.here(), weights, tell)
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


def _here(shelf: WeightsStore) -> list[Weights]:
    parts = (one for folder in registry.folders() for one in listed(folder, shelf))
    return [one for one in (*registry.weights(), *parts) if shelf.place(one).is_file()]


def _parts(
    shelf: WeightsStore, one: Weights | WeightsRepository, given: Path | None
) -> list[Weights]:
    """The file, or all that a folder should hold. Raises BadWeights where none of it is here."""
    parts = [one] if isinstance(one, Weights) else list(listed(one, shelf))
    if not parts:
        raise BadWeights(f"the hub was not asked yet what {one.told} holds: filmgate models pull "
                         f"{one.name} does that, and fetches what is missing")  # fmt: skip
    if len(parts) == 1 or not (given or any(shelf.place(part).is_file() for part in parts)):
        shelf.find(parts[0], given)
    return parts


def _row(shelf: WeightsStore, one: Weights | WeightsRepository) -> Row:
    row = _state(shelf, one) if isinstance(one, Weights) else _states(shelf, one)
    return {**plain(one), "weights": one.name, "accepted": shelf.accepted(one), **row}


def _state(shelf: WeightsStore, weights: Weights) -> Row:
    place = shelf.place(weights)
    part = place.with_name(f"{place.name}.part")
    came = part.stat().st_size if part.is_file() else 0
    state = "absent" if not came else "part of it"
    if place.is_file():
        state = "here" if weights.fits(place.stat().st_size) else "damaged"
    return {"state": state, "part_bytes": came, "place": str(place)}


def _states(shelf: WeightsStore, folder: WeightsRepository) -> Row:
    """Of all that was listed; what was put there by hand is here if everything wanted is there."""
    home, files = shelf.home(folder), listed(folder, shelf)
    rows = [_state(shelf, one) for one in files]
    states = {row["state"] for row in rows} or {"absent"}
    there = {path.relative_to(home).as_posix(): (path.stat().st_size, None)
             for path in home.glob("*/*") if path.suffix in OPENED}  # fmt: skip
    if there and not files:
        states = {"part of it"}
        with suppress(BadWeights):
            files, states = folder.files("", there), {"here"}
    state = "damaged" if "damaged" in states else states.pop() if len(states) == 1 else "part of it"
    came, size = sum(row["part_bytes"] for row in rows), sum(one.size_bytes for one in files)
    return {"state": state, "part_bytes": came, "place": str(home), "size_bytes": size or None}


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
                size = f" {format_bytes(total - done)}" if total > done else ""
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
