"""Progress of a download or a checksum: a bar on a terminal, else a line for each file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from filmgate.units import format_bytes

if TYPE_CHECKING:
    from filmgate.storage.fingerprint import ProgressCallback


@contextmanager
def show_transfer() -> Iterator[ProgressCallback]:
    """Yield a function to call with what is done, bytes done and bytes in total."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        last = ""

        def print_line(action: str, done: int, total: int) -> None:
            nonlocal last
            if action != last:
                size = f" {format_bytes(total - done)}" if total > done else ""
                print(f"{action}{size}", file=sys.stderr)
                last = action

        yield print_line
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(),
               TransferSpeedColumn(), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        bars: dict[str, TaskID] = {}

        def update_bar(action: str, done: int, total: int) -> None:
            if action not in bars:
                for other in bars.values():
                    progress.remove_task(other)
                bars.clear()
                bars[action] = progress.add_task(action, total=total or None, completed=done)
            progress.update(bars[action], completed=done)

        yield update_bar
