"""Runs whose state is stored between two commits: the work that a kill costs, and nothing else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filmgate.core import run as run_module
from filmgate.core.adapters import blocks, each
from filmgate.core.chain import Chain
from filmgate.core.events import Replanned
from filmgate.core.frame import Frame
from filmgate.core.plan import Plan, ReducedBatch
from filmgate.core.run import run
from filmgate.core.snapshot import Snapshot
from filmgate.testing.laws import assert_same_frames
from filmgate.testing.sample_video import SampleVideo
from tests.core.in_memory import MemorySink, MemorySource
from tests.core.test_replans import record_batch_size
from tests.laws.synthetic import STAGES, brighten, make_video, videos

INTERVAL_S, STEP_S = 15.0, 5.0
PLAN = Plan(chunk=4, segment_frames=1 << 20, queue_bytes=1)


@dataclass
class MemoryJournal:
    """A journal that keeps every point, and may begin with some frames and the point after them."""

    interval_s: float = 0.0
    stored: list[Frame] = field(default_factory=list)
    later: Snapshot | None = None
    points: list[tuple[int, Snapshot]] = field(default_factory=list)

    def restore(self, base: Snapshot | None, segment_frames: int) -> Snapshot | None:
        return self.later

    def read_frames(self) -> Iterator[list[Frame]]:
        yield self.stored

    def write(self, frames: Sequence[Frame], read: int) -> None:
        self.stored += frames

    def save(self, snapshot: Snapshot, *, is_prepared: bool = False) -> bool:
        self.points.append((len(self.stored), snapshot))
        return True

    def commit(self, snapshot: Snapshot) -> None:
        assert snapshot.state is None, "these videos are one segment"


def run_with(
    journal: MemoryJournal, video: SampleVideo, chain: Chain, plan: Plan
) -> tuple[MemorySink, tuple[ReducedBatch, ...]]:
    """Run a video; return the sink and the batches that were reduced."""
    sink = MemorySink()
    events = list(run(MemorySource(video), chain, sink, plan, None, journal))
    return sink, tuple(ReducedBatch(e.index, len(chain.stages) - 1, e.batch)
                       for e in events if isinstance(e, Replanned))  # fmt: skip


def check_every_point(video: SampleVideo, chain: Chain, plan: Plan) -> None:
    """Resume from every point that a run stored, and compare the result with the run's."""
    journal = MemoryJournal()
    complete, reduced = run_with(journal, video, chain, plan)
    plan = replace(plan, reduced_batches=(*plan.reduced_batches, *reduced))
    undisturbed, _ = run_with(MemoryJournal(interval_s=1e9), video, chain, plan)
    assert_same_frames(undisturbed.frames, complete.frames, "undisturbed")
    for count, snapshot in journal.points:
        again = MemoryJournal(stored=complete.frames[:count], later=snapshot)
        resumed, more = run_with(again, video, chain, plan)
        assert_same_frames(resumed.frames, complete.frames, f"from {snapshot.cursor.index}")
        assert not more


@settings(max_examples=15)
@given(videos(), st.lists(st.sampled_from(sorted(STAGES)), max_size=2), st.sampled_from([1, 2, 8]))
def test_a_run_resumed_from_any_point_gives_the_same_video(
    video: SampleVideo, names: list[str], batch: int
) -> None:
    check_every_point(video, Chain(tuple(STAGES[n]() for n in names), (batch,) * len(names)), PLAN)


@pytest.mark.parametrize("at", [0, 5, 6, 9, 10])
def test_a_batch_is_reduced_again_at_the_same_frame(at: int) -> None:
    """Also in the middle of a chunk, where only a slow run has split it, and at the end."""
    failing = record_batch_size(lambda frames: frames[-1].index >= at and len(frames) > 2)
    check_every_point(make_video([25] * 11, 0), Chain((each(brighten), failing), (1, 4)), PLAN)


@pytest.mark.parametrize(
    ("frame_s", "batch", "most_s"),
    [
        (0.5, 1, INTERVAL_S + STEP_S),
        (4, 1, INTERVAL_S + STEP_S),
        (70, 1, 70),  # a frame
        (3, 4, INTERVAL_S + 12),  # a batch of them
        (20, 2, 40),
    ],
)
def test_at_most_twenty_seconds_or_a_call_of_the_model_are_lost(
    frame_s: float, batch: int, most_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the size of a chunk; frames before the first commit count as well."""
    stage = each(lambda frames: work(frames, frame_s * len(frames)), name="slow")
    times = find_stored_times(Chain((stage,), (batch,)), monkeypatch, chunk=16)
    assert max(times) <= most_s


def test_at_most_a_clip_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of those that are computed after the last source frame."""
    stage = blocks(lambda clip: [f.image for f in work(clip, 120)], 12, 2, name="clips")
    times = find_stored_times(Chain((stage,), (1,)), monkeypatch, chunk=4)
    assert len(times) > 4
    assert max(times) <= 120


def find_stored_times(chain: Chain, monkeypatch: pytest.MonkeyPatch, chunk: int) -> list[float]:
    """Return the seconds that the model works between two points, from the start to the end."""
    clock.now = 0.0
    monkeypatch.setattr(run_module, "monotonic", lambda: clock.now)
    video, plan = make_video([25] * 64, 0), replace(PLAN, chunk=chunk)
    chunks = run_module._read_chunks(MemorySource(video), None, chunk)
    items = run_module._compute(chunks, video.spec, chain, plan, None, INTERVAL_S)
    points = run_module.JournalPoint | Snapshot
    moments = [0.0, *(clock.now for item in items if isinstance(item, points))]
    return [later - earlier for earlier, later in pairwise(moments)]


clock = SimpleNamespace(now=0.0)  # only the model moves it


def work(frames: Sequence[Frame], seconds: float) -> Sequence[Frame]:
    clock.now += seconds
    return frames
