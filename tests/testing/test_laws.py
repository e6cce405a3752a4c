"""The laws can fail: stages broken in one way each are caught, and the law is named."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from filmgate.core.adapters import each, windowed
from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.stage import AnyStage, Reach
from filmgate.errors import StageContractError
from filmgate.testing.laws import check_batch, check_stage, check_time
from tests.laws.synthetic import film_of, keep_some, picture

VIDEO = film_of([25] * 20, 3)


@dataclass(frozen=True)
class Sound:
    """A right stage, to be broken: it adds the frame before to each frame."""

    name: str = "sound"

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(past=None)

    def output(self, spec: StreamSpec) -> StreamSpec:
        return spec

    def start(self, spec: StreamSpec, first: Position) -> Any:
        return np.zeros((2, 3))

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        out = []
        for frame in frames:
            out.append(frame.made(picture(frame) + state))
            state = picture(frame)
        return state, out

    def finish(self, state: Any) -> tuple[None, list[Frame]]:
        return None, []


class ChangesItsState(Sound):
    def start(self, spec: StreamSpec, first: Position) -> Any:
        return {"seen": 0}

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        state["seen"] += len(frames)
        return state, list(frames)


class ForgetsInTheMiddle(Sound):
    """Off by one: in the middle of a batch it looks one frame too far back."""

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        images = [state, state, *map(picture, frames)]
        out = [frame.made(images[i] + picture(frame)) for i, frame in enumerate(frames)]
        return picture(frames[-1]), out


class SeesItsBatch(Sound):
    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        return state, [f.made(picture(f) + 0.01 * len(frames)) for f in frames]


@dataclass(frozen=True)
class RemembersInItself(Sound):
    seen: list[int] = field(default_factory=list)

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        self.seen.extend(frame.index for frame in frames)
        return state, [f.made(picture(f) + len(self.seen)) for f in frames]


class KnowsItsStateByPlace(Sound):
    """What it made of its state is kept beside it, by identity, and is lost in sleep."""

    def __init__(self) -> None:
        object.__setattr__(self, "name", "by place")
        object.__setattr__(self, "last", None)

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        awake = state is getattr(self, "last", None) or frames[0].index == 0
        made = [f.made(picture(f) + (0 if awake else 1)) for f in frames]
        object.__setattr__(self, "last", picture(frames[-1]))
        return picture(frames[-1]), made


class KeepsAll(Sound):
    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        return np.concatenate([state, *map(picture, frames)]), list(frames)


class SwallowsTheLast(Sound):
    def start(self, spec: StreamSpec, first: Position) -> Any:
        return ()

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        held = (*state, *frames)
        return held[-1:], list(held[:-1])


class HasAListForState(Sound):
    def start(self, spec: StreamSpec, first: Position) -> Any:
        return [1]

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        return state, list(frames)


BROKEN: dict[str, tuple[AnyStage, str]] = {
    "changes its state": (ChangesItsState(), r"law 3 \(retry\).*changed the state it was given"),
    "off by one": (ForgetsInTheMiddle(), r"law [34]"),
    "sees its batch": (SeesItsBatch(), r"law [34]"),
    "remembers in itself": (RemembersInItself(), r"law 1 \(cut\)"),
    "knows its state by place": (KnowsItsStateByPlace(), r"law 2 \(sleep\)"),
    "keeps all": (KeepsAll(), r"law 6 \(bound\)"),
    "swallows the last": (SwallowsTheLast(), r"law 5 \(time\)"),
    "leaves holes": (windowed(keep_some, 0, 1), r"law 5 \(time\)"),
}


def test_a_sound_stage_passes() -> None:
    check_stage(Sound(), VIDEO)


@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_a_broken_stage_is_caught_by_name(kind: str) -> None:
    stage, law = BROKEN[kind]
    with pytest.raises(AssertionError, match=law):
        check_stage(stage, VIDEO)


def test_a_state_that_is_not_plain_is_refused() -> None:
    with pytest.raises(StageContractError, match=r"state\[0\]\.state is \[1\] of type list"):
        check_stage(HasAListForState(), VIDEO)


def test_a_batch_may_move_a_picture_by_the_tolerance_and_no_further() -> None:
    check_batch(SeesItsBatch(), VIDEO, batch=2, tolerance=0.011)
    with pytest.raises(AssertionError, match=r"law 4 \(batch\): frame 0 .*0\.01 away"):
        check_batch(SeesItsBatch(), VIDEO, batch=2, tolerance=0.009)


def test_a_stage_that_says_how_long_its_result_is_is_held_to_it() -> None:
    same = each(list)
    check_time(same, VIDEO, VIDEO.frames[-1].end)
    with pytest.raises(AssertionError, match="ends at 5/6 s, wanted 1 s"):
        check_time(same, VIDEO, VIDEO.frames[-1].end + VIDEO.frames[0].duration * 4)


def test_a_film_too_short_to_try_anything_is_refused() -> None:
    with pytest.raises(AssertionError, match="wanted 12 or more"):
        check_stage(Sound(), VIDEO.part(11))
