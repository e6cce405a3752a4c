"""Enough to go on: where to read next, what the chain remembers, which segment to write."""

from dataclasses import dataclass

from filmgate.core.chain import Links
from filmgate.core.frame import Position


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a source goes on: the number of the next frame and its `pts` in the stream's ticks."""

    index: int
    pts: int


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
