"""The events of a run: all that passes between where it runs and who watches it. Plain values."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.plan import Plan
from filmgate.core.snapshot import Snapshot
from filmgate.core.stage import Preview

_MOST_REMARKS = 10  # of a kind
_MOST_KINDS = 100


@dataclass(frozen=True, slots=True)
class Started:
    """The source is open: the formats of input and output, the stages, and the plan.

    `read`: source frames done by an earlier run; this one resumes after them.
    """

    source: StreamSpec
    result: StreamSpec
    stages: tuple[str, ...]
    plan: Plan = field(default_factory=Plan)
    read: int = 0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A stage has made move `done` of `total` of its work before its next frame.

    `what` names such a move ("step"). `seconds`: wall time since the first of them began; `next_s`:
    predicted for the next one, 0 if unknown. `preview`: what its work looks like so far.
    """

    stage: str
    done: int
    total: int
    what: str
    seconds: float
    next_s: float = 0.0
    preview: Preview | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the run is. `time`: the source time it has reached. `busy`: seconds by part."""

    read: int  # source frames that went through the chain
    written: int  # result frames that went to the encoder
    time: Fraction
    seconds: float  # wall time since the start
    resident_bytes: int
    busy: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Committed:
    """Everything before the snapshot is written."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Replanned:
    """From source frame `index` on, `stage` gets `batch` frames at a time, because of `why`."""

    index: int
    stage: str
    batch: int
    why: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something the user should know; the run continues."""

    message: str


@dataclass(frozen=True, slots=True)
class CrashReport:
    """How a worker process ended, and what is known about it."""

    cause: str  # the signal's name, "exit code 9", or why it was killed
    read: int  # source frames that had gone through the chain
    time: Fraction  # the source time it had reached
    segment: int  # commits so far
    lines: tuple[str, ...] = ()  # the last of its standard error
    stack: str = ""  # of each of its threads, if available
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Died:
    """The run failed: the error's class name, its message, and the source frame reached.

    `crash` is set if a worker process died. `final`: the run is over, and no event follows; else
    another process continues it.
    """

    error: str
    message: str
    read: int
    crash: CrashReport | None = None
    final: bool = True


@dataclass(frozen=True, slots=True)
class Done:
    """The result is complete: frames in and out, wall seconds, and busy seconds by part.

    `concealed`: source frames that were damaged and replaced. `is_complete`: no parts of other
    streams, such as audio, were lost.
    """

    read: int
    written: int
    seconds: float
    busy: Mapping[str, float] = field(default_factory=dict)
    concealed: int = 0
    is_complete: bool = True

    @property
    def overlap(self) -> float:
        """Wall time over that of the busiest part: 1.0 is as fast as that part allows."""
        return self.seconds / max(self.busy.values(), default=self.seconds or 1.0)


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a run as a profile measured it, with all that is inside of it.

    `name`: the names of the phases around it, and its own. `cpu_seconds`: of its own thread.
    `to_device_bytes`, `from_device_bytes`: copied between host memory and devices. `host_bytes`,
    `device_bytes`: the most that the process and its tensors on devices held meanwhile.
    `predicted_s`: what the plan predicted for it, None if it predicted nothing.
    """

    name: tuple[str, ...]
    seconds: float
    cpu_seconds: float
    calls: int
    frames: int
    to_device_bytes: int = 0
    from_device_bytes: int = 0
    host_bytes: int = 0
    device_bytes: int = 0
    predicted_s: float | None = None


@dataclass(frozen=True, slots=True)
class Profiled:
    """The phases of the run in this process: all of it, or what came after source frame `first`.

    `seconds`, `cpu_seconds`: of the process since it got the job, all threads. `host_bytes`,
    `device_bytes`: the most that it held. `read`: source frames that it read. `final`: the run is
    complete; else it is what was measured so far, with the seconds of phases that are under way.
    """

    phases: tuple[Phase, ...]
    seconds: float
    cpu_seconds: float
    host_bytes: int
    device_bytes: int
    read: int
    first: int = 0
    final: bool = True


Event = Started | Prepared | Progress | Committed | Replanned | Warned | Died | Profiled | Done


class Remarks:
    """What stages say about frames of the result: the first 10 of a kind, then how many came after.

    Remarks that differ only in numbers are of one kind. It counts what one process sees: a resumed
    run counts again.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._last: dict[str, str] = {}  # the last one of each kind that was left out

    def report(self, frames: Sequence[Frame]) -> Iterator[Warned]:
        """Yield those of frames that leave."""
        for frame in frames:
            if "remark" in frame.extras:
                text = str(frame.extras["remark"])
                kind = re.sub(r"\d+", "#", text)
                if kind not in self._counts and len(self._counts) >= _MOST_KINDS:
                    kind = ""  # all others together
                count = self._counts[kind] = self._counts.get(kind, 0) + 1
                if count <= _MOST_REMARKS:
                    yield Warned(text)
                else:
                    self._last[kind] = text

    def finish(self) -> Iterator[Warned]:
        """Yield how many were left out, at the end of a run."""
        for kind, text in self._last.items():
            more = self._counts[kind] - _MOST_REMARKS
            yield Warned(f"{more} more like the {_MOST_REMARKS} before; the last: {text}")


def make_warnings(frames: Sequence[Frame], row: bool) -> Iterator[Warned]:
    """Yield what the source reports about frames; of concealed ones in a row, only the first.

    `row`: the frame before them was concealed.
    """
    for frame in frames:
        if "notice" in frame.extras:
            yield Warned(str(frame.extras["notice"]))
        if "concealed" in frame.extras and not row:
            yield Warned(str(frame.extras["concealed"]))
        row = "concealed" in frame.extras
