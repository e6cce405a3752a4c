"""The loop: the film whole, in order, bounded, and over cleanly however it ends."""

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filmgate.core.adapters import each
from filmgate.core.chain import Chain
from filmgate.core.events import Committed, Done, Progress, Replanned, Started, Warned
from filmgate.core.frame import Frame
from filmgate.core.plan import Plan
from filmgate.core.run import frames as frames_of
from filmgate.core.run import run
from filmgate.core.serialization import dumps, loads
from filmgate.core.snapshot import Cursor
from filmgate.errors import BadSetting, OutOfMemory, StageContractError
from filmgate.testing.laws import SampleVideo, play, same
from tests.core.reel import Reel, WeightsStore, nothing, shelved
from tests.laws.synthetic import SPEC, STAGES, brighten, film_of, videos

SMALL = Plan(chunk=2, segment_frames=4, queue_bytes=1)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.parametrize("n", [0, 1, 2, 9])
def test_no_stages_is_the_identity(n: int) -> None:
    video = film_of([25] * n, 0)
    shelf, events = shelved(video, Chain(()), SMALL)
    assert shelf.frames == list(video.frames)
    assert (events[-1].read, events[-1].written) == (n, n)  # type: ignore[union-attr]


def test_events_come_in_order_and_tell_how_far_it_is() -> None:
    video = film_of([25] * 10, 0)
    _, events = shelved(video, Chain((each(brighten),)), SMALL)
    assert isinstance(events[0], Started)
    assert (events[0].source, events[0].stages, events[0].read) == (SPEC, ("brighten",), 0)
    assert isinstance(events[-1], Done)
    told = [event for event in events if isinstance(event, Progress)]
    assert [event.read for event in told] == sorted(event.read for event in told)
    assert (told[-1].read, told[-1].written, told[-1].time) == (10, 10, video.frames[-1].end)
    assert set(events[-1].busy) == {"decode", "brighten", "encode"}
    assert events[-1].overlap >= 1


@given(
    videos(),
    st.lists(st.sampled_from(sorted(STAGES)), max_size=3),
    st.sampled_from([1, 2, 8]),
    st.sampled_from([(1, 1), (2, 4), (3, 6), (4, 16)]),
)
def test_killed_at_any_snapshot_and_resumed_it_is_the_same_film(
    video: SampleVideo, names: list[str], batch: int, grid: tuple[int, int]
) -> None:
    chain = Chain(tuple(STAGES[name]() for name in names), (batch,) * len(names))
    plan = Plan(chunk=grid[0], segment_frames=grid[1], queue_bytes=1)
    whole, events = shelved(video, chain, plan)
    same(whole.frames, play(chain, video), "the loop")
    commits = [event.snapshot for event in events if isinstance(event, Committed)]
    assert commits == [snapshot for _, snapshot in whole.commits]
    assert [snapshot.segment for snapshot in commits] == list(range(1, len(commits) + 1))
    assert whole.commits[-1][0] == len(whole.frames)
    for covered, snapshot in whole.commits:
        rest, _ = shelved(video, chain, plan, loads(dumps(snapshot)))
        same(rest.frames, whole.frames[covered:], "resumed")


def test_out_of_memory_costs_one_step_and_is_told() -> None:
    def hungry(frames: Sequence[Frame]) -> Sequence[Frame]:
        if len(frames) > 2:
            raise MemoryError("2 fit")
        return brighten(frames)

    video, plan = film_of([25] * 21, 0), replace(SMALL, chunk=4)
    shelf, events = shelved(video, Chain((each(brighten), each(hungry)), (1, 8)), plan)
    same(shelf.frames, play(Chain((each(brighten), each(brighten))), video), "replanned")
    told = [event for event in events if isinstance(event, Replanned)]
    assert told == [Replanned(4, "hungry", 4, "2 fit"), Replanned(4, "hungry", 2, "2 fit")]


def test_a_stage_that_fits_in_no_batch_ends_the_run() -> None:
    def starve(frames: Sequence[Frame]) -> Sequence[Frame]:
        raise MemoryError("nothing fits")

    with pytest.raises(OutOfMemory, match="starve has no smaller batch"):
        shelved(film_of([25] * 9, 0), Chain((each(starve),), (4,)), SMALL)


def shortened(frames: Sequence[Frame]) -> list[Frame]:
    return [frame.made(frame.image, duration=frame.duration / 2) for frame in frames]


def test_a_hole_in_time_is_a_broken_stage() -> None:
    with pytest.raises(
        StageContractError, match="shortened gave frame 1 at 1/24 s where 1 at 1/48 s"
    ):
        shelved(film_of([25] * 3, 0), Chain((each(shortened),)), SMALL)


class Broke(Exception):
    pass


def breaks_at(index: int) -> Callable[[object], None]:
    def look(what: object) -> None:
        first = what[0].index if isinstance(what, list) else what
        if first == index:
            raise Broke

    return look


