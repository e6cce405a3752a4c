"""Disk space: a run without enough is refused before its first frame, and paused at a commit."""

import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import av
import pytest

import filmgate as fg
from filmgate.errors import DiskFull, DoesNotFit, Exit
from filmgate.planning import disk
from filmgate.planning.output_size import bound_frame_bytes, estimate_frame_bytes
from tests import videos
from tests.cases import mark_slow_cases

Usage = namedtuple("Usage", "total used free")
VIDEO = videos.Video(frames=60)


@pytest.fixture
def job(tmp_path: Path) -> fg.Job:
    source = videos.make(VIDEO, tmp_path / "in.mp4")
    return fg.Job(fg.VideoFile(source), fg.VideoOutput(tmp_path / "out.mp4", preset="veryfast"))


def set_free_bytes(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, free))


def test_estimated_size_is_near_the_actual_one(job: fg.Job) -> None:
    assert isinstance(job.source, fg.VideoFile)
    assert isinstance(job.sink, fg.VideoOutput)
    with job.source.open() as video:
        spec = video.spec
    size = estimate_frame_bytes(job.source, job.sink, spec, spec, 60)
    fg.run((), job.source, job.sink)
    assert 0.4 < size * 60 / job.sink.path.stat().st_size < 1.5
    assert size < bound_frame_bytes(job.sink, spec)
    larger = replace(spec, width=2 * spec.width, height=2 * spec.height)
    assert estimate_frame_bytes(job.source, job.sink, spec, larger, 60) > size


def test_run_without_enough_space_is_refused_before_its_first_frame(
    job: fg.Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_free_bytes(monkeypatch, 1000)
    with pytest.raises(DoesNotFit, match=r"needs about 1 MB .* --work") as caught:
        list(fg.events(job))
    assert caught.value.exit_code == Exit.USER
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize(
    "name", mark_slow_cases(["%06d.png"], ["%06d.png", "%06d.webp", "%d.tiff"])
)
def test_images_without_enough_space_are_refused_before_the_first(
    job: fg.Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    assert isinstance(job.source, fg.VideoFile)
    source = replace(job.source, max_frames=24)
    images = fg.Job(source, fg.ImageOutput(tmp_path / "frames" / name))
    with source.open() as video:
        spec = video.spec
    size = estimate_frame_bytes(source, fg.ImageOutput(tmp_path / name), spec, spec, 1)
    set_free_bytes(monkeypatch, 1000)
    with pytest.raises(DoesNotFit, match=r"needs about \d+ MB .* another disk for the output"):
        list(fg.events(images))
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
    set_free_bytes(monkeypatch, int(1.5 * size * (spec.frames or 0)))
    fg.run((), images.source, images.sink)
    written = [path.stat().st_size for path in (tmp_path / "frames").iterdir()]
    assert 0.5 < size * len(written) / sum(written) < 2


def test_nothing_is_encoded_for_an_estimate_if_there_is_plenty_of_space(
    job: fg.Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "estimate_frame_bytes", lambda *_: pytest.fail("it was encoded"))
    assert isinstance(list(fg.events(job))[-1], fg.Done)


def test_run_is_paused_if_the_disk_fills_up_and_reports_what_it_needs(
    job: fg.Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = fg.Plan(segment_frames=16)
    events = fg.events(job, plan)
    while not isinstance(next(events), fg.Committed):
        pass
    set_free_bytes(monkeypatch, 1000)
    with pytest.raises(DiskFull, match=r"about \d+ MB .*Paused at frame 16"):
        list(events)
    set_free_bytes(monkeypatch, 10**12)
    assert next(e.read for e in fg.events(job, plan) if isinstance(e, fg.Started)) == 16


def test_number_of_frames_that_is_too_small_needs_room_for_the_join_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "000001.mp4").write_bytes(bytes(1000))
    set_free_bytes(monkeypatch, 1000)
    disk.check_remaining_space(tmp_path, 50, 10)
    set_free_bytes(monkeypatch, 999)
    with pytest.raises(DiskFull):
        disk.check_remaining_space(tmp_path, 50, 10)


def test_stale_tag_stops_no_run_on_a_small_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos.make(replace(VIDEO, suffix=".mkv"), tmp_path / "first.mkv")
    with (
        av.open(str(tmp_path / "first.mkv")) as first,
        av.open(str(tmp_path / "in.mkv"), "w") as out,
    ):
        stream = out.add_stream_from_template(first.streams.video[0])
        stream.metadata["NUMBER_OF_FRAMES"] = "20000000000"
        for packet in first.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    set_free_bytes(monkeypatch, 20_000_000)
    job = fg.Job(fg.VideoFile(tmp_path / "in.mkv"), fg.VideoOutput(tmp_path / "out.mkv"))
    events = list(fg.events(job, fg.Plan(segment_frames=16)))
    assert sum(isinstance(event, fg.Committed) for event in events) == 4
    assert isinstance(events[-1], fg.Done)
    assert events[-1].written == 60
