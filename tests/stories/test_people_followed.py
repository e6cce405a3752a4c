"""People are followed through a run that is killed, stopped and resumed: their numbers stay.

Users split long videos into chunks of 100 frames so that memory lasted, and each chunk began with
new numbers.
"""

from dataclasses import replace
from json import loads
from pathlib import Path

import pytest

import filmgate as fg
from filmgate.media.records.record_file import RecordFile
from filmgate.media.sinks import RecordOutput
from filmgate.tasks.track import Track
from tests.cases import mark_slow_cases
from tests.models.people.figures import Figure, name_people, walk, write_sidecar, write_video

# One leaves and returns while the run is away; two cross; one comes late.
FIGURES = (
    Figure(lambda n: (30, 30) if not 14 <= n < 19 else None),
    Figure(walk(10, 55, 4)),
    Figure(walk(150, 60, -4, first=10)),
)
PLAN = fg.Plan(chunk=4, segment_frames=8)


@pytest.fixture
def job(tmp_path: Path) -> fg.Job:
    write_video(FIGURES, 32, tmp_path / "in.mkv")
    sidecar = write_sidecar(FIGURES, 32, tmp_path / "boxes.jsonl")
    sink = RecordOutput(tmp_path / "out.jsonl")
    return fg.Job(fg.VideoFile(tmp_path / "in.mkv"), sink, (Track(boxes=RecordFile(sidecar)),))


@pytest.fixture
def undisturbed(job: fg.Job, tmp_path: Path) -> bytes:
    path = tmp_path / "undisturbed.jsonl"
    list(fg.events(replace(job, sink=RecordOutput(path)), PLAN))
    return path.read_bytes()


@pytest.mark.slow
def test_killed_with_the_worker_the_next_one_continues_with_the_same_numbers(
    job: fg.Job, undisturbed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILMGATE_FAULT", "compute.step=kill@6")
    events = list(fg.events(job, PLAN, worker=True))
    deaths = [event for event in events if isinstance(event, fg.Died)]
    assert deaths
    assert {death.crash.cause for death in deaths if death.crash} == {"SIGKILL"}
    assert job.sink.path.read_bytes() == undisturbed


@pytest.mark.parametrize("commits", mark_slow_cases([2], [1, 2, 3]))
def test_stopped_at_any_commit_it_resumes_with_the_same_numbers(
    job: fg.Job, undisturbed: bytes, commits: int
) -> None:
    events = fg.events(job, PLAN)
    for _ in range(commits):
        while not isinstance(next(events), fg.Committed):
            pass
    events.close()
    assert not job.sink.path.exists()
    starts = [event.read for event in fg.events(job, PLAN) if isinstance(event, fg.Started)]
    assert starts[0] >= 8 * commits
    assert job.sink.path.read_bytes() == undisturbed


def test_an_undisturbed_run_has_one_number_for_each(undisturbed: bytes) -> None:
    people: list[list[dict[str, object]]] = [[] for _ in range(32)]
    for line in undisturbed.splitlines():
        people[loads(line)["frame"]].append(loads(line))
    assert name_people(people, FIGURES) == {0: [1], 1: [2], 2: [3]}
    assert [len(each) for each in people] == [2] * 10 + [3] * 22
