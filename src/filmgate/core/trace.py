"""A run drawn: a lane for each part, marks and curves, in a file for ui.perfetto.dev."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock, get_native_id
from time import perf_counter
from types import TracebackType

from filmgate.core.events import Committed, Died, Done, Event, Progress, Replanned, Warned

LARGEST = 512 << 20  # bytes of a trace; no viewer opens a larger one


class Trace:
    """A file in Chrome's trace-event format, for ui.perfetto.dev: written as it happens.

    A lane for each part (decode, every stage, encode), marks where something was committed or
    planned anew, curves of memory and frames. A file that was not closed can be read all the same.
    Times are microseconds since the trace began. Nothing is held in memory.
    """

    def __init__(self, path: Path, largest_bytes: int = LARGEST) -> None:
        self._file, self._lock, self._began = path.open("w"), Lock(), perf_counter()
        self._left, self._lanes = largest_bytes, dict[str, int]()
        self._file.write("[\n")
        self._put({"ph": "M", "name": "process_name", "args": {"name": "filmgate"}})

    def span(self, name: str, began: float, ended: float) -> None:
        """Something took from `began` to `ended`, both as `perf_counter` tells."""
        lane = self._lanes.get(name) or self._lane(name)
        self._put({"ph": "X", "name": name, "tid": lane, "ts": self._us(began),
                   "dur": round((ended - began) * 1e6, 1),
                   "args": {"thread": get_native_id()}})  # fmt: skip

    def level(self, queue: str, held_bytes: int) -> None:
        """How many bytes lie in a queue now."""
        self.count(f"after {queue}, MB", {"held": held_bytes / 1e6})

    def tell(self, event: Event) -> None:
        """Marks what a run says, and follows its memory and its frames."""
        if isinstance(event, Progress):
            self.count("memory MB", {"resident": event.resident_bytes / 1e6})
            self.count("frames", {"read": event.read, "written": event.written})
        elif isinstance(event, Committed):
            self.mark(f"committed {event.snapshot.segment}")
        elif isinstance(event, Replanned):
            self.mark(f"replanned: {event.stage} takes {event.batch} at a time")
        elif isinstance(event, Warned | Died):
            self.mark(event.message)
        elif isinstance(event, Done):
            self.mark("done")

    def mark(self, name: str) -> None:
        """Something happened now."""
        self._put({"ph": "i", "name": name, "s": "g", "tid": 0, "ts": self._us(perf_counter())})

    def count(self, name: str, values: Mapping[str, float]) -> None:
        """A curve's values now."""
        self._put({"ph": "C", "name": name, "ts": self._us(perf_counter()), "args": values})

    def close(self) -> None:
        """The file is whole."""
        with self._lock, suppress(OSError):
            self._file.write("{}]\n")
            self._file.close()

    def __enter__(self) -> "Trace":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _lane(self, name: str) -> int:
        with self._lock:
            lane = self._lanes.setdefault(name, len(self._lanes) + 1)
        for key, value in (("name", name), ("sort_index", lane)):
            self._put({"ph": "M", "name": f"thread_{key}", "tid": lane, "args": {key: value}})
        return lane

    def _put(self, entry: dict[str, object]) -> None:
        line = json.dumps({"pid": 1, **entry}) + ",\n"
        with self._lock:
            full = self._left <= len(line)
            if self._file.closed or (full and not self._left):
                return
            if full:  # told once, and then no more
                line = '{"pid": 1, "ph": "i", "name": "the trace is full", "s": "g", "ts": 0},\n'
            self._left = 0 if full else self._left - len(line)
            try:
                self._file.write(line)
            except OSError:  # a full disk ends the trace, not the run
                self._left = 0

    def _us(self, at: float) -> float:
        return round((at - self._began) * 1e6, 1)


def bottleneck(done: Done) -> str:
    """Which part a run waited for, in words, and what would relieve it."""
    if not done.busy or not done.seconds:
        return ""
    name = max(done.busy, key=lambda part: done.busy[part])
    share = done.busy[name] / done.seconds
    compute = sum(s for part, s in done.busy.items() if part not in ("decode", "encode"))
    if share < 0.5 and compute / done.seconds < 0.7:
        return (
            f"no part was busy more than {share:.0%} of the time: they waited for the disk, or for "
            "other programs"
        )
    idle = f", the stages stood idle {max(0.0, 1 - compute / done.seconds):.0%}"
    if name == "encode":
        cure = "a quicker --preset, or --codec ffv1 for a larger file, would help"
    elif name == "decode":
        cure = "a film that is easier to decode, or more --threads, would help"
    else:
        cure, idle = f"a faster machine, or lighter settings of {name}, would help", ""
    return f"{name} was busy {min(share, 1.0):.0%} of the time{idle}: {cure}"
