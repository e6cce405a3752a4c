"""Several files in one command: which one runs, the time left for all, a table at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from filmgate.core.job import Job
from filmgate.units import format_bytes, format_duration

if TYPE_CHECKING:
    from rich.table import Table

    from filmgate.core.events import Done


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one file; `done` is None if it failed."""

    result: Path
    outcome: str
    done: Done | None = None


@dataclass
class Batch:
    """The files of one command, in the order in which they run; `sizes` are bytes of the inputs.

    The time left is estimated from the bytes done so far, in this command.
    """

    names: Sequence[str]
    sizes: Sequence[int]
    start_s: float = field(default_factory=monotonic)
    rows: list[Row] = field(default_factory=list)
    last: Done | None = None  # of the file that runs

    @classmethod
    def of(cls, jobs: dict[str, Job]) -> Batch:
        """Return the batch of these jobs, by name."""
        return cls(list(jobs), [_measure_size(job) for job in jobs.values()])

    @property
    def heading(self) -> str:
        """The line above the run of the next file: "file 3 of 12: in.mp4 -> out.mp4"."""
        index = len(self.rows)
        return f"file {index + 1} of {len(self.names)}: {self.names[index]}"

    def estimate_left(self, share: float, now_s: float | None = None) -> float | None:
        """Return the seconds left for all files after `share` (0 to 1) of the present one.

        None as long as nothing is done.
        """
        index = len(self.rows)
        done = sum(self.sizes[:index]) + share * self.sizes[index]
        elapsed = (monotonic() if now_s is None else now_s) - self.start_s
        return (sum(self.sizes) - done) * elapsed / done if done > 0 else None

    def end_file(self, result: Path, failure: str = "") -> None:
        """Record the end of the present file."""
        outcome = failure or ("done" if self.last else "failed")
        self.rows.append(Row(result, outcome, self.last))
        self.last = None

    def draw(self) -> Table:
        """Return the table of all files that ran."""
        from filmgate.cli.views.tables import build_table, escape_text

        table = build_table("result", "outcome", ">frames", ">time", ">size", fold=True)
        for row in self.rows:
            cells = ["", "", ""]
            if row.done:
                size = row.result.stat().st_size if row.result.is_file() else None
                cells = [str(row.done.written), format_duration(row.done.seconds),
                         format_bytes(size) if size is not None else ""]  # fmt: skip
            table.add_row(escape_text(row.result.name), row.outcome, *cells)
        return table

    def summarize(self) -> str:
        """Return the last line: how many files are done, and the time of all."""
        count = sum(row.done is not None for row in self.rows)
        seconds = format_duration(monotonic() - self.start_s)
        return f"done: {count} of {len(self.names)} files in {seconds}"


def _measure_size(job: Job) -> int:
    path = getattr(job.source, "path", None)
    return max(1, path.stat().st_size) if isinstance(path, Path) and path.is_file() else 1
