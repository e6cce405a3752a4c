"""Adapters: the input of the function, and errors if it breaks its contract."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction as F
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filmgate.core.adapters import UntilNext, Window, blocks, each, repeat_edges, windowed
from filmgate.core.chain import Chain
from filmgate.core.frame import Frame
from filmgate.core.stage import AnyStage, Reach
from filmgate.errors import BadSetting, StageContractError
from filmgate.testing.laws import run_chain
from filmgate.testing.sample_video import SampleVideo
from tests.laws.synthetic import SPEC, make_video


def get_index(frame: Frame | None) -> int | None:
    return None if frame is None else frame.index


def record_windows(
    video: SampleVideo, before: int, after: int
) -> list[tuple[tuple[int | None, ...], int, bool]]:
    """Return the frame indices of each window, its centre's, and whether it is the last."""
    windows_seen: list[tuple[tuple[int | None, ...], int, bool]] = []

    def record(windows: Sequence[Window]) -> list[list[Frame]]:
        windows_seen.extend(
            (tuple(map(get_index, w.frames)), w.centre.index, w.last) for w in windows
        )
        return [[w.centre] for w in windows]

    run_chain(Chain((windowed(record, before, after),)), video, range(0, 40, 3))
    return windows_seen


def test_a_window_has_none_outside_the_video() -> None:
    assert record_windows(make_video([1] * 4, 0), 1, 2) == [
        ((None, 0, 1, 2), 0, False),
        ((0, 1, 2, 3), 1, False),
        ((1, 2, 3, None), 2, False),
        ((2, 3, None, None), 3, True),
    ]


def test_a_window_has_none_beyond_a_shot_boundary() -> None:
    video = make_video([1] * 6, 0, frozenset({2, 5}))
    assert [frames for frames, _, _ in record_windows(video, 2, 2)] == [
        (None, None, 0, 1, None),
        (None, 0, 1, None, None),
        (None, None, 2, 3, 4),
        (None, 2, 3, 4, None),
        (2, 3, 4, None, None),
        (None, None, 5, None, None),
    ]


@given(st.integers(1, 12), st.frozensets(st.integers(1, 12)), st.integers(0, 3), st.integers(0, 3))
def test_windows_match_their_definition(
    n: int, cuts: frozenset[int], before: int, after: int
) -> None:
    shot = [sum(cut <= i for cut in cuts) for i in range(n)]
    want = [
        tuple(
            k if 0 <= k < n and shot[k] == shot[i] else None
            for k in range(i - before, i + after + 1)
        )
        for i in range(n)
    ]
    windows = record_windows(make_video([1] * n, 0, cuts), before, after)
    assert [frames for frames, _, _ in windows] == want
    assert [centre for _, centre, _ in windows] == list(range(n))
    assert [last for _, _, last in windows] == [after > 0 and i == n - 1 for i in range(n)]


def test_repeat_edges_uses_the_nearest_existing_frame() -> None:
    video = make_video([1] * 6, 0, frozenset({2, 5}))
    filled: list[list[int]] = []

    def record(windows: Sequence[Window]) -> list[list[Frame]]:
        filled.extend([f.index for f in repeat_edges(w)] for w in windows)
        return [[w.centre] for w in windows]

    run_chain(Chain((windowed(record, 2, 2),)), video)
    assert filled[:3] == [[0, 0, 0, 1, 1], [0, 0, 1, 1, 1], [2, 2, 2, 3, 4]]


def test_windowed_sets_indices_and_may_start_anywhere() -> None:
    video = make_video([2] * 4, 0)
    late = SampleVideo(SPEC, tuple(replace(f, index=f.index + 5) for f in video.frames))

    def repeat(windows: Sequence[Window]) -> list[list[Frame]]:
        return [[w.centre, w.centre] for w in windows]

    outputs = run_chain(Chain((windowed(repeat, 0, 1, first_index=lambda at: 2 * at.index),)), late)
    assert [frame.index for frame in outputs] == list(range(10, 18))


def add_frames(frames: Sequence[Frame]) -> list[Frame]:
    return [*frames, *frames]


def drop_first(items: Sequence[Any]) -> list[Any]:
    return list(items)[1:]


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (lambda: each(add_frames), "add_frames returned 2 frames for 1"),
        (lambda: each(add_frames, threads=2), "add_frames returned 2 frames for 1"),
        (lambda: windowed(drop_first, 0, 1), "drop_first returned 0 results for 1 windows"),
        (lambda: blocks(drop_first, 4), "drop_first returned 3 images for a clip of 4 frames"),
    ],
)
def test_a_function_that_breaks_its_contract_is_named(
    stage: Callable[[], AnyStage], message: str
) -> None:
    with pytest.raises(StageContractError, match=message):
        run_chain(Chain((stage(),)), make_video([1] * 5, 0))


@given(st.integers(0, 17), st.integers(1, 6), st.data(), st.integers(0, 7))
def test_blocks_gets_full_clips_on_multiples_of_the_stride(
    n: int, length: int, data: st.DataObject, start: int
) -> None:
    overlap = data.draw(st.integers(0, length - 1))
    clips = []

    def record(frames: Sequence[Frame]) -> list[Any]:
        clips.append([frame.index for frame in frames])
        return [frame.image for frame in frames]

    video = make_video([1] * n, 0)
    frames = tuple(replace(f, index=f.index + start) for f in video.frames)
    outputs = run_chain(
        Chain((blocks(record, length, overlap),)), SampleVideo(SPEC, frames), range(0, n, 2)
    )
    assert [frame.index for frame in outputs] == [frame.index for frame in frames]
    if not frames:
        return
    stride, end = length - overlap, start + n - 1
    first = start - start % stride
    for k, clip in enumerate(clips):
        numbers = range(first + k * stride, first + k * stride + length)
        assert clip == [min(max(i, start), end) for i in numbers]


def test_blocks_blends_where_clips_overlap() -> None:
    level = iter([0.0, 3.0, 9.0])

    def fill(frames: Sequence[Frame]) -> list[Any]:
        value = next(level)
        return [value for _ in frames]

    outputs = run_chain(Chain((blocks(fill, 4, 2),)), make_video([1] * 6, 0))
    assert [frame.image for frame in outputs] == [0, 0, 1, 2, 3, 3]


@pytest.mark.parametrize(("length", "overlap"), [(4, 4), (4, -1), (0, 0)])
def test_blocks_refuses_an_overlap_as_long_as_the_clip(length: int, overlap: int) -> None:
    with pytest.raises(BadSetting, match=f"overlap is {overlap} and length {length}"):
        blocks(drop_first, length, overlap)


def test_until_next_extends_each_frame_to_the_next_one() -> None:
    video = make_video([1, 2, 3, 4], 0)
    some = SampleVideo(SPEC, (video.frames[0], video.frames[3]))
    outputs = run_chain(Chain((UntilNext(),)), some)
    assert [(f.time, f.duration) for f in outputs] == [(0, F(6, 600)), (F(6, 600), F(4, 600))]


def test_reach_is_in_seconds_of_the_stream_and_adds_up() -> None:
    steady = replace(SPEC, rate=F(25))
    chain = Chain((windowed(drop_first, 1, 2), each(drop_first), blocks(drop_first, 5, 1)))
    assert chain.reach(steady) == Reach(F(1 + 4 + 4, 25), F(2 + 4, 25))
    assert chain.reach(replace(SPEC, rate=None)) == Reach(None, None)
