"""Stages that work before their first frame: the moves are reported, stored and never repeated."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction as F
from typing import Any

import numpy as np
import pytest

from filmgate.core import run as run_module
from filmgate.core.adapters import each
from filmgate.core.chain import Chain
from filmgate.core.events import Prepared, Warned
from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.run import run
from filmgate.core.snapshot import Snapshot
from filmgate.core.stage import Preparation, Preview, Reach, can_prepare
from filmgate.core.wrappers.cached import MemoryStore, cached
from filmgate.core.wrappers.model_stage import ModelStage
from filmgate.core.wrappers.output_checks import check_outputs
from filmgate.errors import BadOutput, OutOfMemory
from filmgate.testing.laws import assert_same_frames, run_chain
from tests.core.in_memory import MemorySink, MemorySource
from tests.core.test_journaled_runs import PLAN, MemoryJournal
from tests.laws.synthetic import brighten, make_video

MOVES = 3
VIDEO = make_video([25] * 6, 0)
KEY = {"source": 0, "range": 0, "settings": 0, "weights": 0, "code": 0}


@dataclass(frozen=True, slots=True)
class Work:
    """The state: the result of the moves so far, and how many frames came out."""

    sums: tuple[int, ...] = ()
    value: Any = 0.0
    frames: int = 0


@dataclass(frozen=True)
class Worker:
    """Makes some moves, then marks each frame with their result; `made` counts moves.

    `again`: what is remembered besides the state, as a decoder does; it is made again.
    """

    fail: Callable[[int], None] = lambda _: None
    made: list[int] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    name: str = "worker"

    @property
    def prepares(self) -> bool:
        return True

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(None)

    def output(self, spec: StreamSpec) -> StreamSpec:
        return spec

    def start(self, spec: StreamSpec, first: Position) -> Work:
        return Work()

    def prepare(self, state: Work) -> Preparation | None:
        done = len(state.sums)
        if done < MOVES:
            self.fail(done)
            self.made.append(done)
            after = Work((*state.sums, sum(state.sums) + done + 1), state.value)
            notice = "it begins" if not done else ""
            return Preparation(after, done + 1, MOVES, "sum", notice, 7.0, Preview(1, 1, b"abc"))
        if state.frames and not self.again:
            self.again.append(state.frames)
            return Preparation(state, 1, 1, "frame again")
        return None

    def step(self, state: Work, frames: Sequence[Frame]) -> tuple[Work, list[Frame]]:
        while len(state.sums) < MOVES:
            made = self.prepare(state)
            assert made is not None
            state = made.state
        marked = [frame.with_extras(**{"test.sums": state.sums}) for frame in frames]
        return replace(state, frames=state.frames + len(frames)), marked

    def finish(self, state: Work) -> tuple[None, list[Frame]]:
        return None, []


def run_all(
    stage: Any, journal: MemoryJournal | None = None, resume: Snapshot | None = None
) -> tuple[list[Frame], list[Any]]:
    """Run the video through the stage and another; return frames and events."""
    sink, chain = MemorySink(), Chain((stage, each(brighten)))
    events = list(run(MemorySource(VIDEO), chain, sink, PLAN, resume, journal))
    return sink.frames, events


WRAPPED: dict[str, Callable[[Worker], Any]] = {
    "plain": lambda worker: worker,
    "model": lambda worker: ModelStage(worker, settings=""),
    "checked": lambda worker: check_outputs(worker, checks=("finite",)),
    "chain in a model": lambda worker: ModelStage(Chain((worker, each(brighten))), settings=""),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_moves_are_reported_before_the_first_frame_and_all_are_stored(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_PREPARED_S", 0.0)
    worker, journal = Worker(), MemoryJournal(interval_s=1e9)
    frames, events = run_all(WRAPPED[name](worker), journal)
    moves = [event for event in events if isinstance(event, Prepared)]
    assert [(move.done, move.total, move.what, move.next_s) for move in moves] == [
        (n, MOVES, "sum", 7.0) for n in (1, 2, 3)
    ]
    assert moves[0].preview == Preview(1, 1, b"abc")
    assert [event.message for event in events if isinstance(event, Warned)] == ["it begins"]
    assert [count for count, _ in journal.points] == [0, 0, 0]
    assert [frame.extras["test.sums"] for frame in frames if "test.sums" in frame.extras] in (
        [(1, 3, 7)] * 6,
        [],
    )
    for done, (_, snapshot) in enumerate(journal.points, 1):
        later = Worker()
        again, _ = run_all(WRAPPED[name](later), MemoryJournal(later=snapshot))
        assert later.made == list(range(done, MOVES))
        assert_same_frames(again, frames, name)


def test_only_the_last_of_quick_moves_is_stored() -> None:
    journal = MemoryJournal(interval_s=1e9)
    run_all(Worker(), journal)
    assert len(journal.points) == 1
    later = Worker()
    run_all(later, MemoryJournal(later=journal.points[0][1]))
    assert not later.made


def test_a_step_without_preparation_gives_the_same_frames() -> None:
    chain = Chain((Worker(),))
    frames, _ = run_all(Worker())
    plain = run_chain(Chain((Worker(), each(brighten))), VIDEO, [2, 3], range(3))
    assert_same_frames(plain, frames, "without")
    assert chain.prepares
    assert not Chain((each(brighten),)).prepares


def test_stored_results_need_no_preparation() -> None:
    store = MemoryStore()
    worker = Worker()
    stage = cached(worker, store, KEY)
    assert not can_prepare(stage)
    first = run_chain(Chain((stage,)), VIDEO)
    again = run_chain(Chain((cached(Worker(), store, KEY),)), VIDEO)
    assert_same_frames(again, first, "cached")
    assert worker.made == [0, 1, 2]


def test_a_resumed_stage_makes_again_what_is_not_stored() -> None:
    journal, stage = MemoryJournal(), Worker()
    frames, _ = run_all(stage, journal)
    middle = next(snapshot for count, snapshot in journal.points if count == 4)
    later = Worker()
    again, events = run_all(later, MemoryJournal(stored=frames[:4], later=middle))
    assert later.again == [4]
    assert [event.what for event in events if isinstance(event, Prepared)] == ["frame again"]
    assert_same_frames(again, frames, "resumed")


def test_a_move_that_runs_out_of_memory_loses_no_earlier_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(done: int) -> None:
        if done == 2:
            raise MemoryError("on purpose")

    monkeypatch.setattr(run_module, "_PREPARED_S", 0.0)
    journal = MemoryJournal(interval_s=1e9)
    with pytest.raises(OutOfMemory):
        run_all(Worker(fail), journal)
    later = Worker()
    run_all(later, MemoryJournal(later=journal.points[-1][1]))
    assert later.made == [2]


def test_a_state_that_is_not_finite_is_found_after_its_move() -> None:
    @dataclass(frozen=True)
    class Broken(Worker):
        def prepare(self, state: Work) -> Preparation | None:
            made = Worker.prepare(self, state)
            assert made is not None
            return replace(made, state=replace(made.state, value=np.float64("nan") * np.ones(2)))

    stage = Broken()
    with pytest.raises(BadOutput, match="2 values of its state are NaN"):
        run_all(check_outputs(stage, checks=("finite",)))
    assert stage.made == [0]


def test_frames_follow_the_first_position_of_the_stream() -> None:
    state = Chain((Worker(),)).start(VIDEO.spec, Position(5, F(1, 5)))
    assert state[0].phase == "running"
