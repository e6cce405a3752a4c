"""Show a run: one line that is redrawn, plain lines, or JSON; and a summary at the end."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from rich.console import Console, Group
from rich.filesize import decimal
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from filmgate.backends.trace import explain_bottleneck
from filmgate.cli.views.batch import Batch
from filmgate.cli.views.preparation_view import PreparationView, draw_preview
from filmgate.core.events import (
    Died,
    Done,
    Event,
    Prepared,
    Profiled,
    Progress,
    Replanned,
    Started,
    Warned,
)
from filmgate.media.images.numbering import compile_number_pattern
from filmgate.units import format_duration

REDRAW_S = 0.1  # between two states of the redrawn line
PLAIN_S = 10.0  # between two lines where nothing can be redrawn
RECENT_S = 5.0  # for which speed and the busiest part are computed


class ProgressView:
    """Shows how far a run is; its clock is the time in the events."""

    def __init__(
        self, console: Console, path: Path | None, quiet: bool = False, batch: Batch | None = None
    ) -> None:
        self._console, self._path, self._quiet, self._batch = console, path, quiet, batch
        self._frames: int | None = None
        self._read = 0  # frames that an earlier run has done
        self._recent: deque[Progress] = deque()
        self._shown_s = -PLAIN_S
        self._preparation = PreparationView()
        self._profile: Profiled | None = None  # until it is shown, at the end of the run
        self._live = Live(console=console, auto_refresh=False, transient=True)

    @classmethod
    def on_stderr(cls, path: Path | None, quiet: bool, batch: Batch | None = None) -> ProgressView:
        """Return a view on standard error; `path` is the result: a file, or a pattern of images."""
        return cls(Console(stderr=True, highlight=False), path, quiet, batch)

    def __enter__(self) -> ProgressView:
        if self._console.is_terminal and not self._quiet:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, event: Event) -> None:
        """Show an event, if it is worth showing."""
        if isinstance(event, Started):
            self._frames, self._read = event.source.frames, event.read
            if event.read and not self._quiet:
                total = f" of {self._frames}" if self._frames else ""
                self._console.print(f"resumes from frame {event.read}{total}")
        elif isinstance(event, Warned):
            self._console.print(f"warning: {event.message}", markup=False)
        elif isinstance(event, Replanned):
            self._console.print(
                f"from frame {event.index} on, {event.stage} takes batches of {event.batch}: "
                f"{event.why}",
                markup=False,
            )
        elif isinstance(event, Prepared) and not self._quiet:
            self._show_preparation(event)
        elif isinstance(event, Progress) and not self._quiet:
            self._show_progress(event)
        elif isinstance(event, Profiled) and not self._quiet:
            self._profile = event
        elif isinstance(event, Died) and not event.final:
            self._console.print(f"{event.message}: another process continues", markup=False)
        elif isinstance(event, Done | Died):
            self._live.update("")
            self._show_profile()
            self._live.stop()
            if isinstance(event, Done) and self._batch:
                self._batch.last = event
            elif isinstance(event, Done) and not self._quiet:
                self._console.print(draw_summary(event, self._path))

    def _show_profile(self) -> None:
        if self._profile is not None:
            from filmgate.cli.views.profile_view import format_profile

            self._console.print(format_profile(self._profile), markup=False, soft_wrap=True)

    def _show_preparation(self, event: Prepared) -> None:
        text = Text(self._preparation.describe(event), no_wrap=True, overflow="ellipsis")
        if self._live.is_started:
            shown = [draw_preview(event.preview, self._console.width)] if event.preview else []
            self._live.update(Group(*shown, text), refresh=True)
        elif event.seconds - self._shown_s >= PLAIN_S or event.done == event.total:
            self._shown_s = event.seconds
            self._console.print(text, soft_wrap=True)

    def _show_progress(self, event: Progress) -> None:
        self._recent.append(event)
        while len(self._recent) > 2 and event.seconds - self._recent[1].seconds >= RECENT_S:
            self._recent.popleft()
        if event.seconds - self._shown_s < (REDRAW_S if self._live.is_started else PLAIN_S):
            return
        self._shown_s = event.seconds
        if self._live.is_started:
            self._live.update(self.draw_line(self._console.width), refresh=True)
        else:
            self._console.print(self._describe_progress(), markup=False, soft_wrap=True)

    def draw_line(self, width: int) -> Table:
        """Return the redrawn line, at most `width` columns: a bar where the text leaves room."""
        text = Text(self._describe_progress(), no_wrap=True, overflow="ellipsis")
        event, room = self._recent[-1], min(20, width - text.cell_len - 1)
        grid = Table.grid(padding=(0, 1))
        if (total := self._find_total(event)) and room >= 8:
            grid.add_row(ProgressBar(total, event.read, room), text)
        else:
            grid.add_row(text)
        return grid

    def _find_total(self, event: Progress) -> int | None:
        """Return the number of frames, None if it is unknown, or smaller than what was read."""
        return self._frames if self._frames and self._frames >= event.read else None

    def _describe_progress(self) -> str:
        first, last = self._recent[0], self._recent[-1]
        if first is last:  # only one yet: since the beginning
            first = Progress(self._read, last.written if self._read else 0, last.time * 0, 0.0, 0)
        seconds = max(1e-9, last.seconds - first.seconds)
        words = [f"{last.read} frames"]
        if total := self._find_total(last):
            percent = min(100, 100 * last.read // total)
            words = [f"{percent} %", f"{last.read}/{total} frames"]
        words.append(f"{(last.written - first.written) / seconds:.1f} fps")
        if total and last.read > first.read:
            words.append(
                f"{format_duration((total - last.read) * seconds / (last.read - first.read))} left"
            )
        if total and self._batch and (left := self._batch.estimate_left(last.read / total)):
            words.append(f"{format_duration(left)} left for all")
        words.append(decimal(last.resident_bytes))
        busy = {name: s - first.busy.get(name, 0.0) for name, s in last.busy.items()}
        if busy:
            name = max(busy, key=lambda part: busy[part])
            words.append(f"{name} {min(100, round(100 * busy[name] / seconds))} % busy")
        return "  ".join(words)


def draw_summary(done: Done, path: Path | None) -> Group:
    """Return where the time went, the size of the result, and what would make it faster."""
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="left")
    table.add_column(justify="right")
    table.add_column(justify="left")
    for name, seconds in done.busy.items():
        share = 100 * seconds / done.seconds if done.seconds else 0
        table.add_row(name, f"{seconds:.1f} s", f"busy {share:.0f} % of the time")
    table.add_row("total", f"{done.seconds:.1f} s", f"{done.overlap:.2f} x the busiest part")
    table.add_row("frames", str(done.read), f"in, {done.written} out")
    hints = [Text(hint) for hint in [explain_bottleneck(done)] if hint]
    return Group(table, *hints, Text(_describe_result(done, path), overflow="fold"))


def _describe_result(done: Done, path: Path | None) -> str:
    """Return the last line: that the result is complete, its size and its name."""
    concealed = f" with {done.concealed} concealed frames" if done.concealed else ""
    if path and compile_number_pattern(path.name):
        return f"done{concealed}: {done.written} images, {path}"
    if path and path.is_file():
        return f"done{concealed}: {decimal(path.stat().st_size)}, {path}"
    return f"done{concealed}"
