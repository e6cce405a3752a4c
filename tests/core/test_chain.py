"""Chains: batches do not depend on how the video is split; out-of-memory names its stage."""

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
from filmgate.testing.laws import assert_same_frames, run_chain
from tests.laws.synthetic import STAGES, brighten, make_video

START = Position(0, make_video([], 0).spec.time_base * 0)


def record_batches(n: int, batch: int, cuts: Iterable[int]) -> list[list[int]]:
    """Return the frame indices in each call of the second stage's function."""
    calls = []

    def spy(frames: Sequence[Frame]) -> Sequence[Frame]:
        calls.append([frame.index for frame in frames])
        return frames

    delay = windowed(lambda windows: [[w.centre] for w in windows], 0, 1)
    run_chain(Chain((delay, each(spy)), (2, batch)), make_video([1] * n, 0), cuts)
    return calls


@given(st.integers(0, 30), st.sampled_from([1, 2, 4, 8]), st.lists(st.integers(0, 30)))
def test_batches_do_not_depend_on_how_the_video_is_split(
    n: int, batch: int, cuts: list[int]
) -> None:
    calls = record_batches(n, batch, cuts)
    assert calls == [list(range(i, min(n, i + batch))) for i in range(0, n, batch)]


def test_batches_of_a_stream_that_starts_late_are_on_the_same_grid() -> None:
    calls: list[list[int]] = []

    def spy(frames: Sequence[Frame]) -> Sequence[Frame]:
        calls.append([frame.index for frame in frames])
        return frames

    chain, video = Chain((each(spy),), (4,)), make_video([1] * 12, 0)
    state, _ = chain.step(chain.start(video.spec, START), video.frames[5:])
    chain.finish(state)
    assert calls == [[5, 6, 7], [8, 9, 10, 11]]


def test_a_halved_batch_keeps_the_grid_up_to_the_end_of_the_video() -> None:
    """If the tail went to the stage in one piece, no smaller batch could make it fit."""
    calls: list[int] = []

    def spy(frames: Sequence[Frame]) -> Sequence[Frame]:
        calls.append(len(frames))
        if len(frames) > 2:
            raise MemoryError
        return frames

    video = make_video([1] * 15, 0)
    assert_same_frames(
        run_chain(Chain((each(spy),), (8,)), video, [3, 7, 9]), video.frames, "a smaller batch"
    )
    assert calls == [8, 4, 2, 2, 2, 2, 2, 2, 2, 1]


def test_the_tail_of_a_video_is_no_larger_than_a_batch() -> None:
    chain, video = (
        Chain((STAGES["windowed, smooths"](), each(brighten)), (1, 4)),
        make_video([1] * 9, 0),
    )
    state, made = chain.step(chain.start(video.spec, START), video.frames)
    moves, ended = [len(made)], chain.finish(state)
    while ended[0] is not None:
        moves.append(len(ended[1]))
        ended = chain.finish(ended[0])
    assert max(moves[1:]) <= 4
    assert sum(moves) == 9


def test_stages_that_never_got_a_frame_return_none() -> None:
    assert (
        run_chain(Chain(tuple(STAGES[name]() for name in sorted(STAGES))), make_video([], 0)) == []
    )
    chain = Chain((STAGES["recurrent"](),))
    state: Any = chain.start(make_video([], 0).spec, START)
    while state is not None:
        state, made = chain.finish(state)
        assert made == []


def make_numpy_error() -> Exception:
    try:
        np.empty(1 << 60, np.uint8)
    except MemoryError as error:
        return error
    raise AssertionError("a machine with an exabyte of memory")


def make_torch_error() -> Exception:
    import torch

    return torch.OutOfMemoryError("CUDA out of memory")


def make_accelerator_error(message: str) -> Exception:
    import torch

    return torch.AcceleratorError(
        f"{message}\nCUDA kernel errors might be asynchronously reported at some other API call"
    )


def make_opencv_error() -> Exception:
    import cv2

    error = cv2.error("Insufficient memory")
    error.code = -4
    return error


ERRORS: dict[str, Callable[[], Exception]] = {
    "python": lambda: MemoryError("no more"),
    "numpy": make_numpy_error,
    "torch on a device": make_torch_error,
    "torch on the cpu": lambda: RuntimeError(
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you"
    ),
    "opencv": make_opencv_error,
    "torch on Windows": lambda: RuntimeError(
        "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate"
    ),
    "the driver": lambda: make_accelerator_error("CUDA error: out of memory"),
    "the driver, AMD": lambda: make_accelerator_error("HIP error: out of memory"),
    "apple": lambda: RuntimeError("MPS backend out of memory (MPS allocated: 17 GiB, other: 1)"),
    "amd": lambda: RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB"),
    "cublas": lambda: RuntimeError(
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
    ),
    "cublas at its start": lambda: RuntimeError(
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"
    ),
    "hipblas": lambda: RuntimeError("CUDA error: HIPBLAS_STATUS_ALLOC_FAILED when calling"),
    "cusolver": lambda: RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling"),
    "cufft": lambda: RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
    "cudnn": lambda: RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "cudnn 9": lambda: RuntimeError(
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"
    ),
    "cudnn has no algorithm": lambda: RuntimeError(
        "GET was unable to find an engine to execute this computation"
    ),
    "cudnn has no algorithm, old": lambda: RuntimeError(
        "Unable to find a valid cuDNN algorithm to run convolution"
    ),
}


