"""`cached`: the same film bit for bit, whatever the store forgets, spoils or refuses."""

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
from filmgate.core.wrappers.cached import CachedStage, Memory, cached
from filmgate.errors import BadSetting
from filmgate.testing import laws
from tests.laws.synthetic import STAGES, Recurrent, brighten, film_of, videos

KEY = {"source": "a film", "range": "all", "settings": "none", "weights": "none", "code": "1"}


@dataclass
class Careless:
    """A store that forgets, spoils, truncates, mixes up and refuses, at random."""

    chance: Random
    held: dict[str, bytes] = field(default_factory=dict)
    found: int = 0

    def get(self, name: str) -> bytes | None:
        data = self.held.get(name)
        if data is None or self.chance.random() < 0.3:
            return None
        self.found += 1
        return b"{}" if self.chance.random() < 0.2 else data

    def put(self, name: str, data: bytes) -> None:
        if self.chance.random() < 0.8:
            self.held[name] = data

    def damaged(self, name: str) -> None:
        del self.held[name]


@dataclass
class Counted:
    """A function that counts how many frames it was given."""

    frames: int = 0

    def __call__(self, frames: Sequence[Frame]) -> list[Frame]:
        self.frames += len(frames)
        return brighten(frames)


def played(stage: AnyStage, video: laws.SampleVideo, batch: int = 1) -> list[Frame]:
    return laws.play(Chain((stage,), (batch,)), video)


@given(
    videos(1), st.sampled_from(sorted(STAGES)), st.sampled_from([1, 2, 4]), st.integers(1, 9),
    st.integers(0, 10**6),
)  # fmt: skip
def test_whatever_the_store_does_the_film_is_the_same(
    video: laws.SampleVideo, name: str, batch: int, every: int, seed: int
) -> None:
    store = Careless(Random(seed))
    want = played(STAGES[name](), video, batch)
    for _ in range(4):
        stage = cached(STAGES[name](), store, KEY, every=every)
        laws.same(played(stage, video, batch), want, "cached")


def test_what_was_made_once_is_not_made_again() -> None:
    video, fn, store = film_of([25] * 40, 1), Counted(), Memory()
    want = played(each(brighten), video, 4)
    for _ in range(3):
        laws.same(played(cached(each(fn), store, KEY), video, 4), want, "cached")
    assert fn.frames == 40


def test_a_longer_film_goes_on_from_the_state_that_was_kept() -> None:
    video, store = film_of([25] * 40, 1), Memory()
    inner = Seen()
    played(cached(inner, store, KEY, every=8), video.part(30))
    inner.given.clear()
    got = played(cached(inner, store, KEY, every=8), video)
    laws.same(got, played(Recurrent(), video), "cached")
    assert inner.given == list(range(24, 40))  # from the last state on, not from the beginning


@dataclass(frozen=True)
class Seen(Recurrent):
    """A recurrent stage that notes which frames it was given."""

    given: list[int] = field(default_factory=list)

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        self.given.extend(frame.index for frame in frames)
        return super().step(state, frames)


@pytest.mark.parametrize("part", sorted(KEY))
def test_another_key_is_another_result(part: str) -> None:
    video, fn, store = film_of([25] * 4, 1), Counted(), Memory()
    played(cached(each(fn), store, KEY), video)
    played(cached(each(fn), store, {**KEY, part: "another"}), video)
    assert fn.frames == 8


def test_a_key_that_lies_gives_no_wrong_picture() -> None:
    """One frame in the middle is another: what follows on it is made anew."""
    video, fn, store = film_of([25] * 12, 1), Counted(), Memory()
    played(cached(each(fn), store, KEY, every=4), video)
    image: Any = video.frames[8].image
    changed = (*video.frames[:8], replace(video.frames[8], image=image + 1e-9), *video.frames[9:])
    other = laws.SampleVideo(video.spec, changed)
    got = played(cached(each(fn), store, KEY, every=4), other)
    laws.same(got, played(each(brighten), other), "cached")
    assert fn.frames == 12 + 4


def test_a_key_that_leaves_something_out_is_refused() -> None:
    with pytest.raises(BadSetting, match="the key has no weights"):
        cached(Recurrent(), Memory(), {k: v for k, v in KEY.items() if k != "weights"})


def test_frames_that_no_longer_fit_together_are_done_again_in_halves() -> None:
    """Found results of batches of 8; then the machine has room for 2 at a time only."""
    video, store = film_of([25] * 24, 1), Memory()
    played(cached(Recurrent(), store, KEY, every=64), video.part(16), 8)
    small = cached(Narrow(), store, KEY, every=64)
    laws.same(played(small, video, 8), played(Recurrent(), video), "cached")


@dataclass(frozen=True)
class Narrow(Recurrent):
    """A recurrent stage with room for two frames."""

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        if len(frames) > 2:
            raise MemoryError
        return super().step(state, frames)


def test_what_is_held_is_bounded_when_only_pictures_are_found() -> None:
    """States are kept each 4 frames; a store that lost those still makes no tape of the film."""
    video, store = film_of([25] * 60, 1), Memory()
    stage = cached(Recurrent(), store, KEY, every=4)
    played(cached(Recurrent(), store, KEY, every=1000), video)
    state, longest = stage.start(video.spec, video.frames[0].position), 0
    for frame in video.frames:
        state, _ = stage.step(state, [frame])
        longest = max(longest, state.length)
    assert 4 <= longest < 8


def test_the_stage_is_called_what_it_was() -> None:
    stage = cached(Recurrent(), Memory(), KEY)
    assert isinstance(stage, CachedStage)
    assert stage.name == "recurrent"
    video = film_of([25], 1)
    assert stage.reach(video.spec) == Recurrent().reach(video.spec)


def test_memory_forgets_the_longest_unused() -> None:
    store = Memory(budget_bytes=20)
    store.put("a", b"x" * 10)
    store.put("b", b"x" * 10)
    store.get("a")
    store.put("c", b"x" * 10)
    assert [name for name in "abc" if store.get(name)] == ["a", "c"]
