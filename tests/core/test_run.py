"""The run loop: complete, in order, bounded in memory, and clean however it ends."""

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
from filmgate.core.events import Committed, Done, Progress, Remarks, Replanned, Started, Warned
from filmgate.core.frame import Frame
from filmgate.core.plan import Plan
from filmgate.core.run import iter_frames, run
from filmgate.core.serialization import dumps, loads
from filmgate.core.snapshot import Cursor
from filmgate.core.source_metadata import SourceMetadata
from filmgate.errors import BadSetting, OutOfMemory, StageContractError
from filmgate.testing.laws import assert_same_frames, run_chain
from filmgate.testing.sample_video import SampleVideo
from tests.core.in_memory import MemorySink, MemorySource, do_nothing, run_in_memory
from tests.laws.synthetic import SPEC, STAGES, brighten, make_video, videos

SMALL = Plan(chunk=2, segment_frames=4, queue_bytes=1)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.parametrize("n", [0, 1, 2, 9])
def test_no_stages_is_the_identity(n: int) -> None:
    video = make_video([25] * n, 0)
    sink, events = run_in_memory(video, Chain(()), SMALL)
    assert sink.frames == list(video.frames)
    assert (events[-1].read, events[-1].written) == (n, n)  # type: ignore[union-attr]


def test_remarks_of_stages_are_reported_when_their_frames_leave() -> None:
    def remark(frames: Sequence[Frame]) -> list[Frame]:
        return [f.with_remark(f"{f.index} is odd").with_remark("so") if f.index % 2 else f
                for f in frames]  # fmt: skip

    _, events = run_in_memory(make_video([25] * 4, 0), Chain((each(remark),)), SMALL)
    said = [event.message for event in events if isinstance(event, Warned)]
    assert said == ["1 is odd; so", "3 is odd; so"]


def test_only_the_first_remarks_of_a_kind_are_reported_and_then_how_many_came_after() -> None:
    """Such as of a chin that trembles around a limit."""

    def remark(frames: Sequence[Frame]) -> list[Frame]:
        return [f.with_remark(f"frame {f.index} is wide" if f.index % 20 else "once")
                for f in frames]  # fmt: skip

    _, events = run_in_memory(make_video([25] * 40, 0), Chain((each(remark),)), SMALL)
    said = [event.message for event in events if isinstance(event, Warned)]
    assert said[:3] == ["once", "frame 1 is wide", "frame 2 is wide"]
    assert said[-2:] == ["once", "28 more like the 10 before; the last: frame 39 is wide"]
    assert len(said) == 13


