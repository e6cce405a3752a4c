"""What a run said, as lines of JSON: for programs that watch, and to look back at."""

import json
import os
from pathlib import Path
from types import TracebackType

from filmgate.core.events import Committed, Event, Progress
from filmgate.tasks.job_config import plain

SPARSE_S = 10.0  # between two lines of progress that are kept


def json_line(event: Event) -> str:
    """An event as one line of JSON; docs/events.md tells the fields."""
    if isinstance(event, Committed):  # the state is for machines that go on, not for readers
        snapshot = event.snapshot
        fields = {
            "index": snapshot.cursor.index,
            "segment": snapshot.segment,
            "ended": snapshot.state is None,
        }
    else:
        fields = plain(event)
    return json.dumps({"event": type(event).__name__} | fields)


class Log:
    """A file that takes every event, progress only now and then, and what a full disk lets it."""

    def __init__(self, path: Path) -> None:
        self._file, self._said_s = path.open("ab+", buffering=0), -SPARSE_S
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(0, size - 1))
        self._torn = self._file.read(1) not in (b"", b"\n")  # its writer was shot

    def tell(self, event: Event) -> None:
        """Writes it down, at once."""
        if isinstance(event, Progress):
            if event.seconds - self._said_s < SPARSE_S:
                return
            self._said_s = event.seconds
        line = b"\n" * self._torn + json_line(event).encode() + b"\n"
        try:
            self._torn = self._file.write(line) < len(line)
        except OSError:  # the film matters more: what must be written says so itself
            self._torn = True

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
