"""A stage that only attaches: what it sees, what the frames get, and its cache."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from filmgate.core.adapters import each, windowed
from filmgate.core.chain import Chain
from filmgate.core.frame import Frame
from filmgate.core.wrappers.attached import AttachedStage
from filmgate.core.wrappers.cached import KEY_PARTS, MemoryStore, cached
from filmgate.errors import StageContractError
from filmgate.testing import SampleVideo, laws, make_sample_video


def attach_count(seen: list[Any]) -> Any:
    def count(frames: Sequence[Frame]) -> list[Frame]:
        seen.append([(frame.index, *frame.extras) for frame in frames])
        return [replace(frame, image=(), extras={"a.count": len(frame.extras), "a.more": 1})
                for frame in frames]  # fmt: skip

    return each(count)


def test_images_stay_and_only_what_is_named_is_seen_and_attached() -> None:
    seen: list[Any] = []
    stage = AttachedStage(attach_count(seen), attaches=("a.count",), sees=("cut",))
    video = make_sample_video(4)
    frames = [frame.with_extras(**{"b.other": 2}) for frame in video.frames]
    state = stage.start(video.spec, frames[0].position)
    _, outputs = stage.step(state, frames)
    assert seen == [[(0,)], [(1,)], [(2, "cut")], [(3,)]]
    assert outputs[2].extras == {"cut": True, "b.other": 2, "a.count": 1}
    assert all(a.image is b.image for a, b in zip(frames, outputs, strict=True))


def test_stored_results_fit_other_seeds_lengths_and_batches() -> None:
    seen: list[Any] = []
    store = cached(attach_count(seen), MemoryStore(), dict.fromkeys(KEY_PARTS, "same"))
    stage = AttachedStage(store, attaches=("a.count",))
    video = make_sample_video(6)
    laws.run_chain(Chain((stage,)), video)
    assert len(seen) == 6
    more = tuple(frame.with_extras(**{"b.x": frame.index}) for frame in video.frames)
    other = SampleVideo(replace(video.spec, seed=5, frames=99), more)
    outputs = laws.run_chain(Chain((stage,), (4,)), other)
    assert len(seen) == 6
    assert [frame.extras["a.count"] for frame in outputs] == [0] * 6
    laws.run_chain(Chain((stage,)), video.first(3))  # another end
    assert len(seen) == 6


def test_a_stage_that_waits_for_more_frames_is_refused() -> None:
    late = AttachedStage(windowed(lambda windows: [[w.centre] for w in windows], after=1))
    with pytest.raises(StageContractError, match="0 frames for one"):
        laws.run_chain(Chain((late,)), make_sample_video(3))
