"""Room on the disk: refused before the first frame, and foreseen at every commit."""

import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

import filmgate as fg
from filmgate.errors import DiskFull, DoesNotFit, Exit
from filmgate.planning import disk
from filmgate.planning.output_size import at_most, frame_bytes
from tests import videos

Usage = namedtuple("Usage", "total used free")
VIDEO = videos.Video(frames=60)


@pytest.fixture
def job(tmp_path: Path) -> fg.Job:
    source = videos.make(VIDEO, tmp_path / "in.mp4")
    return fg.Job(fg.VideoFile(source), fg.VideoOutput(tmp_path / "out.mp4", preset="veryfast"))


def leave(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, free))


def test_what_is_expected_is_about_what_comes(job: fg.Job) -> None:
    assert isinstance(job.source, fg.VideoFile)
    assert isinstance(job.sink, fg.VideoOutput)
    with job.source.open() as video:
        spec = video.spec
    each = frame_bytes(job.source, job.sink, spec, spec, 60)
    fg.run((), job.source, job.sink)
    assert 0.4 < each * 60 / job.sink.path.stat().st_size < 1.5
    assert each < at_most(job.sink, spec)
    larger = replace(spec, width=2 * spec.width, height=2 * spec.height)
    assert frame_bytes(job.source, job.sink, spec, larger, 60) > each


def test_a_run_that_finds_no_room_is_refused_before_its_first_frame(
    job: fg.Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    leave(monkeypatch, 1000)
    with pytest.raises(DoesNotFit, match=r"needs room for about 0 MB .* --work") as caught:
        list(fg.events(job))
    assert caught.value.exit_code == Exit.USER
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_where_there_is_plenty_nothing_is_tried(
    job: fg.Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "frame_bytes", lambda *_: pytest.fail("it was tried"))
    assert isinstance(list(fg.events(job))[-1], fg.Done)


def test_a_disk_that_fills_up_pauses_the_run_and_says_what_it_needs(
    job: fg.Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = fg.Plan(segment_frames=16)
    events = fg.events(job, plan)
    while not isinstance(next(events), fg.Committed):
        pass
    leave(monkeypatch, 1000)
    with pytest.raises(DiskFull, match=r"about \d+ MB .*paused at frame 16; make room"):
        list(events)
    leave(monkeypatch, 10**12)
    assert next(e.read for e in fg.events(job, plan) if isinstance(e, fg.Started)) == 16
