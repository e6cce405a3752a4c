"""A source and a sink in memory, the size of a sentence each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from filmgate.core.chain import Chain
from filmgate.core.events import Event
from filmgate.core.frame import Frame
from filmgate.core.plan import Plan
from filmgate.core.run import run
from filmgate.core.snapshot import Cursor, Snapshot
from filmgate.testing.laws import SampleVideo


def nothing(_: object) -> None:
    """Where a test wants nothing to happen."""


@dataclass
class Reel:
    """An opened film from memory; `before` is told the number of each chunk's first frame."""

    video: SampleVideo
    before: Callable[[int], None] = nothing
    closed: bool = False

    def __post_init__(self) -> None:
        self.spec = self.video.spec

    def read(self, cursor: Cursor | None, size: int) -> Iterator[tuple[list[Frame], Cursor]]:
        index = cursor.index if cursor else 0
        try:
            while index < len(self.video.frames):
                self.before(index)
                stop = min(len(self.video.frames), index - index % size + size)
                yield list(self.video.frames[index:stop]), Cursor(stop, 10 * stop)
                index = stop
        finally:
            self.closed = True


@dataclass
class WeightsStore:
    """A result in memory; `commits` says how many frames lay before each snapshot."""

    before: Callable[[Sequence[Frame]], None] = nothing
    dropped: tuple[str, ...] = ()
    frames: list[Frame] = field(default_factory=list)
    commits: list[tuple[int, Snapshot]] = field(default_factory=list)

    def write(self, frames: Sequence[Frame]) -> None:
        self.before(frames)
        self.frames += frames

    def commit(self, snapshot: Snapshot) -> None:
        self.commits.append((len(self.frames), snapshot))


def shelved(
    video: SampleVideo, chain: Chain, plan: Plan, resume: Snapshot | None = None
) -> tuple[WeightsStore, list[Event]]:
    """The result of a whole run, and what the run said."""
    shelf = WeightsStore()
    return shelf, list(run(Reel(video), chain, shelf, plan, resume))
