"""Runs that tests stop and resume."""

from pathlib import Path
from typing import Any

import filmgate as fg
from filmgate.jobs.run_directory import RunDirectory
from tests import videos

FRAMES, SEGMENT = 20, 6  # of the source: commits after 6, 12 and 18, and a rest
VIDEO = videos.Video(frames=FRAMES, times=(), sounds=("aac",))
PLAN = fg.Plan(chunk=2, segment_frames=SEGMENT, guard=False)  # networks here are tiny


def sink_of(out: Path) -> fg.VideoOutput:
    return fg.VideoOutput(out, preset="veryfast")


def job_of(source: Path, out: Path) -> fg.Job:
    return fg.Job(fg.VideoFile(source), sink_of(out), (fg.Interpolate(factor=2),))


def run_until(job: fg.Job, commits: int, **options: Any) -> RunDirectory:
    """Run the job, stop after that many commits and return the run's directory."""
    events = fg.events(job, PLAN, **options)
    for _ in range(commits):
        while not isinstance(next(events), fg.Committed):
            pass
    events.close()
    assert isinstance(job.sink, fg.VideoOutput)
    assert not job.sink.path.exists()
    return RunDirectory.for_result(job.sink.path)


def resume(job: fg.Job) -> tuple[int, list[str]]:
    """Resume to the end; return the first source frame and the warnings."""
    events = list(fg.events(job, PLAN))
    (first,) = [event.read for event in events if isinstance(event, fg.Started)]
    assert isinstance(events[-1], fg.Done)
    assert (events[-1].read, events[-1].written) == (FRAMES, 2 * FRAMES)
    return first, [event.message for event in events if isinstance(event, fg.Warned)]
