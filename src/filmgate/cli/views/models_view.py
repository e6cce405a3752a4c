"""Model families and their weights, as a table or as two lines for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from filmgate.cli.views.tables import build_table
from filmgate.models.contracts import Family
from filmgate.units import format_bytes

_LICENCE_WIDTH = 30  # columns of licences in a table, at least
_COMMERCIAL = {True: "yes", False: "no", None: "depends"}


@dataclass(frozen=True, slots=True)
class _Row:
    """The cells of a row; `weights` says how they come if they have no name of their own."""

    family: str
    weights: str
    size: str = ""
    licence: str = ""
    commercial: str = ""
    terms: str = ""
    state: str = ""
    proven: str = "unproven"
    has_name: bool = False


def print_models(
    others: Sequence[tuple[Family, bool]], rows: Sequence[dict[str, Any]], folder: Path
) -> None:
    """Print all weights on standard output, and what is known of each.

    `others`: families without published weights, and whether they are part of Filmgate.
    """
    cells = [*(_describe_family(*other) for other in others), *map(_describe_weights, rows)]
    console = Console(highlight=False)
    table = _build_table(cells)
    width = Measurement.get(console, console.options.update(max_width=10_000), table)
    if not console.is_terminal:  # each row is one line, for other programs
        console = Console(highlight=False, width=max(console.width, width.maximum))
    fits = console.width >= width.minimum
    console.print(table if fits else Group(*_build_lines(cells)))
    console.print(f"the models folder is {folder}", soft_wrap=True, markup=False)
    proven = {row["family"]: row["proven"] for row in rows if row["proven"]}
    lines = [f"proven, {name}, {figures}" for name, figures in proven.items()]
    lines += [f"by hand, {family.name}: {family.by_hand.how}" for family, _ in others
              if family.by_hand]  # fmt: skip
    for line in lines:
        console.print(Text(line), soft_wrap=not console.is_terminal)


def _build_table(cells: Sequence[_Row]) -> Table:
    """Return a table in which only licences are wrapped."""
    table = build_table("family", "weights", ">size", "licence", "commercial", "terms", "file", "")
    for column in table.columns:
        column.no_wrap = column.header != "licence"
        column.min_width = None if column.no_wrap else _LICENCE_WIDTH
    for row in cells:
        table.add_row(*map(str, astuple(row)[:-1]))
    return table


def _build_lines(cells: Sequence[_Row]) -> Iterator[RenderableType]:
    """Yield two lines for each row: what it is called and where it is, and what may be done."""
    names = [row.weights if row.has_name else row.family for row in cells]
    width = max(map(len, names), default=0)
    sizes = max((len(row.size.partition(" predicted")[0]) for row in cells), default=0)
    for name, row in zip(names, cells, strict=True):
        size, predicted, _ = row.size.partition(" predicted")
        state = row.state if row.has_name else row.weights
        yield Text(f"{name:{width}}  {size:>{sizes}}  {state}".rstrip(), style="bold")
        facts = [
            f"family {row.family}" if row.has_name else "",
            "size predicted" if predicted else "",
            row.commercial and f"commercial: {row.commercial}",
            row.terms and f"terms: {row.terms}",
            row.proven,
            row.licence and f"licence: {row.licence}",
        ]
        yield Padding(Text("; ".join(filter(None, facts))), (0, 0, 0, 2))


def _describe_family(family: Family, is_built_in: bool) -> _Row:
    if hand := family.by_hand:
        return _Row(family.name, "by hand", licence=hand.licence, commercial="depends")
    if is_built_in:
        return _Row(family.name, "built in", commercial="yes", terms="none", proven="")
    unknown = "unknown"
    return _Row(family.name, unknown, unknown, unknown, unknown, unknown, unknown)


def _describe_weights(row: dict[str, Any]) -> _Row:
    return _Row(
        row["family"],
        row["weights"],
        _describe_size(row),
        row["licence"],
        _COMMERCIAL[row["commercial"]],
        _describe_terms(row),
        row["state"],
        "proven" if row["proven"] else "unproven",
        has_name=True,
    )


def _describe_size(row: dict[str, Any]) -> str:
    """Return the size, or what is predicted before the hub lists the files."""
    if row["size_bytes"]:
        return format_bytes(row["size_bytes"])
    predicted = row.get("predicted_bytes")
    return f"{format_bytes(predicted)} predicted" if predicted else ""


def _describe_terms(row: dict[str, Any]) -> str:
    if row["terms"] is not None:
        return "accepted" if row["accepted"] else "to accept"
    return "read them" if row["commercial"] is None else "none"
