"""All that a run needs to resume: the source position, the chain's state, the segment number."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from filmgate.core.chain import ChainState
from filmgate.core.frame import Frame, Position


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
    the replacement frames in the source so far, `moves` the calls after the last source frame.
    """

    cursor: Cursor
    state: ChainState | None
    due: tuple[Position, ...]
    segment: int
    concealed: int = 0
    moves: int = 0

    @property
    def written(self) -> int:
        """The number of output frames before it."""
        return self.due[0].index if self.due else 0


@dataclass(frozen=True, slots=True)
class Commit:
    """A snapshot with plain values that describe the files written before it, by output."""

    snapshot: Snapshot
    pieces: tuple[Any, ...] = ()


class Journal(Protocol):
    """Where a slow run stores its frames between two commits, with the state after them.

    A segment ends where the plan says, since its encoder cannot be stored; frames can.
    """

    interval_s: float
    """Seconds between two stored states."""

    def restore(self, base: Snapshot | None, segment_frames: int) -> Snapshot | None:
        """Begin after the commit `base`; return the later point up to which frames are stored."""
        ...

    def read_frames(self) -> Iterator[list[Frame]]:
        """Yield the frames up to the restored point."""
        ...

    def write(self, frames: Sequence[Frame], read: int) -> None:
        """Store frames that went to the sink; `read`: the source frames before them."""
        ...

    def save(self, snapshot: Snapshot, *, is_prepared: bool = False) -> bool:
        """Make the frames so far and the state after them durable; return whether they are.

        With `is_prepared` there are none: the state is before the next frame, and it stays until
        the next commit, whatever happens to the frames.
        """
        ...

    def commit(self, snapshot: Snapshot) -> None:
        """Forget the frames before a commit."""
        ...


class CheckpointStore(Protocol):
    """Where commits outlive the process: a sink writes its files there and lists earlier ones."""

    @property
    def path(self) -> Path:
        """The folder for segments, and for results until they get their names."""
        ...

    @property
    def playable(self) -> bool:
        """Whether a playable video of what is done so far should be kept there."""
        ...

    def choose(self, verify: Callable[[tuple[Any, ...]], None]) -> Commit | None:
        """Return the latest commit that is intact; None: start at the beginning.

        `verify` is called with the `pieces` of a commit, and raises FilmgateError if one of its
        files is missing or damaged.
        """
        ...

    def commits(self) -> Iterator[Commit]:
        """Yield earlier commits, the latest first, without their files being verified."""
        ...

    def save(self, commit: Commit) -> None:
        """Store a commit durably. Its files must be durable already. Raises FilmgateError."""
        ...

    def mark_complete(
        self, parts: Sequence[Path | None], dropped: Sequence[str], *, is_complete: bool
    ) -> None:
        """Record that the result of every output is complete and durable.

        `parts` are their hidden files, which only need their names; None: it has its name. A run
        that only gives them their names reports `dropped` and `is_complete` as this one does.
        """
        ...
