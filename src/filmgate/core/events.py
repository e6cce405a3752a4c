"""What a run says: the only thing that passes between places. Every field is plain."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from filmgate.core.frame import StreamSpec
from filmgate.core.plan import Plan
from filmgate.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Started:
    """The film is open: what goes in, what comes out, which stages lie between, by which plan.

    `read`: source frames that an earlier run had done; this one goes on from there.
    """

    source: StreamSpec
    result: StreamSpec
    stages: tuple[str, ...]
    plan: Plan = field(default_factory=Plan)
    read: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is. `time`: the source's film time it has reached. `busy`: seconds, by part."""

    read: int  # source frames that went through the chain
    written: int  # result frames that went to the encoder
    time: Fraction
    seconds: float  # since the run began, wall
    resident_bytes: int
    busy: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Committed:
    """Everything before the snapshot is written."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Replanned:
    """From source frame `index` on, stage `stage` gets `batch` frames at a time; `why` says why."""

    index: int
    stage: str
    batch: int
    why: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something a person should know; the run goes on."""

    message: str


@dataclass(frozen=True, slots=True)
class CrashReport:
    """How a worker process died, and what it had said before."""

    cause: str  # the signal's name, "exit code 9", or why it was killed
    read: int  # source frames that had gone through the chain
    time: Fraction  # the source's film time it had reached
    segment: int  # committed so far
    lines: tuple[str, ...] = ()  # the last of its standard error
    stack: str = ""  # of each of its threads, where it could still be had
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Died:
    """The run broke: the error's name, its message, and the source frame it had reached.

    `crash` if a process died of it; then the run may go on in another, from the last commit.
    """

    error: str
    message: str
    read: int
    crash: CrashReport | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The film is whole: frames in and out, wall seconds, and where they went.

    `concealed` source frames stood in for damaged ones.
    """

    read: int
    written: int
    seconds: float
    busy: Mapping[str, float] = field(default_factory=dict)
    concealed: int = 0

    @property
    def overlap(self) -> float:
        """Wall over the busiest part: 1.0 is as fast as the slowest part allows."""
        return self.seconds / max(self.busy.values(), default=self.seconds or 1.0)


Event = Started | Progress | Committed | Replanned | Warned | Died | Done