def test_remarks_that_are_all_different_are_bounded_too() -> None:
    remarks, words = Remarks(), [f"{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(300)]
    frames = [frame.with_remark(word) for frame, word in
              zip(make_video([25] * 300, 0).frames, words, strict=True)]  # fmt: skip
    said = [event.message for event in (*remarks.report(frames), *remarks.finish())]
    assert said[:-1] == words[:110]
    assert said[-1] == f"190 more like the 10 before; the last: {words[-1]}"


def test_events_are_in_order_and_report_progress() -> None:
    video = make_video([25] * 10, 0)
    _, events = run_in_memory(video, Chain((each(brighten),)), SMALL)
    assert isinstance(events[0], Started)
    assert (events[0].source, events[0].stages, events[0].read) == (SPEC, ("brighten",), 0)
    assert isinstance(events[-1], Done)
    reports = [event for event in events if isinstance(event, Progress)]
    assert [event.read for event in reports] == sorted(event.read for event in reports)
    assert (reports[-1].read, reports[-1].written, reports[-1].time) == (
        10,
        10,
        video.frames[-1].end,
    )
    assert set(events[-1].busy) == {"decode", "brighten", "encode"}
    assert events[-1].overlap >= 1


@given(
    videos(),
    st.lists(st.sampled_from(sorted(STAGES)), max_size=3),
    st.sampled_from([1, 2, 8]),
    st.sampled_from([(1, 1), (2, 4), (3, 6), (4, 16)]),
)
def test_a_run_resumed_from_any_snapshot_gives_the_same_video(
    video: SampleVideo, names: list[str], batch: int, grid: tuple[int, int]
) -> None:
    chain = Chain(tuple(STAGES[name]() for name in names), (batch,) * len(names))
    plan = Plan(chunk=grid[0], segment_frames=grid[1], queue_bytes=1)
    complete, events = run_in_memory(video, chain, plan)
    assert_same_frames(complete.frames, run_chain(chain, video), "the run")
    commits = [event.snapshot for event in events if isinstance(event, Committed)]
    assert commits == [snapshot for _, snapshot in complete.commits]
    assert [snapshot.segment for snapshot in commits] == list(range(1, len(commits) + 1))
    assert complete.commits[-1][0] == len(complete.frames)
    for covered, snapshot in complete.commits:
        rest, _ = run_in_memory(video, chain, plan, loads(dumps(snapshot)))
        assert_same_frames(rest.frames, complete.frames[covered:], "resumed")


def test_out_of_memory_repeats_one_step_and_is_reported() -> None:
    def fit_two(frames: Sequence[Frame]) -> Sequence[Frame]:
        if len(frames) > 2:
            raise MemoryError("2 fit")
        return brighten(frames)

    video, plan = make_video([25] * 21, 0), replace(SMALL, chunk=4)
    sink, events = run_in_memory(video, Chain((each(brighten), each(fit_two)), (1, 8)), plan)
    assert_same_frames(
        sink.frames, run_chain(Chain((each(brighten), each(brighten))), video), "replanned"
    )
    replans = [event for event in events if isinstance(event, Replanned)]
    assert replans == [Replanned(4, "fit_two", 4, "2 fit"), Replanned(4, "fit_two", 2, "2 fit")]


def test_a_stage_that_fits_in_no_batch_ends_the_run() -> None:
    def fail(frames: Sequence[Frame]) -> Sequence[Frame]:
        raise MemoryError("nothing fits")

    with pytest.raises(OutOfMemory, match="fail has no smaller batch"):
        run_in_memory(make_video([25] * 9, 0), Chain((each(fail),), (4,)), SMALL)


def halve_durations(frames: Sequence[Frame]) -> list[Frame]:
    return [frame.with_image(frame.image, duration=frame.duration / 2) for frame in frames]


def test_a_gap_in_time_is_a_contract_error() -> None:
    with pytest.raises(
        StageContractError,
        match="halve_durations returned frame 1 at 1/24 s: expected frame 1 at 1/48",
    ):
        run_in_memory(make_video([25] * 3, 0), Chain((each(halve_durations),)), SMALL)


class InjectedError(Exception):
    pass


def fail_at(index: int) -> Callable[[object], None]:
    def check(what: object) -> None:
        first = what[0].index if isinstance(what, list) else what
        if first == index:
            raise InjectedError

    return check


@pytest.mark.parametrize("place", ["source", "stage", "sink"])
@pytest.mark.parametrize("index", [0, 4])
def test_an_error_anywhere_is_raised_unchanged_and_closes_the_source(
    place: str, index: int
) -> None:
    def stage(frames: Sequence[Frame]) -> Sequence[Frame]:
        fail_at(index if place == "stage" else -1)(list(frames))
        return frames

    source = MemorySource(
        make_video([25] * 50, 0), fail_at(index) if place == "source" else do_nothing
    )
    sink = MemorySink(fail_at(index) if place == "sink" else do_nothing)
    with pytest.raises(InjectedError):
        list(run(source, Chain((each(stage),)), sink, SMALL))
    assert source.closed
    assert len(sink.frames) == index


def test_closing_the_run_early_stops_its_threads() -> None:
    source = MemorySource(make_video([25] * 50, 0))
    events = run(source, Chain((each(brighten),)), MemorySink(), SMALL)
    while not isinstance(next(events), Committed):
        pass
    events.close()
    assert source.closed


def test_iter_frames_gives_the_same_video_and_may_be_closed_early() -> None:
    video, chain = make_video([25] * 9, 0), Chain((STAGES["windowed, smooths"](),), (2,))
    assert_same_frames(
        list(iter_frames(MemorySource(video), chain, SMALL)), run_chain(chain, video), "frames"
    )
    source = MemorySource(video)
    frames = iter_frames(source, chain, SMALL)
    next(frames)
    frames.close()
    assert source.closed


@dataclass
class CountingSource:
    """A long video whose images are counted while they live; `over` is set above `allowed`."""

    count: int
    allowed: int
    live: int = 0
    metadata: SourceMetadata = SourceMetadata()

    def __post_init__(self) -> None:
        self.spec, self.over, self.refs = SPEC, threading.Event(), list[object]()
        self.lock = threading.Lock()

    def read(self, cursor: Cursor | None, size: int) -> Iterator[tuple[list[Frame], Cursor]]:
        for i in range(self.count):
            yield [Frame(i, F(i, 24), F(1, 24), self.make_image())], Cursor(i + 1, i)

    def make_image(self) -> object:
        image = np.zeros(1000, np.uint8)
        self.refs.append(weakref.ref(image, self.forget))
        with self.lock:
            self.live += 1
            if self.live > self.allowed:
                self.over.set()
        return image

    def forget(self, _: object) -> None:
        with self.lock:
            self.live -= 1


# Besides the two queues, images are held by decode (one that waits for room), by compute (one that
# waits, and its input) and by encode. Chunks have one frame here.
HELD_FRAMES = 5


@pytest.mark.parametrize("queue_frames", [1, 4])
def test_live_images_are_bounded_by_the_queues_with_a_slow_sink(queue_frames: int) -> None:
    counting = CountingSource(60, 2 * queue_frames + HELD_FRAMES)
    waits = iter([0.0, 0.2])

    def wait(_: object) -> None:
        counting.over.wait(next(waits, 0.0))  # long enough to exceed it if it were unbounded

    plan = Plan(chunk=1, segment_frames=1000, queue_bytes=queue_frames * 1040)
    for event in run(counting, Chain((each(copy),)), DroppingSink(wait), plan):
        assert not counting.over.is_set(), f"{counting.live} images live at {event}"


def copy(frames: Sequence[Frame]) -> list[Frame]:
    return list(frames)


class DroppingSink(MemorySink):
    """A sink that drops all frames."""

    def write(self, frames: Sequence[Frame]) -> None:
        self.before(frames)


def test_with_a_slow_source_each_frame_is_written_at_once() -> None:
    """No frame waits for later ones: the source reads one when the previous one is written."""
    written = threading.Semaphore(1)

    def wait_for_write(_: int) -> None:
        assert written.acquire(timeout=10), "the frame before was never written"

    source = MemorySource(make_video([25] * 20, 0), wait_for_write)
    sink = MemorySink(lambda _: written.release())
    list(run(source, Chain((each(brighten),)), sink, Plan(chunk=1, segment_frames=1)))
    assert len(sink.frames) == 20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"chunk": 4, "segment_frames": 6}, "segment_frames is 6 and chunk is 4"),
        ({"chunk": 0}, "chunk is 0"),
        ({"queue_bytes": 0}, "queue_bytes is 0"),
    ],
)
def test_an_impossible_plan_is_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        Plan(**settings)  # type: ignore[arg-type]


def test_concealed_frames_are_counted_and_the_first_of_a_row_is_reported() -> None:
    video = make_video([25] * 9, 0)
    reports: dict[int, dict[str, object]] = {
        2: {"notice": "odd"},
        3: {"concealed": "bad 3"},
        4: {"concealed": "bad 4"},
        7: {"concealed": "7"},
    }
    frames = tuple(f.with_extras(**reports.get(f.index, {})) for f in video.frames)
    _, events = run_in_memory(
        replace(video, frames=frames), Chain(()), Plan(chunk=2, segment_frames=4)
    )
    assert [e.message for e in events if isinstance(e, Warned)] == ["odd", "bad 3", "7"]
    assert isinstance(events[-1], Done)
    assert events[-1].concealed == 3
