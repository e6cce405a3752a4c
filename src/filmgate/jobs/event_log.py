"""Events of a run as lines of JSON, for programs that watch it and for later reading."""

import json
import os
from dataclasses import replace
from pathlib import Path

from filmgate.core.events import Committed, Event, Prepared, Progress
from filmgate.tasks.settings import plain

PROGRESS_INTERVAL_S = 10.0  # between two lines of progress in the file


def format_event(event: Event) -> str:
    """Return an event as one line of JSON; docs/events.md lists the fields."""
    if isinstance(event, Committed):  # without the state, which only a resumed run needs
        snapshot = event.snapshot
        fields = {
            "index": snapshot.cursor.index,
            "segment": snapshot.segment,
            "ended": snapshot.state is None,
        }
    elif isinstance(event, Prepared):  # without the preview, which is bytes
        fields = plain(replace(event, preview=None))
        del fields["preview"]
    else:
        fields = plain(event)
    return json.dumps({"event": type(event).__name__} | fields)


class EventLog:
    """A file of all events, with progress every few seconds; a full disk does not stop the run."""

    def __init__(self, path: Path) -> None:
        self._file, self._last_s = path.open("ab+", buffering=0), -PROGRESS_INTERVAL_S
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(0, size - 1))
        self._is_torn = self._file.read(1) not in (b"", b"\n")  # its last writer was killed

    def write(self, event: Event) -> None:
        """Write an event at once."""
        is_last = isinstance(event, Prepared) and event.done == event.total
        if isinstance(event, Progress | Prepared) and not is_last:
            if event.seconds - self._last_s < PROGRESS_INTERVAL_S:
                return
            self._last_s = event.seconds
        line = b"\n" * self._is_torn + format_event(event).encode() + b"\n"
        try:
            self._is_torn = self._file.write(line) < len(line)
        except OSError:  # the video matters more: whatever must be written reports it
            self._is_torn = True

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