@pytest.mark.parametrize("place", ["source", "stage", "sink"])
@pytest.mark.parametrize("index", [0, 4])
def test_an_error_anywhere_ends_the_run_as_itself_and_closes_the_source(
    place: str, index: int
) -> None:
    def stage(frames: Sequence[Frame]) -> Sequence[Frame]:
        breaks_at(index if place == "stage" else -1)(list(frames))
        return frames

    reel = Reel(film_of([25] * 50, 0), breaks_at(index) if place == "source" else nothing)
    shelf = WeightsStore(breaks_at(index) if place == "sink" else nothing)
    with pytest.raises(Broke):
        list(run(reel, Chain((each(stage),)), shelf, SMALL))
    assert reel.closed
    assert len(shelf.frames) == index


def test_a_caller_who_leaves_early_leaves_nothing_running() -> None:
    reel = Reel(film_of([25] * 50, 0))
    events = run(reel, Chain((each(brighten),)), WeightsStore(), SMALL)
    while not isinstance(next(events), Committed):
        pass
    events.close()
    assert reel.closed


def test_frames_gives_the_same_film_and_may_be_left_early() -> None:
    video, chain = film_of([25] * 9, 0), Chain((STAGES["windowed, smooths"](),), (2,))
    same(list(frames_of(Reel(video), chain, SMALL)), play(chain, video), "frames")
    reel = Reel(video)
    some = frames_of(reel, chain, SMALL)
    next(some)
    some.close()
    assert reel.closed


@dataclass
class Heavy:
    """A long film whose pictures are counted while they live; `over` is set above `allowed`."""

    count: int
    allowed: int
    live: int = 0

    def __post_init__(self) -> None:
        self.spec, self.over, self.refs = SPEC, threading.Event(), list[object]()
        self.lock = threading.Lock()

    def read(self, cursor: Cursor | None, size: int) -> Iterator[tuple[list[Frame], Cursor]]:
        for i in range(self.count):
            yield [Frame(i, F(i, 24), F(1, 24), self.picture())], Cursor(i + 1, i)

    def picture(self) -> object:
        made = np.zeros(1000, np.uint8)
        self.refs.append(weakref.ref(made, self.gone))
        with self.lock:
            self.live += 1
            if self.live > self.allowed:
                self.over.set()
        return made

    def gone(self, _: object) -> None:
        with self.lock:
            self.live -= 1


# Beside what the two queues hold, a picture may be in the hands of: decode, which waits to put it
# down; compute, likewise, with the one it was made from; encode. Chunks are one frame long here.
IN_HAND = 5


@pytest.mark.parametrize("queue_frames", [1, 4])
def test_live_pictures_are_bounded_by_the_queues_with_a_slow_sink(queue_frames: int) -> None:
    heavy = Heavy(60, 2 * queue_frames + IN_HAND)
    waits = iter([0.0, 0.2])

    def slow(_: object) -> None:
        heavy.over.wait(next(waits, 0.0))  # time enough to run away in, were it free to

    plan = Plan(chunk=1, segment_frames=1000, queue_bytes=queue_frames * 1040)
    for event in run(heavy, Chain((each(brighter),)), Drain(slow), plan):
        assert not heavy.over.is_set(), f"{heavy.live} pictures live at {event}"


def brighter(frames: Sequence[Frame]) -> list[Frame]:
    return list(frames)


class Drain(WeightsStore):
    """A sink that keeps nothing."""

    def write(self, frames: Sequence[Frame]) -> None:
        self.before(frames)


def test_with_a_slow_source_what_is_ready_goes_out_at_once() -> None:
    """No frame waits for the next ones to be read: the source gives one when the last is out."""
    out = threading.Semaphore(1)

    def one_at_a_time(_: int) -> None:
        assert out.acquire(timeout=10), "the frame before never came out"

    reel = Reel(film_of([25] * 20, 0), one_at_a_time)
    shelf = WeightsStore(lambda _: out.release())
    list(run(reel, Chain((each(brighten),)), shelf, Plan(chunk=1, segment_frames=1)))
    assert len(shelf.frames) == 20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"chunk": 4, "segment_frames": 6}, "commits every 6 frames and moves 4 at a time"),
        ({"chunk": 0}, "moves 0 at a time"),
        ({"queue_bytes": 0}, "queue_bytes is 0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        Plan(**settings)  # type: ignore[arg-type]


def test_of_mended_frames_the_first_of_a_row_is_told_and_all_are_counted() -> None:
    video = film_of([25] * 9, 0)
    told = {
        2: {"noted": "odd"},
        3: {"concealed": "bad 3"},
        4: {"concealed": "bad 4"},
        7: {"concealed": "7"},
    }
    frames = tuple(f.learnt(**told.get(f.index, {})) for f in video.frames)
    _, events = shelved(replace(video, frames=frames), Chain(()), Plan(chunk=2, segment_frames=4))
    assert [e.message for e in events if isinstance(e, Warned)] == ["odd", "bad 3", "7"]
    assert isinstance(events[-1], Done)
    assert events[-1].concealed == 3
