"""Interpolate: the number of frames, their exact times, and no mixing across shots."""

from collections.abc import Sequence
from dataclasses import replace
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
from filmgate.tasks.interpolate import MAX_OUTPUTS_BETWEEN, FillGap, Interpolate
from filmgate.testing import SampleVideo, laws
from tests.laws.synthetic import make_video, videos

fractions = st.fractions(F(1, 5), 6, max_denominator=12)


def blend(a: Any, b: Any, parts: Sequence[F]) -> list[Any]:
    return [a + (b - a) * float(part) for part in parts]


def interpolate(task: Interpolate, video: SampleVideo) -> list[Frame]:
    """Run the task with a linear blend as its model."""
    draw = FillGap(task.grid, task.ends == "drop", blend)
    stage = windowed(draw, 0, 1, name="interpolate", first_index=task.grid.first_index)
    return laws.run_chain(Chain((stage, UntilNext())), video)


def value(frame: Frame) -> float:
    return float(np.asarray(frame.image).flat[0])


def test_n_frames_become_2n_and_the_last_is_held() -> None:
    video = make_video([25] * 7, 1)
    outputs = interpolate(Interpolate(factor=2), video)
    assert [f.time for f in outputs] == [F(k, 48) for k in range(14)]
    assert value(outputs[-1]) == value(outputs[-2]) == value(video.frames[-1])


def test_a_remark_stays_on_the_first_frame_that_is_made_of_its_own() -> None:
    video = make_video([25] * 3, 1)
    frames = (video.frames[0], video.frames[1].with_remark("so"), video.frames[2])
    outputs = interpolate(Interpolate(factor=2), replace(video, frames=frames))
    assert [frame.extras.get("remark") for frame in outputs] == [None, None, "so", None, None, None]


def test_n_frames_become_2n_less_1_when_ends_are_dropped() -> None:
    outputs = interpolate(Interpolate(factor=2, ends="drop"), make_video([25] * 7, 1))
    assert len(outputs) == 13
    assert {f.duration for f in outputs} == {F(1, 48)}


@given(videos(1), fractions)
def test_output_k_is_at_input_k_over_factor(video: SampleVideo, factor: F) -> None:
    outputs = interpolate(Interpolate(factor=factor), video)
    assert len(outputs) == ceil(len(video.frames) * factor)
    for k, frame in enumerate(outputs):
        position = k / factor
        before = video.frames[floor(position)]
        assert frame.index == k
        assert frame.time == before.time + (position - floor(position)) * before.duration
    assert outputs[-1].end == video.frames[-1].end


@given(videos(1), st.sampled_from([F(24), F(60), F(60000, 1001), F(7), F(1, 2)]))
def test_output_k_is_at_time_k_over_fps(video: SampleVideo, fps: F) -> None:
    outputs = interpolate(Interpolate(fps=fps), video)
    assert [f.time for f in outputs] == [k / fps for k in range(ceil(video.frames[-1].end * fps))]
    assert outputs[-1].end == video.frames[-1].end


@given(videos(2), st.sampled_from([2, 3, F(5, 2)]))
def test_nothing_is_blended_across_a_shot_boundary(video: SampleVideo, factor: F) -> None:
    shots: list[list[Frame]] = [[]]
    for frame in video.frames:
        shots += [[]] if frame.extras.get("cut") else []
        shots[-1].append(frame)
    for shot in filter(None, shots):
        low, high = min(map(value, shot)), max(map(value, shot))
        for frame in interpolate(Interpolate(factor=factor), video):
            if shot[0].time <= frame.time < shot[-1].end:
                assert low - 1e-9 <= value(frame) <= high + 1e-9


@given(videos(1), fractions, st.sampled_from(["hold", "drop"]), st.booleans(), fractions)
def test_the_result_has_the_declared_timeline(
    video: SampleVideo, number: F, ends: Any, by_rate: bool, slow: F
) -> None:
    fps, factor = (number * 10, None) if by_rate else (None, number)
    task = Interpolate(fps=fps, factor=factor, ends=ends, slow=slow)
    outputs, wanted = interpolate(task, video), list(task.timeline(video.frames))
    assert [(f.index, f.time, f.duration) for f in outputs] == [
        (f.index, f.time, f.duration) for f in wanted
    ]


def test_slow_alone_keeps_the_rate_and_stretches_the_time() -> None:
    video = make_video([25] * 5, 1)
    outputs = interpolate(Interpolate(slow=4), video)
    assert {f.duration for f in outputs} == {F(1, 24)}
    assert outputs[-1].end == 4 * video.frames[-1].end
    assert Interpolate(slow=4, sound="drop").time_scale is None


def test_a_long_pause_is_held_to_bound_memory() -> None:
    video = make_video([25, 600 * 60, 25], 1)
    outputs = interpolate(Interpolate(fps=60), video)
    assert len(outputs) > 60 * MAX_OUTPUTS_BETWEEN // 4
    assert {value(f) for f in outputs if F(1, 24) <= f.time < 60} == {value(video.frames[1])}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factor": 0}, "factor is 0: wanted more than 0"),
        ({"fps": -3}, "fps is -3: wanted more than 0"),
        ({"factor": 2, "fps": 60}, "factor is 2 and fps is 60"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        Interpolate(**settings)  # type: ignore[arg-type]
