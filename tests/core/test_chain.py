"""The line: the same batches however the film is cut, and every kind of out-of-memory named."""

import gc
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filmgate.core.adapters import each, windowed
from filmgate.core.chain import Chain
from filmgate.core.frame import Frame, Position
from filmgate.core.stage import StageWrapper
from filmgate.core.wrappers.output_checks import check_outputs
from filmgate.errors import BadSetting, OutOfMemory
from filmgate.testing.laws import play, same
from tests.laws.synthetic import STAGES, brighten, film_of

START = Position(0, film_of([], 0).spec.time_base * 0)


def seen_batches(n: int, batch: int, cuts: Iterable[int]) -> list[list[int]]:
    """The numbers of the frames in every call of the second stage's function."""
    calls = []

    def spy(frames: Sequence[Frame]) -> Sequence[Frame]:
        calls.append([frame.index for frame in frames])
        return frames

    delay = windowed(lambda windows: [[w.centre] for w in windows], 0, 1)
    play(Chain((delay, each(spy)), (2, batch)), film_of([1] * n, 0), cuts)
    return calls


@given(st.integers(0, 30), st.sampled_from([1, 2, 4, 8]), st.lists(st.integers(0, 30)))
def test_a_network_sees_the_same_batches_wherever_the_film_is_cut(
    n: int, batch: int, cuts: list[int]
) -> None:
    calls = seen_batches(n, batch, cuts)
    assert calls == [list(range(i, min(n, i + batch))) for i in range(0, n, batch)]


def test_batches_of_a_stream_that_starts_late_lie_on_the_same_grid() -> None:
    calls: list[list[int]] = []

    def spy(frames: Sequence[Frame]) -> Sequence[Frame]:
        calls.append([frame.index for frame in frames])
        return frames

    chain, video = Chain((each(spy),), (4,)), film_of([1] * 12, 0)
    state, _ = chain.step(chain.start(video.spec, START), video.frames[5:])
    chain.finish(state)
    assert calls == [[5, 6, 7], [8, 9, 10, 11]]


def test_a_smaller_batch_keeps_the_grid_and_is_kept_to_at_the_end_of_the_film() -> None:
    """The tail once went to the stage in one piece, so no smaller batch could ever save it."""
    calls: list[int] = []

    def spy(frames: Sequence[Frame]) -> Sequence[Frame]:
        calls.append(len(frames))
        if len(frames) > 2:
            raise MemoryError
        return frames

    video = film_of([1] * 15, 0)
    same(play(Chain((each(spy),), (8,)), video, [3, 7, 9]), video.frames, "a smaller batch")
    assert calls == [8, 4, 2, 2, 2, 2, 2, 2, 2, 1]


def test_the_tail_of_a_film_is_no_bigger_than_a_batch() -> None:
    chain, video = (
        Chain((STAGES["windowed, smooths"](), each(brighten)), (1, 4)),
        film_of([1] * 9, 0),
    )
    state, made = chain.step(chain.start(video.spec, START), video.frames)
    moves, ended = [len(made)], chain.finish(state)
    while ended[0] is not None:
        moves.append(len(ended[1]))
        ended = chain.finish(ended[0])
    assert max(moves[1:]) <= 4
    assert sum(moves) == 9


def test_stages_that_never_saw_a_frame_give_none() -> None:
    assert play(Chain(tuple(STAGES[name]() for name in sorted(STAGES))), film_of([], 0)) == []
    chain = Chain((STAGES["recurrent"](),))
    state: Any = chain.start(film_of([], 0).spec, START)
    while state is not None:
        state, made = chain.finish(state)
        assert made == []


def numpy_memory() -> Exception:
    try:
        np.empty(1 << 60, np.uint8)
    except MemoryError as error:
        return error
    raise AssertionError("a machine with an exabyte of memory")


def torch_memory() -> Exception:
    import torch

    return torch.OutOfMemoryError("CUDA out of memory")


def opencv_memory() -> Exception:
    import cv2

    error = cv2.error("Insufficient memory")
    error.code = -4
    return error


SHORTAGES: dict[str, Callable[[], Exception]] = {
    "python": lambda: MemoryError("no more"),
    "numpy": numpy_memory,
    "torch on a device": torch_memory,
    "torch on the cpu": lambda: RuntimeError(
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you"
    ),
    "opencv": opencv_memory,
}


