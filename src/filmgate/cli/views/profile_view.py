"""What the phases of a run took, as a table."""

from __future__ import annotations

from rich.console import Console
from rich.filesize import decimal
from rich.measure import Measurement

from filmgate.cli.views.tables import build_table
from filmgate.core.events import Phase, Profiled

_MAX_WIDTH = 1000


def format_profile(profile: Profiled) -> str:
    """Return the phases, each with those inside of it below it, and what the columns mean.

    The table is as wide as it must be: numbers are not cut off in a narrow terminal or a log.
    """
    columns = ["seconds", "CPU s", "calls", "each", "frames", "memory"]
    if any(one.predicted_s is not None for one in profile.phases):
        columns.insert(1, "predicted s")
    if profile.device_bytes:
        columns.append("on GPU")
    if any(one.to_device_bytes or one.from_device_bytes for one in profile.phases):
        columns += ["to device", "from device"]
    table = build_table("phase", *(f">{column}" for column in columns))
    for one in profile.phases:
        cells = _describe(one)
        table.add_row("  " * (len(one.name) - 1) + one.name[-1], *map(cells.get, columns))
    cells = _describe(_add_up(profile)) | {"calls": "", "each": "", "predicted s": ""}
    table.add_row("all", *map(cells.get, columns))
    console = Console(width=_MAX_WIDTH, color_system=None)
    width = Measurement.get(console, console.options, table).maximum
    with console.capture() as captured:
        console.print(table, width=width)
    return "\n".join([*map(str.rstrip, captured.get().splitlines()), *_explain(profile)])


def _describe(one: Phase) -> dict[str, str]:
    """Return the cells of a phase by the head of their column."""
    each = one.seconds / max(1, one.calls)
    return {
        "seconds": f"{one.seconds:.2f}",
        "predicted s": "" if one.predicted_s is None else f"{one.predicted_s:.2f}",
        "CPU s": f"{one.cpu_seconds:.2f}",
        "calls": str(one.calls),
        "each": f"{each:.2f} s" if each >= 1 else f"{1000 * each:.1f} ms",
        "frames": str(one.frames or ""),
        "memory": decimal(one.host_bytes),
        "on GPU": decimal(one.device_bytes),
        "to device": decimal(one.to_device_bytes),
        "from device": decimal(one.from_device_bytes),
    }


def _add_up(profile: Profiled) -> Phase:
    """Return the run as one phase."""
    outer = [one for one in profile.phases if len(one.name) == 1]
    return Phase(
        ("all",), profile.seconds, profile.cpu_seconds, 1, profile.read,
        sum(one.to_device_bytes for one in outer), sum(one.from_device_bytes for one in outer),
        profile.host_bytes, profile.device_bytes,
    )  # fmt: skip


def _explain(profile: Profiled) -> list[str]:
    """Return what cannot be seen in the table."""
    lines = [
        "Decode, the stages and encode work at the same time.",
        "CPU s is of the phase's own thread, in the last row of all threads.",
    ]
    if profile.device_bytes:
        lines.append("Each phase waited for the GPU, so that its time is its own: without a "
                     "profile the run is faster.")  # fmt: skip
    if not profile.final:
        lines.append(f"The run stopped after {profile.read} source frames: phases that were under "
                     "way count up to then.")  # fmt: skip
    if profile.first:
        lines.append(f"This process resumed from source frame {profile.first}: what earlier ones "
                     "took is not in the table.")  # fmt: skip
    return lines
