"""A window of a second stream on each frame: by time, resumable anywhere, bounded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction as F
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.join import Join, JoinedSource, open_joined
from filmgate.core.snapshot import Cursor
from filmgate.core.source_metadata import SourceMetadata
from filmgate.core.stage import AnyStage
from tests.cases import mark_slow_combinations

KEY = "test.other"


@dataclass(frozen=True)
class Counted:
    """A source of frames that last `length` seconds each; `reads` counts the frames it gave."""

    count: int
    length: F
    reads: list[int]

    @property
    def spec(self) -> StreamSpec:
        return StreamSpec(width=2, height=2, rate=1 / self.length, time_base=self.length,
                          pixels="gray", frames=self.count)  # fmt: skip

    @property
    def metadata(self) -> SourceMetadata:
        return SourceMetadata()

    def read(self, cursor: Cursor | None, size: int) -> Iterator[tuple[list[Frame], Cursor]]:
        at = cursor.index if cursor else 0
        while at < self.count:
            end = min(self.count, at - at % size + size)
            self.reads.append(end - at)
            frames = [Frame(n, n * self.length, self.length, n) for n in range(at, end)]
            yield frames, Cursor(end, end)
            at = end

    @contextmanager
    def open(self, threads: int | None = None) -> Iterator["Counted"]:
        yield self

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        return ()


def make_source(count: int, rate: F, others: Sequence[tuple[int, F, F, F]]) -> JoinedSource:
    joins = tuple(
        (Join(f"{KEY}{n}", Counted(many, 1 / fast, []), before, after), Counted(many, 1 / fast, []))
        for n, (many, fast, before, after) in enumerate(others)
    )
    return JoinedSource(Counted(count, 1 / rate, []), joins)


def windows(frames: Sequence[Frame]) -> list[list[tuple[int, ...]]]:
    return [
        [tuple(f.index for f in window) for window in frame.extras.values()]  # type: ignore[attr-defined]
        for frame in frames
    ]


def read_all(source: JoinedSource, cursor: Cursor | None = None, size: int = 2) -> list[Frame]:
    return [frame for frames, _ in source.read(cursor, size) for frame in frames]


def test_each_frame_gets_what_is_shown_during_it() -> None:
    frames = read_all(make_source(4, F(1), [(10, F(2), F(0), F(0)), (2, F(1, 2), F(0), F(0))]))
    assert windows(frames) == [[(0, 1), (0,)], [(2, 3), (0,)], [(4, 5), (1,)], [(6, 7), (1,)]]


def test_a_window_reaches_back_and_ahead() -> None:
    frames = read_all(make_source(4, F(1), [(4, F(1), F(1), F(3, 2))]))
    assert windows(frames) == [[(0, 1, 2)], [(0, 1, 2, 3)], [(1, 2, 3)], [(2, 3)]]


def test_a_stream_that_ends_early_gives_empty_windows() -> None:
    frames = read_all(make_source(4, F(1), [(2, F(1), F(0), F(0))]))
    assert windows(frames) == [[(0,)], [(1,)], [()], [()]]


rates = st.sampled_from([F(1), F(25), F(30000, 1001), F(48000, 1024), F(1, 3)])
others = st.tuples(st.integers(0, 40), rates, st.fractions(0, 2), st.fractions(0, 2))


@given(st.integers(1, 20), rates, st.lists(others, min_size=1, max_size=2), st.integers(1, 4))
def test_resumed_at_any_cursor_the_windows_are_the_same(
    count: int, rate: F, sides: list[tuple[int, F, F, F]], size: int
) -> None:
    source = make_source(count, rate, sides)
    frames = read_all(source, None, size)
    for _, cursor in source.read(None, size):
        rest = frames[cursor.index :]
        assert read_all(source, cursor, size) == rest


def test_memory_is_bounded_by_the_window() -> None:
    other = Counted(10_000, F(1, 100), [])
    source = JoinedSource(Counted(1000, F(1, 10), []), ((Join(KEY, other), other),))
    for frames, cursor in source.read(None, 1):
        assert len(windows(frames)[0][0]) == 10
        ahead = sum(other.reads) - 10 * (frames[0].index + 1)
        assert ahead <= 1, "it reads no further than one frame past the window"
        assert cursor.joined[0].index >= 10 * frames[0].index


def test_without_second_streams_the_source_is_opened_as_it_is() -> None:
    source = Counted(3, F(1), [])
    with open_joined(source.open(), ()) as opened:
        assert opened is source
    with open_joined(source.open(), (Join(KEY, source),)) as opened:
        assert opened.spec == source.spec
        assert windows([f for frames, _ in opened.read(None, 3) for f in frames]) == [
            [(0,)], [(1,)], [(2,)],
        ]  # fmt: skip


def test_a_key_without_a_family_is_refused() -> None:
    source = Counted(1, F(1), [])
    with pytest.raises(KeyError, match="family"):
        read_all(JoinedSource(source, ((Join("other", source), source),)))


@dataclass(frozen=True)
class Reread(Counted):
    """A source of a file."""

    @property
    def metadata(self) -> SourceMetadata:
        return SourceMetadata(path=Path("file"))


def list_back_and_forth(count: int, total: int) -> list[int]:
    """Return which frame of the source each frame is."""
    passes = [*range(count), *reversed(range(count))]
    return [passes[n % (2 * count)] for n in range(total)]


@pytest.mark.parametrize(
    ("count", "size"),
    mark_slow_combinations(
        [(1, 4), (5, 16), (31, 1), (32, 4), (33, 4), (70, 16)], [1, 5, 31, 32, 33, 70], [1, 4, 16]
    ),
)
def test_a_source_that_is_too_short_runs_back_and_forth(count: int, size: int) -> None:
    total = 3 * count + 7
    join = Join(KEY, Counted(9, F(1), []), end=F(total, 25))
    source = JoinedSource(Reread(count, F(1, 25), []), ((join, Counted(9, F(1), [])),))
    assert source.spec.frames == total
    read, starts = list[Frame](), [None, *(after for _, after in source.read(None, size))]
    for frames, _ in source.read(None, size):
        read += frames
    assert [frame.image for frame in read] == list_back_and_forth(count, total)
    assert [(frame.index, frame.time) for frame in read] == [(n, F(n, 25)) for n in range(total)]
    again = starts[:: max(1, len(starts) // 6)]  # resumed anywhere
    for cursor in again:
        at = cursor.index if cursor else 0
        rest = [frame for frames, _ in source.read(cursor, size) for frame in frames]
        assert [frame.image for frame in rest] == [frame.image for frame in read[at:]]
        assert [frame.time for frame in rest] == [frame.time for frame in read[at:]]


@pytest.mark.parametrize("turn", [F(1, 25), F(7, 25), F(15, 50), F(40, 25), F(90, 25)])
def test_a_source_turns_back_at_the_turn(turn: F) -> None:
    """A frame that is cut short there is shown for as long in both directions."""
    count, total = 40, 103
    join = Join(KEY, Counted(9, F(1), []), end=F(total, 25), turn=turn)
    source = JoinedSource(Reread(count, F(1, 25), []), ((join, Counted(9, F(1), [])),))
    read = read_all(source, size=4)
    limit = min(turn, F(count, 25))
    for frame in read:
        phase = (frame.time + frame.duration / 2) % (2 * limit)
        assert frame.image == int(min(phase, 2 * limit - phase) * 25)
    assert all(a.end == b.time for a, b in pairwise(read))
    for _, after in list(source.read(None, 4))[::5]:
        rest = read_all(source, after, 4)
        assert [(f.time, f.image) for f in rest] == [(f.time, f.image) for f in read[after.index :]]


def test_a_second_stream_starts_where_the_source_is_at_its_begin() -> None:
    second = Counted(9, F(1), [])
    join = Join(KEY, second, begin=F(2), end=F(5))
    source = JoinedSource(Reread(130, F(1, 25), []), ((join, second),))
    read = read_all(source)
    assert len(read) == 125
    assert windows(read)[:50] == [[()]] * 50
    assert windows(read)[50:] == [[(n // 25,)] for n in range(75)]


def test_a_pipe_that_is_too_short_ends() -> None:
    join = Join(KEY, Counted(9, F(1), []), end=F(1))
    source = JoinedSource(Counted(5, F(1, 25), []), ((join, Counted(9, F(1), [])),))
    assert sum(len(frames) for frames, _ in source.read(None, 4)) == 5
