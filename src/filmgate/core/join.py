"""Put a window of a second stream on each frame of a source, by time."""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol, runtime_checkable

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.job import Source, SourceFile
from filmgate.core.snapshot import Cursor
from filmgate.core.source_metadata import SourceMetadata


@dataclass(frozen=True, slots=True)
class Join:
    """A second stream, and which of its frames each frame of the source gets.

    A frame shown from t to t + d gets all frames of `source` that are shown at some time within
    [t - before, t + d + after), in order, as a tuple of Frames under the extra `key`
    ("family.name"). `before` and `after` are seconds. Both streams count time from their first
    frame. Memory is bounded by the window, whatever the length of the stream.
    """

    key: str
    source: SourceFile
    before: Fraction = Fraction(0)
    after: Fraction = Fraction(0)


@runtime_checkable
class JoiningTask(Protocol):
    """A task with second inputs: each frame of its source comes with windows of them."""

    def joins(self) -> Sequence[Join]:
        """Return which streams are joined to the source's frames, and how."""
        ...


@contextmanager
def open_joined(
    source: AbstractContextManager[Source], joins: Sequence[Join], threads: int | None = None
) -> Iterator[Source]:
    """Open the second streams next to a source; the result reads as one source.

    Raises UserError if one of the streams cannot be opened.
    """
    with ExitStack() as stack:
        first = stack.enter_context(source)
        others = [stack.enter_context(join.source.open(threads)) for join in joins]
        yield JoinedSource(first, tuple(zip(joins, others, strict=True))) if joins else first


@dataclass(frozen=True, slots=True)
class JoinedSource:
    """A source whose frames carry windows of other streams. Its cursor holds theirs."""

    source: Source
    others: tuple[tuple[Join, Source], ...]

    @property
    def spec(self) -> StreamSpec:
        """The first stream's: size, rate and number of frames are not changed."""
        return self.source.spec

    @property
    def metadata(self) -> SourceMetadata:
        """The first stream's."""
        return self.source.metadata

    def read(
        self, cursor: Cursor | None, size: int
    ) -> Generator[tuple[list[Frame], Cursor], None, None]:
        """See `Source.read`."""
        starts = cursor.joined if cursor else ()
        own = replace(cursor, joined=()) if cursor else None
        with ExitStack() as stack:
            windows = [
                _Window(join, stack.enter_context(closing(_read_singly(other, start))), start)
                for (join, other), start in zip(
                    self.others, starts or (Cursor(0, 0),) * len(self.others), strict=True
                )
            ]
            for frames, after in self.source.read(own, size):
                joined = [_add_windows(frame, windows) for frame in frames]
                yield joined, replace(after, joined=tuple(window.cursor for window in windows))


def _read_singly(source: Source, start: Cursor) -> Generator[tuple[Frame, Cursor], None, None]:
    """Yield each frame with the cursor from which reading begins with it."""
    before = start
    for frames, after in source.read(start if start.index else None, 1):
        for frame in frames:
            yield frame, before
        before = after


def _add_windows(frame: Frame, windows: Sequence["_Window"]) -> Frame:
    return frame.with_extras(**{window.join.key: window.slide(frame) for window in windows})


class _Window:
    """The frames of one stream that the current frame of the source needs."""

    def __init__(self, join: Join, frames: Iterator[tuple[Frame, Cursor]], start: Cursor) -> None:
        self.join, self._frames, self._last = join, frames, start
        self._held: deque[tuple[Frame, Cursor]] = deque()

    @property
    def cursor(self) -> Cursor:
        """Where reading must begin so that the next window is complete."""
        return self._held[0][1] if self._held else self._last

    def slide(self, frame: Frame) -> tuple[Frame, ...]:
        """Return the window of a frame; frames come in order of time."""
        start, end = frame.time - self.join.before, frame.end + self.join.after
        while not self._held or self._held[-1][0].time < end:
            following = next(self._frames, None)
            if following is None:
                break
            self._held.append(following)
            self._last = following[1]
        while self._held and self._held[0][0].end <= start:
            self._held.popleft()
        return tuple(held for held, _ in self._held if held.time < end)
