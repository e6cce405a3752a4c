"""Tasks with networks in the worker on Windows, alive and killed: lipsync, animate and track."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import filmgate as fg
from filmgate.media.audio.audio_file import AudioFile
from filmgate.media.images.image_file import ImageFile
from filmgate.media.records.record_file import RecordFile
from filmgate.media.sinks import RecordOutput
from filmgate.models.families.personalive import PersonaLiveOptions
from filmgate.tasks.animate import Animate
from filmgate.tasks.lipsync import LipSync
from filmgate.tasks.track import Track
from tests import videos
from tests.models import tiny_personalive
from tests.models.families.latentsync import tiny
from tests.models.people.figures import Figure, walk, write_sidecar, write_video
from tests.stories.test_lipsync import save_tone
from tests.tasks.test_animate import write_portrait

pytestmark = [
    pytest.mark.skipif(sys.platform != "win32", reason="is about Windows"),
    pytest.mark.timeout(900),  # under Wine on two busy cores
]
PLAN = fg.Plan(chunk=2, segment_frames=8, torch_threads=1)


def make_lipsync(folder: Path) -> fg.Job:
    source = videos.make(videos.Video(frames=24, size=(192, 128)), folder / "in.mp4")
    speech = AudioFile(save_tone(folder / "speech.wav", 0.9))
    task = LipSync(speech=speech, options=tiny.build_options(), box="60,20,60,70")
    return fg.Job(fg.VideoFile(source), fg.VideoOutput(folder / "out.mkv", codec="ffv1"), (task,))


def make_animate(folder: Path) -> fg.Job:
    driving = videos.make(videos.Video(frames=24), folder / "drive.mp4")
    task = Animate(
        portrait=ImageFile(write_portrait(folder / "face.png")), size=64, finder="own",
        options=PersonaLiveOptions(weights=tiny_personalive.folder()),
    )  # fmt: skip
    return fg.Job(fg.VideoFile(driving), fg.VideoOutput(folder / "out.mkv", codec="ffv1"), (task,))


def make_track(folder: Path) -> fg.Job:
    figures = (Figure(walk(10, 55, 4)), Figure(walk(150, 60, -4)))
    source = write_video(figures, 24, folder / "in.mkv")
    task = Track(boxes=RecordFile(write_sidecar(figures, 24, folder / "boxes.jsonl")))
    return fg.Job(fg.VideoFile(source), RecordOutput(folder / "out.jsonl"), (task,))


@pytest.mark.parametrize("make_job", [make_lipsync, make_animate, make_track])
def test_a_killed_worker_changes_nothing(
    make_job: Callable[[Path], fg.Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is that of a run in this process, and of a run with a worker that lives."""
    job = make_job(tmp_path)
    results = [job.sink.path]
    for name in ("alone", "alive"):
        results.append(results[0].with_stem(name))
        sink = replace(job.sink, path=results[-1])  # type: ignore[type-var]
        list(fg.events(replace(job, sink=sink), PLAN, worker=name == "alive"))
    monkeypatch.setenv("FILMGATE_FAULT", "commit.listed=kill@2")
    events = list(fg.events(job, PLAN, worker=True))
    assert any(isinstance(event, fg.Died) for event in events)
    killed, alone, alive = (path.read_bytes() for path in results)
    assert killed == alone == alive
