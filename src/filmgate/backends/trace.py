"""Write a run as a trace file for ui.perfetto.dev, and name the part it waited for."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock, get_native_id
from time import perf_counter

from filmgate.core.events import Committed, Died, Done, Event, Progress, Replanned, Warned
from filmgate.errors import BadSetting
from filmgate.storage.file_kind import check_replaceable

START = b"[\n"  # of a trace
MAX_BYTES = 512 << 20  # of a trace; no viewer opens a larger one
TAIL_BYTES = 1 << 16  # at the end of a trace, enough to find when it ended


class Trace:
    """A file in Chrome's trace-event format, written while the run goes.

    One track for each part (decode, every stage, encode), marks for commits and changes of the
    plan, counters for memory and frames. A file that was not closed is readable as well. Times are
    microseconds since the trace started; `append` adds the run after what the file holds. `start`:
    when the run started (default: now), by `perf_counter`. Raises BadSetting if the file cannot be
    written.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int = MAX_BYTES,
        *,
        append: bool = False,
        start: float | None = None,
    ) -> None:
        check_replaceable(path, START, "a trace")
        try:
            self._pid, offset = _open_end(path) if append else (1, 0.0)
            self._file = path.open("a" if self._pid > 1 else "w", encoding="utf-8", newline="\n")
        except OSError as error:
            raise BadSetting(
                f"cannot write the trace {path}: {error.strerror}. Pass another file."
            ) from error
        self._lock = Lock()
        self._start = (perf_counter() if start is None else start) - offset / 1e6
        self._left, self._tracks = max_bytes, dict[str, int]()
        self._file.write("" if self._pid > 1 else START.decode())
        run = "filmgate" if self._pid == 1 else f"filmgate, run {self._pid}"
        self._write({"ph": "M", "name": "process_name", "args": {"name": run}})

    def add_span(self, name: str, start: float, end: float, part: str = "") -> None:
        """Add a period in which a part, or a phase of `part`, was busy.

        Times are those of `perf_counter`.
        """
        part = part or name
        track = self._tracks.get(part) or self._add_track(part)
        self._write({"ph": "X", "name": name, "tid": track, "ts": self._microseconds(start),
                     "dur": round((end - start) * 1e6, 1),
                     "args": {"thread": get_native_id()}})  # fmt: skip

    def add_level(self, queue: str, size_bytes: int) -> None:
        """Add the bytes that are in a queue now."""
        self.add_values(f"after {queue}, MB", {"held": size_bytes / 1e6})

    def add_event(self, event: Event) -> None:
        """Add an event of the run as a mark or as values."""
        if isinstance(event, Progress):
            self.add_values("memory MB", {"resident": event.resident_bytes / 1e6})
            self.add_values("frames", {"read": event.read, "written": event.written})
        elif isinstance(event, Committed):
            self.add_mark(f"committed {event.snapshot.segment}")
        elif isinstance(event, Replanned):
            self.add_mark(f"replanned: {event.stage} takes {event.batch} at a time")
        elif isinstance(event, Warned | Died):
            self.add_mark(event.message)
        elif isinstance(event, Done):
            self.add_mark("done")

    def add_mark(self, name: str) -> None:
        """Add a mark at this moment."""
        now = self._microseconds(perf_counter())
        self._write({"ph": "i", "name": name, "s": "g", "tid": 0, "ts": now})

    def add_values(self, name: str, values: Mapping[str, float]) -> None:
        """Add the values of a counter at this moment."""
        now = self._microseconds(perf_counter())
        self._write({"ph": "C", "name": name, "ts": now, "args": values})

    def close(self) -> None:
        """Complete the file."""
        with self._lock, suppress(OSError):
            self._file.write("{}]\n")
            self._file.close()

    def __enter__(self) -> "Trace":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _add_track(self, name: str) -> int:
        with self._lock:
            track = self._tracks.setdefault(name, len(self._tracks) + 1)
        for key, value in (("name", name), ("sort_index", track)):
            self._write({"ph": "M", "name": f"thread_{key}", "tid": track, "args": {key: value}})
        return track

    def _write(self, entry: dict[str, object]) -> None:
        line = json.dumps({"pid": self._pid, **entry}) + ",\n"
        with self._lock:
            full = self._left <= len(line)
            if self._file.closed or (full and not self._left):
                return
            if full:  # written once, then nothing more
                line = '{"pid": 1, "ph": "i", "name": "the trace is full", "s": "g", "ts": 0},\n'
            self._left = 0 if full else self._left - len(line)
            try:
                self._file.write(line)
            except OSError:  # a full disk ends the trace, not the run
                self._left = 0

    def _microseconds(self, at: float) -> float:
        return round((at - self._start) * 1e6, 1)


def _open_end(path: Path) -> tuple[int, float]:
    """Remove the end of a trace; return the number of the run to append, and when it starts.

    (1, 0.0) if the file is not a trace of ours.
    """
    if not path.is_file():
        return 1, 0.0
    with path.open("r+b") as file:
        if file.read(len(START)) != START:
            return 1, 0.0
        start = max(2, file.seek(0, os.SEEK_END) - TAIL_BYTES)
        file.seek(start)
        tail = file.read()
        end = tail.rfind(b",\n") + 2  # what follows closes the trace, or is half a line
        file.truncate(start + end if end > 1 else 2)
    runs, times = [1], [0.0]
    for line in tail[: max(0, end)].decode(errors="replace").split(",\n"):
        with suppress(ValueError):  # the first line may be incomplete
            entry = json.loads(line)
            runs.append(entry["pid"])
            times.append(entry.get("ts", 0.0) + entry.get("dur", 0.0))
    return (max(runs) + 1, max(times)) if end > 1 else (1, 0.0)


def explain_bottleneck(done: Done) -> str:
    """Return which part a run waited for, and what would make it faster.

    Three parts work at the same time: decode, the stages (one after the other), encode.
    """
    if not done.busy or not done.seconds:
        return ""
    stages = {part: s for part, s in done.busy.items() if part not in ("decode", "encode")}
    threads = {part: s for part, s in done.busy.items() if part not in stages}
    compute = sum(stages.values()) / done.seconds
    name = max(threads, key=lambda part: threads[part], default="")
    share = threads.get(name, 0.0) / done.seconds
    idle = f", the stages were idle {max(0.0, 1 - compute):.0%}" if stages else ""
    if max(share, compute) < 0.5:
        return (
            f"no part was busy more than {max(share, compute):.0%} of the time: they waited for "
            "the disk, or for other programs"
        )
    if compute >= share:
        name = max(stages, key=lambda part: stages[part])
        share, idle = stages[name] / done.seconds, ""
        advice = "a faster machine would help"
    elif name == "encode":
        advice = "a faster --preset, or --codec ffv1 for a larger file, would help"
    else:
        advice = "a video that is easier to decode, or more --threads, would help"
    return f"{name} was busy {min(share, 1.0):.0%} of the time{idle}: {advice}"
