"""A batch that out-of-memory halved is halved at the same frame on resume."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from filmgate.core.adapters import each, windowed
from filmgate.core.chain import Chain
from filmgate.core.events import Committed, Replanned
from filmgate.core.frame import Frame
from filmgate.core.plan import Plan, ReducedBatch
from filmgate.core.stage import AnyStage
from filmgate.testing.laws import assert_same_frames
from tests.core.in_memory import run_in_memory
from tests.laws.synthetic import brighten, make_video

PLAN = Plan(chunk=4, segment_frames=8, queue_bytes=1, batches=(1, 8))


def record_batch_size(fails: Callable[[Sequence[Frame]], bool]) -> AnyStage:
    """Return a stage that adds its batch size to the images; MemoryError where `fails`."""

    def add_batch_size(frames: Sequence[Frame]) -> Sequence[Frame]:
        if fails(frames):
            raise MemoryError("on purpose")
        return [frame.with_image(frame.image + 100 * len(frames)) for frame in frames]  # type: ignore[operator]

    return each(add_batch_size)


@pytest.mark.parametrize("at", [0, 5, 16, 19, 37])
def test_a_run_resumed_after_a_replan_gives_the_same_video(at: int) -> None:
    video = make_video([25] * 38, 0)

    def twice(frames: Sequence[Frame]) -> bool:
        return frames[-1].index >= at and len(frames) > 2

    def never(frames: Sequence[Frame]) -> bool:
        return False

    complete, events = run_in_memory(
        video, Chain((each(brighten), record_batch_size(twice)), (1, 8)), PLAN
    )
    replans = [event for event in events if isinstance(event, Replanned)]
    assert [event.batch for event in replans] == ([4] if at == 37 else [4, 2])
    reduced = tuple(ReducedBatch(event.index, 1, event.batch) for event in replans)
    commits = [event.snapshot for event in events if isinstance(event, Committed)]
    assert len(commits) == 5
    healthy = Chain((each(brighten), record_batch_size(never)), (1, 8))
    for (covered, snapshot), commit in zip(complete.commits, commits, strict=True):
        assert snapshot == commit
        rest, later = run_in_memory(
            video, healthy, replace(PLAN, reduced_batches=reduced), snapshot
        )
        assert_same_frames(rest.frames, complete.frames[covered:], "resumed")
        assert not any(isinstance(event, Replanned) for event in later)


def test_each_move_at_the_end_has_its_own_index() -> None:
    """The last incomplete batch may run out of memory too."""
    video = make_video([25] * 7, 0)
    delayed = windowed(lambda windows: [[w.centre] for w in windows], 0, 3, name="delay")
    complete, events = run_in_memory(
        video,
        Chain((delayed, record_batch_size(lambda f: len(f) > 1 and f[-1].index > 4)), (1, 4)),
        PLAN,
    )
    replans = [event for event in events if isinstance(event, Replanned)]
    assert replans
    assert all(event.index >= 4 for event in replans)
    reduced = tuple(ReducedBatch(event.index, 1, event.batch) for event in replans)
    healthy = Chain((delayed, record_batch_size(lambda f: False)), (1, 4))
    again, _ = run_in_memory(video, healthy, replace(PLAN, reduced_batches=reduced))
    assert_same_frames(again.frames, complete.frames, "again")


def test_a_halved_batch_does_not_grow_again() -> None:
    video, sizes = make_video([25] * 24, 0), list[int]()

    def once(frames: Sequence[Frame]) -> bool:
        sizes.append(len(frames))
        return len(sizes) == 2

    run_in_memory(video, Chain((each(brighten), record_batch_size(once)), (1, 8)), PLAN)
    assert sizes[:2] == [8, 8]
    assert set(sizes[2:]) == {4}
