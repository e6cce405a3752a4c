"""Predicted GPU memory as a table or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from rich.console import Group
from rich.table import Table
from rich.text import Text

from filmgate.cli.views.tables import build_table
from filmgate.core.frame import StreamSpec
from filmgate.models.contracts import MemoryPrediction
from filmgate.tasks.settings import plain

RESERVED = 1.4  # torch's allocator may reserve two fifths more than is allocated


def fits(row: MemoryPrediction, gpu_bytes: int | None) -> bool:
    """Return whether a GPU has room for it, including what the allocator reserves."""
    return gpu_bytes is None or row.peak * RESERVED <= gpu_bytes


def to_json(
    spec: StreamSpec, rows: Sequence[MemoryPrediction], gpu_bytes: int | None, reason: str
) -> dict[str, object]:
    """Return the predictions for JSON; `fits` is null if the size of the GPU is unknown."""
    return {
        "given": plain(spec),
        "why": reason,
        "gpu_bytes": gpu_bytes,
        "predicted_device": [
            plain(row) | {
                row.option[0]: plain(row.option[1]),
                "peak_bytes": row.peak, "most": _find_largest(row),
                "fits": fits(row, gpu_bytes) if gpu_bytes else None,
            }
            for row in rows
        ],
    }  # fmt: skip


def draw(
    spec: StreamSpec, rows: Sequence[MemoryPrediction], gpu_bytes: int | None, reason: str
) -> Group:
    """Return a table: methods, dtypes and batches down, values of the varied option across."""
    lines = ["Peak GB, for a video of any length. Predicted from shapes: nothing was run."]
    if gpu_bytes:
        lines.append(f"no: {RESERVED:g} times that, since the allocator may reserve more, exceeds "
                     f"the GPU's {gpu_bytes / 1e9:g} GB; the largest part is named.")  # fmt: skip
    lines.append("ours: this program, which computes large parts in tiles, whatever --batch is.")
    if any(row.way == "plain" for row in rows):
        lines.append("plain: the usual loop around the same networks: complete images, a batch "
                     "at once, and optical flow, if any, of all frames first.")  # fmt: skip
    title = f"{spec.width}x{spec.height}, predicted: {reason}"
    return Group(Text(title), "", _build_table(rows, gpu_bytes), "", *map(Text, lines))


def _build_table(rows: Sequence[MemoryPrediction], gpu_bytes: int | None) -> Table:
    options = sorted({row.option for row in rows}, key=lambda option: option[1], reverse=True)
    are_shares = all(0 < value <= 1 for _, value in options)
    heads = [f">{name if n == 0 else ''} {_format_share(value) if are_shares else value}"
             for n, (name, value) in enumerate(options)]  # fmt: skip
    table = build_table("dtype x batch", *heads)
    cells = {(row.way, row.dtype, row.batch, row.option): row for row in rows}
    for way, dtype, batch in dict.fromkeys((row.way, row.dtype, row.batch) for row in rows):
        found = [cells.get((way, dtype, batch, option)) for option in options]
        name = f"{way} {dtype}" + (f" x {batch}" if batch else "")
        table.add_row(name, *(_format_cell(row, gpu_bytes) if row else Text() for row in found))
    return table


def _format_share(value: Fraction) -> str:
    return str(value) if value.numerator > 1 else f"1/{value.denominator}"


def _format_cell(row: MemoryPrediction, gpu_bytes: int | None) -> Text:
    size = f"{row.peak / 1e9:.1f}" if row.peak < 1e11 else f"{row.peak / 1e9:.0f}"
    if fits(row, gpu_bytes):
        return Text(size)
    return Text(f"{size} no, {_find_largest(row)}", style="red")


def _find_largest(row: MemoryPrediction) -> str:
    return max(row.parts, key=lambda part: row.parts[part])
