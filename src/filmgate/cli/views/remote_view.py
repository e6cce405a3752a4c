"""Show a job of a service: one line that is redrawn, or plain lines; and lists of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from filmgate.service.client.connection import strip_controls
from filmgate.units import format_bytes, format_duration

if TYPE_CHECKING:
    from filmgate.service.client.answers import RemoteEvent, RemoteJob

PLAIN_S = 10.0  # between two lines where nothing can be redrawn
# What happened, in words; other kinds of events are not worth a line.
_WORDS = {
    "queued": "waits for its turn",
    "planned": "predicted what it takes",
    "leased": "given to a worker",
    "requeued": "interrupted: another worker continues",
    "cancel_requested": "asked to stop",
    "done": "done",
}


class RemoteView:
    """Shows the events of one job."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._shown_s = -PLAIN_S

    def __enter__(self) -> RemoteView:
        if self._console.is_terminal and not self._quiet:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, event: RemoteEvent) -> None:
        """Show an event, if it is worth showing."""
        if self._quiet:
            return
        if event.kind == "live":
            self._show_progress(event)
        elif event.kind == "worker_died":
            cause = strip_controls(event.data.get("cause", "an unknown reason"))
            self._print(f"its worker ended: {cause}")
        elif event.kind == "reservation_raised":
            self._print(strip_controls(event.data.get("message", "it reserves more memory")))
        elif words := _WORDS.get(event.kind):
            self._print(words)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def _show_progress(self, event: RemoteEvent) -> None:
        text, fraction = describe_progress(event), event.data.get("fraction")
        if self._live.is_started:
            line = Text(text, no_wrap=True, overflow="ellipsis")
            grid = Table.grid(padding=(0, 1))
            room = min(20, self._console.width - line.cell_len - 1)
            if isinstance(fraction, float | int) and room >= 8:
                grid.add_row(ProgressBar(1.0, float(fraction), room), line)
            else:
                grid.add_row(line)
            self._live.update(grid, refresh=True)
        elif monotonic() - self._shown_s >= PLAIN_S:
            self._shown_s = monotonic()
            self._print(text)


def describe_progress(event: RemoteEvent) -> str:
    """Return how far a job is, from an event of the kind `live`."""
    read, frames = event.data.get("read"), event.data.get("frames")
    if event.data.get("phase") != "running" or not isinstance(read, int):
        return f"{strip_controls(event.data.get('phase', 'waits'))} ..."
    words = [f"{read} frames"]
    if isinstance(frames, int) and frames > 0:
        words = [f"{min(100, 100 * read // frames)} %", f"{read}/{frames} frames"]
    if isinstance(fps := event.data.get("fps"), float | int):
        words.append(f"{fps:.1f} fps")
    if isinstance(left := event.data.get("eta_s"), float | int):
        words.append(f"{format_duration(left)} left")
    return "  ".join(words)


def print_jobs(jobs: Sequence[RemoteJob]) -> None:
    """Print a table of jobs."""
    if not jobs:
        print("no jobs on this service")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("job", "state", "tasks", "submitted", ""):
        table.add_column(name, overflow="fold", no_wrap=name == "job")  # the id is copied
    for job in jobs:
        tasks = job.definition.get("tasks")
        names = [str(one.get("task")) for one in tasks if isinstance(one, dict)] if isinstance(
            tasks, list) else []  # fmt: skip
        moment = datetime.fromtimestamp(job.submitted_ms / 1000).isoformat(" ", "minutes")
        cells = (job.id, job.state, ", ".join(names) or "convert", moment, _describe_state(job))
        table.add_row(*(Text(strip_controls(cell)) for cell in cells))
    Console(highlight=False).print(table)


def _describe_state(job: RemoteJob) -> str:
    if job.result is not None:
        return format_bytes(job.result.size_bytes)
    if job.progress is not None and job.progress.frames and not job.done:
        return f"{job.progress.read}/{job.progress.frames} frames"
    if job.position is not None and not job.done:
        return f"number {job.position} in the queue"
    return job.reason
