"""A run drawn: a lane for each part, marks and curves, in a file for ui.perfetto.dev."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock, get_native_id
from time import perf_counter
from types import TracebackType

from filmgate.core.events import Committed, Died, Done, Event, Progress, Replanned, Warned
from filmgate.errors import BadSetting

LARGEST = 512 << 20  # bytes of a trace; no viewer opens a larger one
TAIL = 1 << 16  # bytes of a trace that tell when it ended


class Trace:
    """A file in Chrome's trace-event format, for ui.perfetto.dev: written as it happens.

    A lane for each part (decode, every stage, encode), marks where something was committed or
    planned anew, curves of memory and frames. A file that was not closed can be read all the same.
    Times are microseconds since the trace began; one that `goes_on` is drawn behind what the file
    holds of the run before. Raises BadSetting if there can be no such file.
    """

    def __init__(self, path: Path, largest_bytes: int = LARGEST, *, goes_on: bool = False) -> None:
        try:
            self._pid, shift = _cut(path) if goes_on else (1, 0.0)
            self._file = path.open("a" if self._pid > 1 else "w")
        except OSError as error:
            raise BadSetting(f"the trace {path} can't be written: {error.strerror}; name another "
                             "file with --trace") from error  # fmt: skip
        self._lock, self._began = Lock(), perf_counter() - shift / 1e6
        self._left, self._lanes = largest_bytes, dict[str, int]()
        self._file.write("" if self._pid > 1 else "[\n")
        run = "filmgate" if self._pid == 1 else f"filmgate, run {self._pid}"
        self._put({"ph": "M", "name": "process_name", "args": {"name": run}})

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
        line = json.dumps({"pid": self._pid, **entry}) + ",\n"
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


def _cut(path: Path) -> tuple[int, float]:
    """Cuts off how a trace ends: the number of the run to be drawn behind it, and when it begins.

    1 and 0 where there is no trace of ours.
    """
    if not path.is_file():
        return 1, 0.0
    with path.open("r+b") as file:
        if file.read(2) != b"[\n":
            return 1, 0.0
        begin = max(2, file.seek(0, os.SEEK_END) - TAIL)
        file.seek(begin)
        tail = file.read()
        end = tail.rfind(b",\n") + 2  # behind it only what closes a trace, or half a line
        file.truncate(begin + end if end > 1 else 2)
    runs, times = [1], [0.0]
    for line in tail[: max(0, end)].decode(errors="replace").split(",\n"):
        with suppress(ValueError):  # the first may be cut
            entry = json.loads(line)
            runs.append(entry["pid"])
            times.append(entry.get("ts", 0.0) + entry.get("dur", 0.0))
    return (max(runs) + 1, max(times)) if end > 1 else (1, 0.0)


def bottleneck(done: Done) -> str:
    """Which part a run waited for, in words, and what would relieve it.

    There are three that work at the same time: decode, the stages (one after the other), encode.
    """
    if not done.busy or not done.seconds:
        return ""
    stages = {part: s for part, s in done.busy.items() if part not in ("decode", "encode")}
    threads = {part: s for part, s in done.busy.items() if part not in stages}
    compute = sum(stages.values()) / done.seconds
    name = max(threads, key=lambda part: threads[part], default="")
    share = threads.get(name, 0.0) / done.seconds
    idle = f", the stages stood idle {max(0.0, 1 - compute):.0%}" if stages else ""
    if max(share, compute) < 0.5:
        return (
            f"no part was busy more than {max(share, compute):.0%} of the time: they waited for "
            "the disk, or for other programs"
        )
    if compute >= share:
        name = max(stages, key=lambda part: stages[part])
        share, idle = stages[name] / done.seconds, ""
        cure = f"a faster machine, or lighter settings of {name}, would help"
    elif name == "encode":
        cure = "a quicker --preset, or --codec ffv1 for a larger file, would help"
    else:
        cure = "a film that is easier to decode, or more --threads, would help"
    return f"{name} was busy {min(share, 1.0):.0%} of the time{idle}: {cure}"
