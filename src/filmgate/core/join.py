"""Put a window of a second stream on each frame of a source, by time."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Protocol, runtime_checkable

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.job import Source, SourceFile, SourceWrapper
from filmgate.core.snapshot import Cursor
from filmgate.core.source_metadata import SourceMetadata

SOURCE = "source.index"  # int; which frame of the source it is, if that is not its own index


@dataclass(frozen=True, slots=True)
class Join:
    """A second stream, and which of its frames each frame of the source gets.

    A frame shown from t to t + d gets all frames of `source` shown within [t - before, t + d +
    after) seconds, in order, as a tuple under the extra `key` ("family.name"): a bounded window.
    Time counts from the first frames, that of `source` from the other's `begin` on. `audio` is a
    file whose audio the result gets in place of the source's. The source is read up to `end` (None:
    to its end), backwards and forwards again if it is shorter, or from `turn` seconds on.
    """

    key: str
    source: SourceFile
    before: Fraction = Fraction(0)
    after: Fraction = Fraction(0)
    audio: Path | None = None
    end: Fraction | None = None
    begin: Fraction = Fraction(0)
    turn: Fraction | None = None


@runtime_checkable
class JoiningTask(Protocol):
    """A task with second inputs: each frame of its source comes with windows of them."""

    def joins(self) -> Sequence[Join]:
        """Return which streams are joined to the source's frames, and how."""
        ...


def replaces_audio(tasks: Iterable[object]) -> bool:
    """Return whether one of the tasks puts other audio in place of the source's."""
    return any(join.audio for task in tasks if isinstance(task, JoiningTask)
               for join in task.joins())  # fmt: skip


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
        """The first stream's; the number of frames is that up to the end of the joins."""
        spec, end = self.source.spec, self._end
        if end is None or spec.rate is None:
            return spec
        return replace(spec, frames=ceil(end * spec.rate))

    @property
    def _end(self) -> Fraction | None:
        return min((join.end for join, _ in self.others if join.end is not None), default=None)

    @property
    def metadata(self) -> SourceMetadata:
        """The first stream's, starting at 0 with the audio of another file if a join has some."""
        audio = next((join.audio for join, _ in self.others if join.audio), None)
        own = self.source.metadata
        return replace(own, audio=audio, trimmed=True) if audio else own

    def read(
        self, cursor: Cursor | None, size: int
    ) -> Generator[tuple[list[Frame], Cursor], None, None]:
        """See `Source.read`."""
        starts = cursor.joined if cursor else ()
        own = replace(cursor, joined=()) if cursor else None
        end, turn = self._end, next((join.turn for join, _ in self.others if join.turn), None)
        source = self.source if turn is None else _ShortSource(self.source, turn)
        with ExitStack() as stack:
            windows = [
                _Window(join, stack.enter_context(closing(_read_singly(other, start))), start)
                for (join, other), start in zip(
                    self.others, starts or (Cursor(0, 0),) * len(self.others), strict=True
                )
            ]
            chunks = source.read(own, size) if end is None else repeat(source, own, size)
            for frames, after in chunks:
                frames = [frame for frame in frames if end is None or frame.time < end]
                if not frames:
                    return
                joined = [_add_windows(frame, windows) for frame in frames]
                yield joined, replace(after, joined=tuple(window.cursor for window in windows))


# --- back and forth -------------------------------------------------------------------------------

_BLOCK = 32  # frames that are held to be read backwards
_LATER = -(1 << 62)  # the pts of cursors after the first pass, which are found by their index


@dataclass(slots=True)
class _ShortSource(SourceWrapper):
    """A source up to `end` seconds."""

    end: Fraction

    def read(
        self, cursor: Cursor | None, size: int
    ) -> Generator[tuple[list[Frame], Cursor], None, None]:
        """See `Source.read`."""
        for frames, after in self.source.read(cursor, size):
            kept = [frame for frame in frames if frame.time < self.end]
            if not kept:
                return
            last = kept[-1]
            kept[-1] = replace(last, duration=min(last.duration, self.end - last.time))
            yield kept, replace(after, index=last.index + 1)
            if last.end >= self.end:
                return


def repeat(
    source: Source, cursor: Cursor | None, size: int
) -> Iterator[tuple[list[Frame], Cursor]]:
    """Yield the frames of a source, then backwards, then forwards and so on, without end.

    The frames at both ends are shown twice. Times and indexes continue. A pipe is read once. Chunks
    are those of `Source.read`; a cursor after the first pass costs reading the source once.
    """
    at, marks, length = cursor.index if cursor else 0, [Cursor(0, 0)], Fraction(0)
    if cursor is None or cursor.pts != _LATER:
        for frames, after in source.read(cursor, size):
            yield frames, after
            at, length = after.index, frames[-1].end
            if cursor is None and at - marks[-1].index >= _BLOCK:
                marks.append(after)
    metadata, count = source.metadata, at
    if metadata.path is None and not metadata.images:
        return
    if cursor is not None:
        marks, count, length = _measure(source)
    held: list[Frame] = []
    while count:
        for frame in _read_pass(source, marks, count, length, at):
            held.append(frame)
            at += 1
            if at % size == 0:
                yield held, Cursor(at, _LATER)
                held = []


def _measure(source: Source) -> tuple[list[Cursor], int, Fraction]:
    """Return a cursor every _BLOCK frames of a source, the number of frames, and its seconds."""
    marks, count, length = [Cursor(0, 0)], 0, Fraction(0)
    for frames, after in source.read(None, _BLOCK):
        marks.append(after)
        count, length = after.index, frames[-1].end
    return marks, count, length


def _read_pass(
    source: Source, marks: Sequence[Cursor], count: int, length: Fraction, at: int
) -> Iterator[Frame]:
    """Yield the frames from number `at` of all passes to the end of its pass."""
    number, done = divmod(at, count)
    start = number * length
    backwards = number % 2 == 1
    for k in reversed(range(len(marks))) if backwards else range(len(marks)):
        low = marks[k].index
        high = marks[k + 1].index if k + 1 < len(marks) else count
        if (count - low if backwards else high) <= done or low == high:
            continue
        block = _read_block(source, marks[k], high)
        for frame in reversed(block) if backwards else block:
            place = count - 1 - frame.index if backwards else frame.index
            if place >= done:
                time = start + (length - frame.end if backwards else frame.time)
                extras = {name: value for name, value in frame.extras.items() if name != "notice"}
                extras |= {SOURCE: frame.index}
                yield replace(frame, index=number * count + place, time=time, extras=extras)


def _read_block(source: Source, start: Cursor, end: int) -> list[Frame]:
    """Return the frames from a cursor up to index `end`."""
    block: list[Frame] = []
    for frames, after in source.read(start if start.index else None, _BLOCK):
        block += [frame for frame in frames if frame.index < end]
        if after.index >= end:
            break
    return block


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
        start = frame.time - self.join.begin - self.join.before
        end = frame.end - self.join.begin + self.join.after
        while not self._held or self._held[-1][0].time < end:
            following = next(self._frames, None)
            if following is None:
                break
            self._held.append(following)
            self._last = following[1]
        while self._held and self._held[0][0].end <= start:
            self._held.popleft()
        return tuple(held for held, _ in self._held if held.time < end)
