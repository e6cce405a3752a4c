"""A measured trial as tables."""

from __future__ import annotations

from rich.console import Group
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from filmgate.backends.trace import explain_bottleneck
from filmgate.cli.trial import Trial
from filmgate.cli.views.tables import build_table


def draw_trial(trial: Trial) -> Group:
    """Return tables of time and memory, predicted next to measured."""
    table = build_table("part", ">batch", ">predicted s/frame", ">measured s/frame")
    for name, batch, predicted, measured in trial.list_parts():
        table.add_row(name, str(batch or ""), f"{predicted:.4f}", f"{measured:.4f}")
        for part, seconds in trial.within.get(name, {}).items():
            table.add_row(f"  {part}", "", "", f"{seconds:.4f}")
    memory = build_table("peak memory", ">predicted", ">measured", ">predicted / measured")
    _add_row(memory, "process", sum(trial.fitted.host.values()), trial.host)
    if trial.device:
        _add_row(memory, "GPU", trial.fitted.device_bytes, trial.device)
    done = trial.done
    return Group(
        table, "", memory, "",
        Text(f"{done.read} frames in, {done.written} out, in {done.seconds:.2f} s: "
             f"{trial.fps:.1f} source frames per second, including the start of the pipeline"),
        Text(explain_bottleneck(done)),
    )  # fmt: skip


def _add_row(table: Table, name: str, predicted: int, measured: int) -> None:
    table.add_row(name, decimal(predicted), decimal(measured), f"{predicted / measured:.2f}")
