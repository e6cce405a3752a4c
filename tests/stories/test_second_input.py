"""A task with a second video: joined by time, resumed, fingerprinted, read from a job file."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction as F
from pathlib import Path
from types import MappingProxyType

import pytest

import filmgate as fg
from filmgate.core.adapters import each
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.join import Join
from filmgate.core.model_cache import ModelCache
from filmgate.core.stage import AnyStage
from filmgate.errors import BadInput, BadSetting
from filmgate.media.sources import VideoFile
from filmgate.tasks import job_config, registry
from filmgate.tasks.job_config import job_from
from filmgate.tasks.job_form import job_to
from filmgate.tasks.provenance import write_tag
from tests.videos import Video, make, read_number

KEY = "follow.driving"
PLAN = fg.Plan(chunk=2, segment_frames=8)


@dataclass(frozen=True, kw_only=True)
class Follow:
    """A task that shows, for each frame of its source, the newest frame of a second video."""

    driving: VideoFile
    """The video to follow."""

    time_scale: F = F(1)

    def joins(self) -> tuple[Join, ...]:
        return (Join(KEY, self.driving, before=F(1, 5)),)

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[AnyStage, ...]:
        return (each(show_newest, name="follow"),)

    def timeline(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        yield from frames


def show_newest(frames: Sequence[Frame]) -> list[Frame]:
    shown = []
    for frame in frames:
        window = frame.extras[KEY]
        assert isinstance(window, tuple)
        newest = max(
            (other for other in window if other.time <= frame.time), key=lambda other: other.time
        )
        shown.append(frame.with_image(newest.image))
    return shown


@pytest.fixture
def job(tmp_path: Path) -> fg.Job:
    """24 frames at 25 fps follow a video of 12 frames at 12.5 fps."""
    make(Video(frames=24), tmp_path / "in.mp4")
    driving = make(Video(frames=12, rate=F(25, 2)), tmp_path / "driving.mp4")
    sink = fg.VideoOutput(tmp_path / "out.mkv", codec="ffv1")
    return fg.Job(fg.VideoFile(tmp_path / "in.mp4"), sink, (Follow(driving=VideoFile(driving)),))


def shown(job: fg.Job) -> list[int]:
    assert isinstance(job.sink, fg.VideoOutput)
    return [read_number(frame) for frame in fg.frames((), job.sink.path)]


def stop_after_first_commit(job: fg.Job) -> None:
    events = fg.events(job, PLAN)
    while not isinstance(next(events), fg.Committed):
        pass
    events.close()


def test_each_frame_is_joined_with_the_second_video_by_time(job: fg.Job) -> None:
    list(fg.events(job, PLAN))
    assert shown(job) == [n // 2 for n in range(24)]


def test_resumed_it_continues_in_the_second_video_where_it_stopped(job: fg.Job) -> None:
    stop_after_first_commit(job)
    starts = [event.read for event in fg.events(job, PLAN) if isinstance(event, fg.Started)]
    assert starts == [8]
    assert shown(job) == [n // 2 for n in range(24)]


def test_it_runs_in_a_worker_process_too(job: fg.Job) -> None:
    list(fg.events(job, PLAN, worker=True))
    assert shown(job) == [n // 2 for n in range(24)]


def test_another_second_video_is_another_run(job: fg.Job, tmp_path: Path) -> None:
    """A resumed run could have continued with another speech or portrait file."""
    stop_after_first_commit(job)
    make(Video(frames=13, rate=F(25, 2)), tmp_path / "driving.mp4")
    with pytest.raises(BadSetting, match=r"was changed since .*--restart"):
        list(fg.events(job, PLAN))


def test_a_second_video_that_is_none_is_a_clear_error(job: fg.Job, tmp_path: Path) -> None:
    (tmp_path / "driving.mp4").write_bytes(b"no video")
    with pytest.raises(BadInput, match=r"driving\.mp4"):
        list(fg.events(job, PLAN))


def test_its_path_is_resolved_against_the_job_file_and_kept_out_of_the_result(
    job: fg.Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = MappingProxyType({"follow": Follow})
    for module in (job_config, registry):
        monkeypatch.setattr(module, "load_tasks", lambda: tasks)
    form = {
        "input": "in.mp4",
        "output": {"path": "out.mkv", "codec": "ffv1"},
        "tasks": [{"task": "follow", "driving": "driving.mp4"}],
    }
    assert job_from(form, tmp_path) == job
    assert job_from(job_to(job), Path()) == job
    assert str(tmp_path) not in write_tag(job)
    with pytest.raises(BadSetting, match="driving"):
        job_from({**form, "tasks": [{"task": "follow"}]}, tmp_path)