@pytest.mark.parametrize("kind", sorted(ERRORS))
def test_every_kind_of_out_of_memory_names_its_stage_and_batch(kind: str) -> None:
    def fail(frames: Sequence[Frame]) -> Sequence[Frame]:
        raise ERRORS[kind]()

    chain, video = Chain((each(brighten), each(fail)), (1, 2)), make_video([1] * 4, 0)
    with pytest.raises(OutOfMemory, match=r"^stage 1 ran out of memory with 2 frames") as caught:
        chain.step(chain.start(video.spec, START), video.frames)
    assert (caught.value.stage, caught.value.batch) == (1, 2)


@pytest.mark.parametrize("wrap", [StageWrapper, check_outputs])
def test_out_of_memory_in_an_inner_chain_names_the_outer_stage(
    wrap: Callable[[Any], Any],
) -> None:
    def fail(frames: Sequence[Frame]) -> Sequence[Frame]:
        raise make_torch_error()

    video = make_video([1] * 4, 0)
    inner = wrap(Chain((each(brighten), each(brighten), each(fail))))
    chain = Chain((each(brighten), inner), (1, 2))
    with pytest.raises(OutOfMemory, match=r"^stage 1 ran out .* 2 frames.*: CUDA out of") as caught:
        chain.step(chain.start(video.spec, START), video.frames)
    assert (caught.value.stage, caught.value.batch) == (1, 2)
    assert chain.halve_batch(caught.value.stage).batches == (1, 1)


def test_the_output_of_a_batch_reaches_the_end_before_the_next_batch() -> None:
    """So only one batch of a chunk is between two stages."""
    calls: list[tuple[str, int]] = []

    def spy(name: str) -> Any:
        def record(frames: Sequence[Frame]) -> Sequence[Frame]:
            calls.extend((name, frame.index) for frame in frames)
            return frames

        return each(record)

    video = make_video([1] * 3, 0)
    run_chain(Chain((spy("a"), spy("b"))), video)
    assert calls == [(name, n) for n in range(3) for name in ("a", "b")]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shape"),
        KeyError("x"),
        OSError(-4, "x"),
        ValueError("the text 'CUDA out of memory' of a user"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
    ],
)
def test_other_errors_are_raised_unchanged(error: Exception) -> None:
    def fail(frames: Sequence[Frame]) -> Sequence[Frame]:
        raise error

    chain, video = Chain((each(fail),)), make_video([1], 0)
    with pytest.raises(type(error)) as caught:
        chain.step(chain.start(video.spec, START), video.frames)
    assert caught.value is error


def test_out_of_memory_does_not_keep_the_failed_tensors_alive() -> None:
    """A traceback that holds the frames of the call leaves no more memory for the retry."""
    import torch

    held: list[weakref.ref[Any]] = []

    def fail(frames: Sequence[Frame]) -> Sequence[Frame]:
        big = torch.zeros(1000)
        held.append(weakref.ref(big))
        raise MemoryError

    chain, video = Chain((each(fail),)), make_video([1], 0)
    gc.disable()
    try:
        with pytest.raises(OutOfMemory) as caught:
            chain.step(chain.start(video.spec, START), video.frames)
        assert held[0]() is None
        assert caught.value.__context__ is None
    finally:
        gc.enable()


def test_batches_must_be_powers_of_two_and_one_per_stage() -> None:
    with pytest.raises(BadSetting, match="must be a power of two"):
        Chain((each(brighten),), (3,))
    with pytest.raises(BadSetting, match="2 batches for a chain of 1 stages"):
        Chain((each(brighten),), (1, 2))
    with pytest.raises(OutOfMemory, match="has no smaller batch"):
        Chain((each(brighten),)).halve_batch(0)


def test_nested_chains_are_flattened_and_keep_their_batches() -> None:
    inner = Chain((each(brighten), each(brighten)), (4, 2))
    chain = Chain((inner, each(brighten)), (1, 8))
    assert chain.batches == (4, 2, 8)
    assert chain.names == ("brighten 1", "brighten 2", "brighten 3")
    assert Chain(()).name == "identity"


def test_a_step_does_not_change_the_state_it_is_given() -> None:
    chain = Chain((STAGES["windowed, smooths"](), STAGES["recurrent"]()), (4, 2))
    video = make_video([1] * 10, 0)
    early, _ = chain.step(chain.start(video.spec, START), video.frames[:5])
    once = chain.step(early, video.frames[5:])[1]
    again = chain.step(early, video.frames[5:])[1]
    assert_same_frames(again, once, "a state is a value")
