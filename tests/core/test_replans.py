"""What out-of-memory made smaller is made smaller again on resume, at the same frame."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from filmgate.core.adapters import each, windowed
from filmgate.core.chain import Chain
from filmgate.core.events import Committed, Replanned
from filmgate.core.frame import Frame
from filmgate.core.plan import Plan, Shrunk
from filmgate.core.stage import AnyStage
from filmgate.testing.laws import same
from tests.core.reel import shelved
from tests.laws.synthetic import brighten, film_of

PLAN = Plan(chunk=4, segment_frames=8, queue_bytes=1, batches=(1, 8))


def telling(hungry: Callable[[Sequence[Frame]], bool]) -> AnyStage:
    """A stage whose pictures tell how many frames it was given at a time."""

    def tell(frames: Sequence[Frame]) -> Sequence[Frame]:
        if hungry(frames):
            raise MemoryError("on purpose")
        return [frame.made(frame.image + 100 * len(frames)) for frame in frames]  # type: ignore[operator]

    return each(tell)


@pytest.mark.parametrize("at", [0, 5, 16, 19, 37])
def test_killed_after_a_replan_and_resumed_it_is_the_same_film(at: int) -> None:
    video = film_of([25] * 38, 0)

    def twice(frames: Sequence[Frame]) -> bool:
        return frames[-1].index >= at and len(frames) > 2

    def never(frames: Sequence[Frame]) -> bool:
        return False

    whole, events = shelved(video, Chain((each(brighten), telling(twice)), (1, 8)), PLAN)
    told = [event for event in events if isinstance(event, Replanned)]
    assert [event.batch for event in told] == ([4] if at == 37 else [4, 2])
    shrunk = tuple(Shrunk(event.index, 1, event.batch) for event in told)
    commits = [event.snapshot for event in events if isinstance(event, Committed)]
    assert len(commits) == 5
    healthy = Chain((each(brighten), telling(never)), (1, 8))
    for (covered, snapshot), commit in zip(whole.commits, commits, strict=True):
        assert snapshot == commit
        rest, said = shelved(video, healthy, replace(PLAN, shrunk=shrunk), snapshot)
        same(rest.frames, whole.frames[covered:], "resumed")
        assert not any(isinstance(event, Replanned) for event in said)


def test_moves_at_the_end_have_numbers_of_their_own() -> None:
    """Frames short of a batch come out at the end, and that too may not fit."""
    video = film_of([25] * 7, 0)
    late = windowed(lambda windows: [[w.centre] for w in windows], 0, 3, name="late")
    whole, events = shelved(
        video, Chain((late, telling(lambda f: len(f) > 1 and f[-1].index > 4)), (1, 4)), PLAN
    )
    told = [event for event in events if isinstance(event, Replanned)]
    assert told
    assert all(event.index >= 4 for event in told)
    shrunk = tuple(Shrunk(event.index, 1, event.batch) for event in told)
    healthy = Chain((late, telling(lambda f: False)), (1, 4))
    again, _ = shelved(video, healthy, replace(PLAN, shrunk=shrunk))
    same(again.frames, whole.frames, "again")


def test_a_plan_does_not_grow_again() -> None:
    video, sizes = film_of([25] * 24, 0), list[int]()

    def once(frames: Sequence[Frame]) -> bool:
        sizes.append(len(frames))
        return len(sizes) == 2

    shelved(video, Chain((each(brighten), telling(once)), (1, 8)), PLAN)
    assert sizes[:2] == [8, 8]
    assert set(sizes[2:]) == {4}
