"""`cached`: the output is bit-identical, whatever the store forgets, damages or refuses."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filmgate.core.adapters import each
from filmgate.core.chain import Chain
from filmgate.core.frame import Frame
from filmgate.core.stage import AnyStage
from filmgate.core.wrappers.cached import CachedStage, MemoryStore, cached
from filmgate.errors import BadSetting
from filmgate.testing import SampleVideo, laws
from tests.laws.synthetic import STAGES, Recurrent, brighten, make_video, videos

KEY = {"source": "a video", "range": "all", "settings": "none", "weights": "none", "code": "1"}


@dataclass
class UnreliableStore:
    """A store that forgets, damages and refuses entries at random."""

    chance: Random
    entries: dict[str, bytes] = field(default_factory=dict)
    hits: int = 0

    def get(self, name: str) -> bytes | None:
        data = self.entries.get(name)
        if data is None or self.chance.random() < 0.3:
            return None
        self.hits += 1
        return b"{}" if self.chance.random() < 0.2 else data

    def put(self, name: str, data: bytes) -> None:
        if self.chance.random() < 0.8:
            self.entries[name] = data

    def discard(self, name: str) -> None:
        del self.entries[name]


@dataclass
class CountingFunction:
    """A function that counts its input frames."""

    frames: int = 0

    def __call__(self, frames: Sequence[Frame]) -> list[Frame]:
        self.frames += len(frames)
        return brighten(frames)


def run_stage(stage: AnyStage, video: SampleVideo, batch: int = 1) -> list[Frame]:
    return laws.run_chain(Chain((stage,), (batch,)), video)


@given(
    videos(1), st.sampled_from(sorted(STAGES)), st.sampled_from([1, 2, 4]), st.integers(1, 9),
    st.integers(0, 10**6),
)  # fmt: skip
def test_the_output_is_the_same_with_an_unreliable_store(
    video: SampleVideo, name: str, batch: int, every: int, seed: int
) -> None:
    store = UnreliableStore(Random(seed))
    want = run_stage(STAGES[name](), video, batch)
    for _ in range(4):
        stage = cached(STAGES[name](), store, KEY, every=every)
        laws.assert_same_frames(run_stage(stage, video, batch), want, "cached")


def test_cached_frames_are_not_computed_again() -> None:
    video, fn, store = make_video([25] * 40, 1), CountingFunction(), MemoryStore()
    want = run_stage(each(brighten), video, 4)
    for _ in range(3):
        laws.assert_same_frames(run_stage(cached(each(fn), store, KEY), video, 4), want, "cached")
    assert fn.frames == 40


def test_a_longer_video_resumes_from_the_stored_state() -> None:
    video, store = make_video([25] * 40, 1), MemoryStore()
    inner = RecordingStage()
    run_stage(cached(inner, store, KEY, every=8), video.first(30))
    inner.indices.clear()
    got = run_stage(cached(inner, store, KEY, every=8), video)
    laws.assert_same_frames(got, run_stage(Recurrent(), video), "cached")
    assert inner.indices == list(range(24, 40))  # from the last stored state on


@dataclass(frozen=True)
class RecordingStage(Recurrent):
    """A recurrent stage that records the indices of its input."""

    indices: list[int] = field(default_factory=list)

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        self.indices.extend(frame.index for frame in frames)
        return super().step(state, frames)


@pytest.mark.parametrize("part", sorted(KEY))
def test_another_key_is_another_result(part: str) -> None:
    video, fn, store = make_video([25] * 4, 1), CountingFunction(), MemoryStore()
    run_stage(cached(each(fn), store, KEY), video)
    run_stage(cached(each(fn), store, {**KEY, part: "another"}), video)
    assert fn.frames == 8


def test_a_wrong_key_gives_no_wrong_image() -> None:
    """One frame in the middle differs: what follows is computed again."""
    video, fn, store = make_video([25] * 12, 1), CountingFunction(), MemoryStore()
    run_stage(cached(each(fn), store, KEY, every=4), video)
    image: Any = video.frames[8].image
    changed = (*video.frames[:8], replace(video.frames[8], image=image + 1e-9), *video.frames[9:])
    other = SampleVideo(video.spec, changed)
    got = run_stage(cached(each(fn), store, KEY, every=4), other)
    laws.assert_same_frames(got, run_stage(each(brighten), other), "cached")
    assert fn.frames == 12 + 4


def test_an_incomplete_key_is_refused() -> None:
    with pytest.raises(BadSetting, match="the cache key has no weights"):
        cached(Recurrent(), MemoryStore(), {k: v for k, v in KEY.items() if k != "weights"})


def test_frames_that_no_longer_fit_are_replayed_in_halves() -> None:
    """Results of batches of 8 are found; then only 2 frames at a time fit."""
    video, store = make_video([25] * 24, 1), MemoryStore()
    run_stage(cached(Recurrent(), store, KEY, every=64), video.first(16), 8)
    small = cached(SmallMemory(), store, KEY, every=64)
    laws.assert_same_frames(run_stage(small, video, 8), run_stage(Recurrent(), video), "cached")


@dataclass(frozen=True)
class SmallMemory(Recurrent):
    """A recurrent stage with room for two frames."""

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        if len(frames) > 2:
            raise MemoryError
        return super().step(state, frames)


def test_held_frames_are_bounded_when_no_state_is_found() -> None:
    """States are stored every 4 frames; a store without them must not make the state grow."""
    video, store = make_video([25] * 60, 1), MemoryStore()
    stage = cached(Recurrent(), store, KEY, every=4)
    run_stage(cached(Recurrent(), store, KEY, every=1000), video)
    state, longest = stage.start(video.spec, video.frames[0].position), 0
    for frame in video.frames:
        state, _ = stage.step(state, [frame])
        longest = max(longest, state.length)
    assert 4 <= longest < 8


def test_a_cached_stage_keeps_its_name_and_reach() -> None:
    stage = cached(Recurrent(), MemoryStore(), KEY)
    assert isinstance(stage, CachedStage)
    assert stage.name == "recurrent"
    video = make_video([25], 1)
    assert stage.reach(video.spec) == Recurrent().reach(video.spec)


def test_a_memory_store_evicts_the_least_recently_used() -> None:
    store = MemoryStore(budget_bytes=20)
    store.put("a", b"x" * 10)
    store.put("b", b"x" * 10)
    store.get("a")
    store.put("c", b"x" * 10)
    assert [name for name in "abc" if store.get(name)] == ["a", "c"]
