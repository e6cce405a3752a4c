"""Interpolate: how many frames, at which exact times, and who is never mixed with whom."""

from collections.abc import Sequence
from fractions import Fraction as F
from math import ceil, floor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filmgate.core.adapters import UntilNext, windowed
from filmgate.core.chain import Chain
from filmgate.core.frame import Frame
from filmgate.errors import BadSetting
from filmgate.tasks.interpolate import PAUSE, Draw, Interpolate
from filmgate.testing import laws
from tests.laws.synthetic import film_of, videos

fractions = st.fractions(F(1, 5), 6, max_denominator=12)


def mix(a: Any, b: Any, parts: Sequence[F]) -> list[Any]:
    return [a + (b - a) * float(part) for part in parts]


def drawn(task: Interpolate, video: laws.SampleVideo) -> list[Frame]:
    """What the task makes of the film when its model is a plain mix and cuts are known."""
    draw = Draw(task.grid, task.ends == "drop", mix)
    stage = windowed(draw, 0, 1, name="interpolate", first=task.grid.first)
    return laws.play(Chain((stage, UntilNext())), video)


def value(frame: Frame) -> float:
    return float(np.asarray(frame.image).flat[0])


def test_n_frames_become_2n_and_the_last_is_held() -> None:
    video = film_of([25] * 7, 1)
    made = drawn(Interpolate(factor=2), video)
    assert [f.time for f in made] == [F(k, 48) for k in range(14)]
    assert value(made[-1]) == value(made[-2]) == value(video.frames[-1])


def test_n_frames_become_2n_less_1_when_ends_are_dropped() -> None:
    made = drawn(Interpolate(factor=2, ends="drop"), film_of([25] * 7, 1))
    assert len(made) == 13
    assert {f.duration for f in made} == {F(1, 48)}


@given(videos(1), fractions)
def test_output_k_stands_at_input_k_over_factor(video: laws.SampleVideo, factor: F) -> None:
    made = drawn(Interpolate(factor=factor), video)
    assert len(made) == ceil(len(video.frames) * factor)
    for k, frame in enumerate(made):
        place = k / factor
        before = video.frames[floor(place)]
        assert frame.index == k
        assert frame.time == before.time + (place - floor(place)) * before.duration
    assert made[-1].end == video.frames[-1].end


@given(videos(1), st.sampled_from([F(24), F(60), F(60000, 1001), F(7), F(1, 2)]))
def test_output_k_stands_at_k_over_fps_up_to_the_end(video: laws.SampleVideo, fps: F) -> None:
    made = drawn(Interpolate(fps=fps), video)
    assert [f.time for f in made] == [k / fps for k in range(ceil(video.frames[-1].end * fps))]
    assert made[-1].end == video.frames[-1].end


@given(videos(2), st.sampled_from([2, 3, F(5, 2)]))
def test_nothing_is_mixed_across_a_cut(video: laws.SampleVideo, factor: F) -> None:
    shots: list[list[Frame]] = [[]]
    for frame in video.frames:
        shots += [[]] if frame.extras.get("cut") else []
        shots[-1].append(frame)
    for shot in filter(None, shots):
        low, high = min(map(value, shot)), max(map(value, shot))
        for frame in drawn(Interpolate(factor=factor), video):
            if shot[0].time <= frame.time < shot[-1].end:
                assert low - 1e-9 <= value(frame) <= high + 1e-9


@given(videos(1), fractions, st.sampled_from(["hold", "drop"]), st.booleans(), fractions)
def test_the_timeline_that_check_expects_is_what_comes_out(
    video: laws.SampleVideo, number: F, ends: Any, by_rate: bool, slow: F
) -> None:
    fps, factor = (number * 10, None) if by_rate else (None, number)
    task = Interpolate(fps=fps, factor=factor, ends=ends, slow=slow)
    made, wanted = drawn(task, video), list(task.timeline(video.frames))
    assert [(f.index, f.time, f.duration) for f in made] == [
        (f.index, f.time, f.duration) for f in wanted
    ]


def test_slow_alone_keeps_the_rate_and_stretches_the_time() -> None:
    video = film_of([25] * 5, 1)
    made = drawn(Interpolate(slow=4), video)
    assert {f.duration for f in made} == {F(1, 24)}
    assert made[-1].end == 4 * video.frames[-1].end
    assert Interpolate(slow=4, sound="drop").stretch is None


def test_a_pause_is_held_for_its_memory_would_have_no_bound() -> None:
    video = film_of([25, 600 * 60, 25], 1)
    made = drawn(Interpolate(fps=60), video)
    assert len(made) > 60 * PAUSE // 4
    assert {value(f) for f in made if F(1, 24) <= f.time < 60} == {value(video.frames[1])}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"factor": 0}, "factor is 0: wanted more than 0"),
        ({"fps": -3}, "fps is -3: wanted more than 0"),
        ({"factor": 2, "fps": 60}, "factor is 2 and fps is 60"),
    ],
)
def test_a_setting_that_cannot_be_is_said(settings: dict[str, int], words: str) -> None:
    with pytest.raises(BadSetting, match=words):
        Interpolate(**settings)  # type: ignore[arg-type]
