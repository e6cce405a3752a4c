"""Following people dies at frame 21, as a user's service did, and the caller reads what happened.

That service started a process for each video, the process died hard, and its caller read "socket
hang up".
"""

import ctypes
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from json import loads
from pathlib import Path

import pytest

import filmgate as fg
from filmgate.core.adapters import each
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.job import Task
from filmgate.core.model_cache import ModelCache
from filmgate.core.stage import AnyStage
from filmgate.errors import Exit, FilmgateError
from filmgate.media.records.record_file import RecordFile
from filmgate.media.sinks import RecordOutput
from filmgate.tasks.track import Track
from tests.models.people.figures import Figure, walk, write_sidecar, write_video
from tests.processes import KILL

DEATH = "TEST_DEATH"  # how the task dies, in the environment
FRAME, COUNT = 21, 32
FIGURES = (Figure(walk(10, 55, 4)), Figure(walk(150, 60, -4)))
PLAN = fg.Plan(chunk=1, segment_frames=8, queue_bytes=1)


def die(frames: Sequence[Frame]) -> Sequence[Frame]:
    """Die at one frame as the environment says."""
    if any(frame.index == FRAME for frame in frames):
        death = os.environ.get(DEATH)
        if death == "segmentation fault":
            ctypes.string_at(1)
        elif death == "memory":  # what the kernel does to the largest process
            os.kill(os.getpid(), KILL)
        elif death == "device":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
    return frames


@dataclass(frozen=True)
class Die(Task):
    """A task that may die, and changes nothing."""

    @property
    def time_scale(self) -> Fraction:
        return Fraction(1)

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[AnyStage, ...]:
        return (each(die),)

    def describe_output(self, spec: StreamSpec) -> StreamSpec:
        return spec

    def timeline(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        yield from frames


@pytest.fixture
def job(tmp_path: Path) -> fg.Job:
    write_video(FIGURES, COUNT, tmp_path / "in.mkv")
    boxes = RecordFile(write_sidecar(FIGURES, COUNT, tmp_path / "boxes.jsonl"))
    sink = RecordOutput(tmp_path / "out.jsonl")
    return fg.Job(fg.VideoFile(tmp_path / "in.mkv"), sink, (Die(), Track(boxes=boxes)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("death", "cause", "hint"),
    [
        ("segmentation fault", "SIGSEGV", ""),
        ("memory", "SIGKILL", "memory"),
        ("device", "", "CUDA error: an illegal memory access"),
    ],
)
def test_the_caller_reads_what_happened_and_finishes_later(
    job: fg.Job, monkeypatch: pytest.MonkeyPatch, death: str, cause: str, hint: str
) -> None:
    reference = replace(job, sink=RecordOutput(job.sink.path.with_name("reference.jsonl")))
    list(fg.events(reference, PLAN))
    wanted = reference.sink.path.read_bytes()

    monkeypatch.setenv(DEATH, death)
    events, error = collect(fg.events(job, PLAN, worker=True))
    assert error.exit_code == Exit.OURS
    assert cause in str(error)
    assert hint in str(error)
    crashes = [event.crash for event in events if isinstance(event, fg.Died) and event.crash]
    assert {crash.cause for crash in crashes} == ({cause} if cause else set())
    for crash in crashes:
        assert FRAME - 2 <= crash.read <= FRAME
        assert "in die" in crash.stack or cause == "SIGKILL"
    kept = read_records(job.sink.path.with_name("out.jsonl.filmgate"))
    assert kept, "the records so far"
    assert wanted.startswith(kept)
    assert loads(kept.splitlines()[-1])["frame"] >= 6  # of 16 that are committed, less the delay

    monkeypatch.delenv(DEATH)
    events = list(fg.events(job, PLAN, worker=True))
    assert next(event.read for event in events if isinstance(event, fg.Started)) >= 8
    assert job.sink.path.read_bytes() == wanted


def collect(
    run: Generator[fg.Event, None, None],
) -> tuple[list[fg.Event], FilmgateError]:
    """Return the events of a run that fails, and its error."""
    events: list[fg.Event] = []
    with pytest.raises(FilmgateError) as caught:
        events.extend(run)
    return events, caught.value


def read_records(directory: Path) -> bytes:
    """Return the records of the commits in a run's directory, which anyone can read."""
    return b"".join(path.read_bytes() for path in sorted(directory.glob("0*.jsonl")))
