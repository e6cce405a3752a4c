"""All that a run needs to resume: the source position, the chain's state, the segment number."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from filmgate.core.chain import ChainState
from filmgate.core.frame import Position


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a source resumes: the next frame's index, and its `pts` in the stream's ticks.

    `concealed`: damage before it was concealed, so the source must be read from its start to give
    the same frames. `joined`: the cursors of second streams that are read next to it.
    """

    index: int
    pts: int
    concealed: bool = False
    joined: tuple["Cursor", ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A point to resume from; every output frame before it is written.

    `state` is the chain's, None at the end of the video. `due` is the position that the next
    output frame must have (empty before the first). `segment` counts earlier commits, `concealed`
    the replacement frames in the source so far.
    """

    cursor: Cursor
    state: ChainState | None
    due: tuple[Position, ...]
    segment: int
    concealed: int = 0

    @property
    def written(self) -> int:
        """The number of output frames before it."""
        return self.due[0].index if self.due else 0


@dataclass(frozen=True, slots=True)
class Commit:
    """A snapshot with plain values that describe the files written before it."""

    snapshot: Snapshot
    pieces: tuple[Any, ...] = ()


class CheckpointStore(Protocol):
    """Where commits outlive the process: a sink writes its files there and lists earlier ones."""

    @property
    def path(self) -> Path:
        """The folder for segments, and for the result until it gets its final name."""
        ...

    @property
    def playable(self) -> bool:
        """Whether a playable video of what is done so far should be kept there."""
        ...

    def choose(self, verify: Callable[[tuple[Any, ...]], None]) -> Commit | None:
        """Return the latest commit that is intact; None: start at the beginning.

        `verify` is called with the `pieces` of a commit, and raises FilmgateError if one of their
        files is missing or damaged.
        """
        ...

    def commits(self) -> Iterator[Commit]:
        """Yield earlier commits, the latest first, without their files being verified."""
        ...

    def save(self, commit: Commit) -> None:
        """Store a commit durably. Its files must be durable already. Raises FilmgateError."""
        ...

    def mark_complete(self, part: Path) -> None:
        """Record that `part` is the complete, durable result and only needs its final name."""
        ...
