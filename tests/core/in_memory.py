"""A source and a sink in memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from filmgate.core.chain import Chain
from filmgate.core.events import Event
from filmgate.core.frame import Frame
from filmgate.core.plan import Plan
from filmgate.core.run import run
from filmgate.core.snapshot import Cursor, Snapshot
from filmgate.core.source_metadata import SourceMetadata
from filmgate.testing.sample_video import SampleVideo


def do_nothing(_: object) -> None:
    """The default callback."""


@dataclass
class MemorySource:
    """An open source; `before` is called with the index of each chunk's first frame."""

    video: SampleVideo
    before: Callable[[int], None] = do_nothing
    closed: bool = False
    metadata: SourceMetadata = SourceMetadata()

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
class MemorySink:
    """An open sink; `commits` holds the number of frames before each snapshot, and the snapshot."""

    before: Callable[[Sequence[Frame]], None] = do_nothing
    dropped: tuple[str, ...] = ()
    frames: list[Frame] = field(default_factory=list)
    commits: list[tuple[int, Snapshot]] = field(default_factory=list)

    def write(self, frames: Sequence[Frame]) -> None:
        self.before(frames)
        self.frames += frames

    def commit(self, snapshot: Snapshot) -> None:
        self.commits.append((len(self.frames), snapshot))


def run_in_memory(
    video: SampleVideo, chain: Chain, plan: Plan, resume: Snapshot | None = None
) -> tuple[MemorySink, list[Event]]:
    """Run a video through a chain; return the sink and the events."""
    sink = MemorySink()
    return sink, list(run(MemorySource(video), chain, sink, plan, resume))
