"""Frames at a constant rate: which frame is shown when, shot boundaries, the number of frames."""

from fractions import Fraction as F

import pytest

from filmgate.core.chain import Chain
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.join import SOURCE
from filmgate.flow.constant_rate import ConstantRate, SkipFrames
from filmgate.testing import SampleVideo, laws, make_sample_video


def make_video(durations: list[F], cuts: tuple[int, ...] = ()) -> SampleVideo:
    frames, time = [], F(0)
    for n, duration in enumerate(durations):
        extras = {"cut": True} if n in cuts else {}
        frames.append(Frame(n, time, duration, make_sample_video(1).frames[0].image, extras))
        time += duration
    spec = StreamSpec(width=32, height=24, rate=None, time_base=F(1, 600), pixels="rgb",
                      dtype="float32")  # fmt: skip
    return SampleVideo(spec, tuple(frames))


def show(video: SampleVideo, count: int | None = None) -> list[int]:
    """Return the source's frame of each output."""
    outputs = laws.run_chain(Chain((ConstantRate(F(25), count),)), video)
    assert [frame.index for frame in outputs] == list(range(len(outputs)))
    assert all(frame.time == F(frame.index, 25) for frame in outputs)
    return [int(frame.extras[SOURCE]) for frame in outputs]  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("rate", "count", "shown"),
    [
        (F(25), 6, [0, 1, 2, 3, 4, 5]),
        (F(30), 6, [0, 1, 3, 4, 5]),
        (F(50), 6, [1, 3, 5]),
        (F(25, 2), 3, [0, 0, 1, 1, 2, 2]),
    ],
)
def test_frame_of_the_middle_of_each_time_is_shown(rate: F, count: int, shown: list[int]) -> None:
    assert show(make_video([1 / rate] * count)) == shown


def test_times_with_jitter_of_a_millisecond_drop_nothing() -> None:
    durations = [F(n, 1000) for n in (41, 39, 40, 41, 40, 39, 40)]
    assert show(make_video(durations)) == list(range(7))


def test_no_more_than_the_wanted_frames_come_out() -> None:
    video = make_video([F(1, 25)] * 8)
    assert show(video, 5) == [0, 1, 2, 3, 4]
    assert show(video, 99) == list(range(8))
    spec = make_sample_video(1).spec
    assert ConstantRate(F(25), 5).output(spec).frames == 5


def test_a_shot_boundary_at_a_dropped_frame_is_at_the_next_one() -> None:
    """Of frames at 50 a second, 2 is dropped and 3 is shown."""
    outputs = laws.run_chain(Chain((ConstantRate(F(25)),)), make_video([F(1, 50)] * 8, cuts=(2, 6)))
    assert [frame.index for frame in outputs if frame.extras.get("cut")] == [1, 3]
    slow = laws.run_chain(Chain((ConstantRate(F(25)),)), make_video([F(2, 25)] * 4, cuts=(2,)))
    assert [frame.index for frame in slow if frame.extras.get("cut")] == [4]


def test_laws() -> None:
    video = make_video([F(n, 600) for n in (25, 20, 40, 3, 90, 25, 24) * 2], cuts=(3,))
    outputs = list(ConstantRate(F(25)).convert_times(video.frames))
    laws.check_stage(ConstantRate(F(25)), video, total=outputs[-1].end, tries=2)


def test_skipped_frames_leave_a_stream_that_starts_at_0() -> None:
    video = make_sample_video(12)
    for count in (0, 5, 12, 20):
        outputs = laws.run_chain(Chain((SkipFrames(count),)), video)
        kept = zip(outputs, video.frames[count:], strict=True)
        assert all(frame.image is old.image for frame, old in kept)
        assert [(frame.index, frame.time) for frame in outputs] == [
            (n, n / F(25)) for n in range(12 - min(count, 12))
        ]
    laws.check_stage(SkipFrames(3), video, total=F(9, 25), tries=1)
