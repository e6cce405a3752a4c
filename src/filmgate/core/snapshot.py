"""Enough to go on: where to read next, what the chain remembers, which segment to write."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from filmgate.core.chain import ChainState
from filmgate.core.frame import Position


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a source goes on: the number of the next frame and its `pts` in the stream's ticks.

    `concealed`: damage before it was concealed, so only reading from the start gives the same.
    """

    index: int
    pts: int
    concealed: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A place to go on from; everything before it is written.

    `state` is the chain's; None: the film has ended. `due` is where the next frame out must stand
    (empty: none came out yet). `segment` counts what was committed before, `concealed` the source
    frames that stood in for damaged ones.
    """

    cursor: Cursor
    state: ChainState | None
    due: tuple[Position, ...]
    segment: int
    concealed: int = 0

    @property
    def written(self) -> int:
        """How many frames of the result lie before it."""
        return self.due[0].index if self.due else 0


@dataclass(frozen=True, slots=True)
class Commit:
    """A snapshot, and plain values for the files that hold what lies before it."""

    snapshot: Snapshot
    pieces: tuple[Any, ...] = ()


class CheckpointStore(Protocol):
    """Where commits outlive the process: a sink writes pieces there, and asks what was kept."""

    @property
    def path(self) -> Path:
        """A folder for pieces and for the result before it has its name."""
        ...

    @property
    def playable(self) -> bool:
        """Whether a film of what is done so far is wanted there."""
        ...

    def commits(self) -> Iterator[Commit]:
        """What was kept before, the latest first; torn ones are left out."""
        ...

    def keep(self, commit: Commit) -> None:
        """Makes it durable; its pieces are already. Raises FilmgateError."""
        ...

    def whole(self, part: Path) -> None:
        """Notes that the result is whole and durable as `part`, and only wants its name."""
        ...
