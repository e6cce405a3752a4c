"""Predicted GPU memory as a table or JSON."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from filmgate.cli.views.tables import sheet
from filmgate.core.frame import StreamSpec
from filmgate.models.contracts import MemoryPrediction
from filmgate.tasks.job_config import plain

KEPT = 1.4  # torch's allocator may keep two fifths more than what is alive


def fits(row: MemoryPrediction, card_bytes: int | None) -> bool:
    """Whether a card has room for it, and for what the allocator keeps besides."""
    return card_bytes is None or row.peak * KEPT <= card_bytes


def as_json(
    spec: StreamSpec, rows: Sequence[MemoryPrediction], card_bytes: int | None, why: str
) -> dict[str, object]:
    """The same for a machine; `fits` is null where nobody said how large the card is."""
    return {
        "given": plain(spec),
        "why": why,
        "card_bytes": card_bytes,
        "predicted_device": [
            plain(row) | {
                "peak_bytes": row.peak, "most": _most(row),
                "fits": fits(row, card_bytes) if card_bytes else None,
            }
            for row in rows
        ],
    }  # fmt: skip


def drawn(
    spec: StreamSpec, rows: Sequence[MemoryPrediction], card_bytes: int | None, why: str
) -> Group:
    """A table: ways, numbers and batches down, scales of flow across."""
    measured = "nothing ran and nothing was measured: the shapes of the networks tell"
    lines = [f"GB alive at most, whatever the film's length; {measured}."]
    if card_bytes:
        lines.append(f"No: {KEPT:g} times that, as an allocator may keep more, is above the card's "
                     f"{card_bytes / 1e9:g} GB; what holds most is named.")  # fmt: skip
    lines.append("Ours goes frame by frame, whatever --batch says. Plain is the usual loop: whole "
                 "maps, all pairs of RAFT beforehand, a batch through the networks at "
                 "once.")  # fmt: skip
    title = f"{spec.width}x{spec.height}, predicted: {why}"
    return Group(Text(title), "", _table(rows, card_bytes), "", *map(Text, lines))


def _table(rows: Sequence[MemoryPrediction], card_bytes: int | None) -> Table:
    scales = sorted({row.flow_scale for row in rows}, reverse=True)
    shares = [str(scale) if scale.numerator > 1 else f"1/{scale.denominator}" for scale in scales]
    heads = [f">{'flow at ' * (n == 0)}{share}" for n, share in enumerate(shares)]
    table = sheet("numbers x batch", *heads)
    by = {(row.way, row.dtype, row.batch, row.flow_scale): row for row in rows}
    for way, dtype, batch in dict.fromkeys((row.way, row.dtype, row.batch) for row in rows):
        cells = [by.get((way, dtype, batch, scale)) for scale in scales]
        named = f"{way} {dtype}" + (f" x {batch}" if batch else "")
        table.add_row(named, *(_cell(row, card_bytes) if row else Text() for row in cells))
    return table


def _cell(row: MemoryPrediction, card_bytes: int | None) -> Text:
    size = f"{row.peak / 1e9:.1f}" if row.peak < 1e11 else f"{row.peak / 1e9:.0f}"
    if fits(row, card_bytes):
        return Text(size)
    return Text(f"{size} no, {_most(row)}", style="red")


def _most(row: MemoryPrediction) -> str:
    return max(row.parts, key=lambda part: row.parts[part])
