"""A run without a source video: frames are counted, a task gives them images."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction as F
from pathlib import Path

import numpy as np
import pytest

import filmgate as fg
from filmgate.core.adapters import each
from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.core.model_cache import ModelCache
from filmgate.core.snapshot import Cursor
from filmgate.core.stage import AnyStage
from filmgate.errors import BadSetting
from filmgate.media.frame_counter import FrameCounter
from filmgate.media.pixels.planes import Planes
from filmgate.tasks.job_config import job_from
from filmgate.tasks.job_form import job_to

SIZE = (64, 48)
TAGS = ColorTags(matrix="bt709", range="tv")


@dataclass(frozen=True)
class Ramp:
    """A task that generates: frame n is grey level n."""

    time_scale: F = F(1)

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[AnyStage, ...]:
        return (each(draw_ramp, name="ramp", output=describe_ramp),)

    def timeline(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        yield from frames


def describe_ramp(spec: StreamSpec) -> StreamSpec:
    width, height = SIZE
    return replace(spec, width=width, height=height, pixels="gray", colour=TAGS)


def draw_ramp(frames: Sequence[Frame]) -> list[Frame]:
    width, height = SIZE
    levels = (np.full((height, width), frame.index, np.uint8) for frame in frames)
    return [
        frame.with_image(Planes((plane,), "gray", TAGS))
        for frame, plane in zip(frames, levels, strict=True)
    ]


def test_frames_have_exact_times_and_can_be_read_from_anywhere() -> None:
    with FrameCounter(frames=7, fps=F(30000, 1001)).open() as source:
        chunks = list(source.read(None, 4))
        assert [len(frames) for frames, _ in chunks] == [4, 3]
        assert list(source.read(chunks[0][1], 4)) == chunks[1:]
        assert next(source.read(Cursor(5, 5), 4))[0][0].time == F(5 * 1001, 30000)


def test_a_video_is_generated_without_a_source_video(tmp_path: Path) -> None:
    sink = fg.VideoOutput(tmp_path / "ramp.mkv", codec="ffv1")
    done = fg.run(Ramp(), FrameCounter(frames=20, fps=25), sink)
    assert (done.read, done.written) == (20, 20)
    frames = list(fg.frames((), tmp_path / "ramp.mkv"))
    assert [(frame.time, frame.duration) for frame in frames] == [
        (F(n, 25), F(1, 25)) for n in range(20)
    ]
    assert [int(frame.image.arrays[0][0, 0]) for frame in frames] == list(range(20))  # type: ignore[attr-defined]


def test_a_generated_video_is_resumed(tmp_path: Path) -> None:
    job = fg.Job(
        FrameCounter(frames=20, fps=25), fg.VideoOutput(tmp_path / "a.mkv", codec="ffv1"), (Ramp(),)
    )
    plan = fg.Plan(chunk=2, segment_frames=8)
    events = fg.events(job, plan)
    while not isinstance(next(events), fg.Committed):
        pass
    events.close()
    starts = [event.read for event in fg.events(job, plan) if isinstance(event, fg.Started)]
    assert starts == [8]
    levels = [int(f.image.arrays[0][0, 0]) for f in fg.frames((), tmp_path / "a.mkv")]  # type: ignore[attr-defined]
    assert levels == list(range(20))


@pytest.mark.parametrize(("frames", "fps"), [(0, 25), (5, 0), (-1, 25)])
def test_impossible_counts_are_refused(frames: int, fps: int) -> None:
    with pytest.raises(BadSetting, match="wanted more than 0"):
        FrameCounter(frames=frames, fps=fps)


def test_a_job_file_counts_frames() -> None:
    form = {"input": {"frames": 5, "fps": "30000/1001"}, "output": "out.mkv"}
    job = job_from(form, Path("folder"))
    assert job.source == FrameCounter(frames=5, fps=F(30000, 1001))
    assert job_from(job_to(job), Path()) == job
    with pytest.raises(BadSetting, match="frames is 0"):
        job_from({**form, "input": {"frames": 0}}, Path())
