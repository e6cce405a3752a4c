"""Enough to go on: where to read next, what the chain remembers, which segment to write."""

from dataclasses import dataclass

from filmgate.core.chain import Links
from filmgate.core.frame import Position


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a source goes on: the number of the next frame and its `pts` in the stream's ticks.

    `mended`: something before it was put right, so only reading from the beginning gives the same.
    """

    index: int
    pts: int
    mended: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A place to go on from; everything before it is written.

    `state` is the chain's; None: the film has ended. `due` is where the next frame out must stand
    (empty: none came out yet). `segment` counts what was committed before.
    """

    cursor: Cursor
    state: Links | None
    due: tuple[Position, ...]
    segment: int