@pytest.mark.parametrize("kind", sorted(SHORTAGES))
def test_every_kind_of_out_of_memory_names_its_stage_and_batch(kind: str) -> None:
    def starve(frames: Sequence[Frame]) -> Sequence[Frame]:
        raise SHORTAGES[kind]()

    chain, video = Chain((each(brighten), each(starve)), (1, 2)), film_of([1] * 4, 0)
    with pytest.raises(OutOfMemory, match=r"^stage 1 ran out of memory with 2 frames") as caught:
        chain.step(chain.start(video.spec, START), video.frames)
    assert (caught.value.stage, caught.value.batch) == (1, 2)


@pytest.mark.parametrize("around", [StageWrapper, check_outputs])
def test_out_of_memory_within_a_line_is_that_of_the_stage_which_the_line_is(
    around: Callable[[Any], Any],
) -> None:
    def starve(frames: Sequence[Frame]) -> Sequence[Frame]:
        raise torch_memory()

    video = film_of([1] * 4, 0)
    inner = around(Chain((each(brighten), each(brighten), each(starve))))
    chain = Chain((each(brighten), inner), (1, 2))
    with pytest.raises(OutOfMemory, match=r"^stage 1 ran out .* 2 frames.*: CUDA out of") as caught:
        chain.step(chain.start(video.spec, START), video.frames)
    assert (caught.value.stage, caught.value.batch) == (1, 2)
    assert chain.smaller(caught.value.stage).batches == (1, 1)


def test_what_a_stage_makes_goes_on_before_its_next_batch() -> None:
    """So of a chunk one frame at a time is between two stages."""
    calls: list[tuple[str, int]] = []

    def spy(name: str) -> Any:
        def look(frames: Sequence[Frame]) -> Sequence[Frame]:
            calls.extend((name, frame.index) for frame in frames)
            return frames

        return each(look)

    video = film_of([1] * 3, 0)
    play(Chain((spy("a"), spy("b"))), video)
    assert calls == [(name, n) for n in range(3) for name in ("a", "b")]


@pytest.mark.parametrize("error", [RuntimeError("shape"), KeyError("x"), OSError(-4, "x")])
def test_other_errors_pass_through_untouched(error: Exception) -> None:
    def fail(frames: Sequence[Frame]) -> Sequence[Frame]:
        raise error

    chain, video = Chain((each(fail),)), film_of([1], 0)
    with pytest.raises(type(error)) as caught:
        chain.step(chain.start(video.spec, START), video.frames)
    assert caught.value is error


def test_out_of_memory_does_not_keep_the_failed_tensors_alive() -> None:
    """An error's traceback held the frames of the call, so the retry had no more room than it."""
    import torch

    held: list[weakref.ref[Any]] = []

    def starve(frames: Sequence[Frame]) -> Sequence[Frame]:
        big = torch.zeros(1000)
        held.append(weakref.ref(big))
        raise MemoryError

    chain, video = Chain((each(starve),)), film_of([1], 0)
    gc.disable()
    try:
        with pytest.raises(OutOfMemory) as caught:
            chain.step(chain.start(video.spec, START), video.frames)
        assert held[0]() is None
        assert caught.value.__context__ is None
    finally:
        gc.enable()


def test_batches_are_powers_of_two_one_for_each_stage() -> None:
    with pytest.raises(BadSetting, match="wanted powers of two"):
        Chain((each(brighten),), (3,))
    with pytest.raises(BadSetting, match="1 stages and the plan 2 batches"):
        Chain((each(brighten),), (1, 2))
    with pytest.raises(OutOfMemory, match="has no smaller batch"):
        Chain((each(brighten),)).smaller(0)


def test_chains_in_chains_are_flat_and_keep_their_own_batches() -> None:
    inner = Chain((each(brighten), each(brighten)), (4, 2))
    chain = Chain((inner, each(brighten)), (1, 8))
    assert chain.batches == (4, 2, 8)
    assert chain.names == ("brighten 1", "brighten 2", "brighten 3")
    assert Chain(()).name == "identity"


def test_a_step_changes_no_state_that_was_given_to_it() -> None:
    chain = Chain((STAGES["windowed, smooths"](), STAGES["recurrent"]()), (4, 2))
    video = film_of([1] * 10, 0)
    early, _ = chain.step(chain.start(video.spec, START), video.frames[:5])
    once = chain.step(early, video.frames[5:])[1]
    again = chain.step(early, video.frames[5:])[1]
    same(again, once, "a state is a value")
