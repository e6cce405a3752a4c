"""The adapters: what a function is shown, and what happens where it breaks its word."""

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
from filmgate.testing.laws import SampleVideo, play
from tests.laws.synthetic import SPEC, film_of


def number(frame: Frame | None) -> int | None:
    return None if frame is None else frame.index


def shown(
    video: SampleVideo, before: int, after: int
) -> list[tuple[tuple[int | None, ...], int, bool]]:
    """The numbers of the frames in every window, its centre's, and whether it is the last."""
    seen: list[tuple[tuple[int | None, ...], int, bool]] = []

    def look(windows: Sequence[Window]) -> list[list[Frame]]:
        seen.extend((tuple(map(number, w.frames)), w.centre.index, w.last) for w in windows)
        return [[w.centre] for w in windows]

    play(Chain((windowed(look, before, after),)), video, range(0, 40, 3))
    return seen


def test_a_window_has_none_outside_the_film() -> None:
    assert shown(film_of([1] * 4, 0), 1, 2) == [
        ((None, 0, 1, 2), 0, False),
        ((0, 1, 2, 3), 1, False),
        ((1, 2, 3, None), 2, False),
        ((2, 3, None, None), 3, True),
    ]


def test_a_window_has_none_beyond_a_cut_on_either_side() -> None:
    video = film_of([1] * 6, 0, frozenset({2, 5}))
    assert [frames for frames, _, _ in shown(video, 2, 2)] == [
        (None, None, 0, 1, None),
        (None, 0, 1, None, None),
        (None, None, 2, 3, 4),
        (None, 2, 3, 4, None),
        (2, 3, 4, None, None),
        (None, None, 5, None, None),
    ]


@given(st.integers(1, 12), st.frozensets(st.integers(1, 12)), st.integers(0, 3), st.integers(0, 3))
def test_windows_are_what_the_definition_says(
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
    seen = shown(film_of([1] * n, 0, cuts), before, after)
    assert [frames for frames, _, _ in seen] == want
    assert [centre for _, centre, _ in seen] == list(range(n))
    assert [last for _, _, last in seen] == [after > 0 and i == n - 1 for i in range(n)]


def test_repeat_edges_takes_the_nearest_frame_that_is_there() -> None:
    video = film_of([1] * 6, 0, frozenset({2, 5}))
    filled: list[list[int]] = []

    def look(windows: Sequence[Window]) -> list[list[Frame]]:
        filled.extend([f.index for f in repeat_edges(w)] for w in windows)
        return [[w.centre] for w in windows]

    play(Chain((windowed(look, 2, 2),)), video)
    assert filled[:3] == [[0, 0, 0, 1, 1], [0, 0, 1, 1, 1], [2, 2, 2, 3, 4]]


def test_windowed_numbers_what_it_makes_and_may_start_anywhere() -> None:
    video = film_of([2] * 4, 0)
    late = SampleVideo(SPEC, tuple(replace(f, index=f.index + 5) for f in video.frames))

    def two(windows: Sequence[Window]) -> list[list[Frame]]:
        return [[w.centre, w.centre] for w in windows]

    made = play(Chain((windowed(two, 0, 1, first=lambda at: 2 * at.index),)), late)
    assert [frame.index for frame in made] == list(range(10, 18))


def more(frames: Sequence[Frame]) -> list[Frame]:
    return [*frames, *frames]


def fewer(items: Sequence[Any]) -> list[Any]:
    return list(items)[1:]


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (lambda: each(more), "more: 1 frames went in and 2 came out"),
        (lambda: each(more, threads=2), "more: 1 frames went in and 2 came out"),
        (lambda: windowed(fewer, 0, 1), "fewer: 1 windows went in and 0 results came out"),
        (lambda: blocks(fewer, 4), "fewer: a clip of 4 frames went in and 3 results came out"),
    ],
)
def test_a_function_that_breaks_its_word_is_named(
    stage: Callable[[], AnyStage], message: str
) -> None:
    with pytest.raises(StageContractError, match=message):
        play(Chain((stage(),)), film_of([1] * 5, 0))


@given(st.integers(0, 17), st.integers(1, 6), st.data(), st.integers(0, 7))
def test_blocks_sees_whole_clips_anchored_to_multiples_of_the_stride(
    n: int, length: int, data: st.DataObject, start: int
) -> None:
    overlap = data.draw(st.integers(0, length - 1))
    clips = []

    def look(frames: Sequence[Frame]) -> list[Any]:
        clips.append([frame.index for frame in frames])
        return [frame.image for frame in frames]

    video = film_of([1] * n, 0)
    frames = tuple(replace(f, index=f.index + start) for f in video.frames)
    made = play(Chain((blocks(look, length, overlap),)), SampleVideo(SPEC, frames), range(0, n, 2))
    assert [frame.index for frame in made] == [frame.index for frame in frames]
    if not frames:
        return
    stride, end = length - overlap, start + n - 1
    begin = start - start % stride
    for k, clip in enumerate(clips):
        numbers = range(begin + k * stride, begin + k * stride + length)
        assert clip == [min(max(i, start), end) for i in numbers]


def test_blocks_blends_where_clips_overlap() -> None:
    level = iter([0.0, 3.0, 9.0])

    def flat(frames: Sequence[Frame]) -> list[Any]:
        value = next(level)
        return [value for _ in frames]

    made = play(Chain((blocks(flat, 4, 2),)), film_of([1] * 6, 0))
    assert [frame.image for frame in made] == [0, 0, 1, 2, 3, 3]


@pytest.mark.parametrize(("length", "overlap"), [(4, 4), (4, -1), (0, 0)])
def test_blocks_refuses_clips_that_do_not_move_on(length: int, overlap: int) -> None:
    with pytest.raises(BadSetting, match=f"overlap is {overlap} and length {length}"):
        blocks(fewer, length, overlap)


def test_until_next_lets_each_frame_last_until_the_next_one() -> None:
    video = film_of([1, 2, 3, 4], 0)
    some = SampleVideo(SPEC, (video.frames[0], video.frames[3]))
    made = play(Chain((UntilNext(),)), some)
    assert [(f.time, f.duration) for f in made] == [(0, F(6, 600)), (F(6, 600), F(4, 600))]


def test_reach_is_in_seconds_of_the_stream_and_adds_up() -> None:
    steady = replace(SPEC, rate=F(25))
    chain = Chain((windowed(fewer, 1, 2), each(fewer), blocks(fewer, 5, 1)))
    assert chain.reach(steady) == Reach(F(1 + 4 + 4, 25), F(2 + 4, 25))
    assert chain.reach(replace(SPEC, rate=None)) == Reach(None, None)
