"""A run with a video and records as outputs: both are complete, or neither is."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

import filmgate as fg
from filmgate.core.frame import Frame
from filmgate.errors import BadSetting, OutputExists
from filmgate.jobs.run_directory import RunDirectory
from filmgate.media.sinks import RecordOutput
from filmgate.media.writing.output_file import OutputFile
from filmgate.tasks.job_config import job_from
from filmgate.tasks.job_form import job_to
from tests.cases import mark_slow_cases
from tests.media.records.counting import PLAN, Count
from tests.media.records.test_writer import WANTED, read_lines
from tests.processes import KILLED
from tests.stories.test_death_images import FORKS, STRIDE, run_until
from tests.stories.test_death_images import PLAN as KILLED_PLAN
from tests.videos import Video, make, read_number


@pytest.fixture
def job(tmp_path: Path) -> fg.Job:
    make(Video(frames=24), tmp_path / "in.mp4")
    return fg.Job(
        fg.VideoFile(tmp_path / "in.mp4"),
        RecordOutput(tmp_path / "out.jsonl"),
        (Count(),),
        more_sinks=(fg.VideoOutput(tmp_path / "out.mkv", codec="ffv1"),),
    )


def check_results(folder: Path) -> None:
    assert read_lines(folder) == WANTED
    frames: list[Frame] = list(fg.frames((), folder / "out.mkv"))
    assert [read_number(frame) for frame in frames] == list(range(24))
    assert sorted(os.listdir(folder)) == ["in.mp4", "out.jsonl", "out.mkv"]


def stop_after(job: fg.Job, commits: int) -> Path:
    events = fg.events(job, PLAN)
    for _ in range(commits):
        while not isinstance(next(events), fg.Committed):
            pass
    events.close()
    assert [sink.path.exists() for sink in job.sinks] == [False, False]
    return RunDirectory.for_result(job.sink.path).path


@pytest.mark.parametrize("worker", mark_slow_cases([False], [False, True]))
def test_both_are_written_in_one_pass(job: fg.Job, tmp_path: Path, worker: bool) -> None:
    list(fg.events(job, PLAN, worker=worker))
    check_results(tmp_path)


@pytest.mark.parametrize("commits", mark_slow_cases([2], [1, 2]))
def test_stopped_at_a_commit_both_resume_there(job: fg.Job, tmp_path: Path, commits: int) -> None:
    stop_after(job, commits)
    starts = [event.read for event in fg.events(job, PLAN) if isinstance(event, fg.Started)]
    assert starts == [8 * commits]
    check_results(tmp_path)


@pytest.mark.parametrize("name", ["000002.nut", "000002.jsonl"])
def test_damage_to_one_takes_both_to_the_commit_before(
    job: fg.Job, tmp_path: Path, name: str
) -> None:
    (stop_after(job, 2) / name).write_bytes(b"damaged")
    events = list(fg.events(job, PLAN))
    assert [event.read for event in events if isinstance(event, fg.Started)] == [8]
    assert any(name in event.message for event in events if isinstance(event, fg.Warned))
    check_results(tmp_path)


def test_killed_between_the_two_names_the_next_run_gives_the_second(
    job: fg.Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: OutputFile) -> None:
        raise MemoryError

    monkeypatch.setattr(OutputFile, "publish", fail)
    with pytest.raises(MemoryError):
        list(fg.events(job, PLAN))
    assert [sink.path.exists() for sink in job.sinks] == [True, False]
    monkeypatch.undo()
    assert [type(event) for event in fg.events(job, PLAN)] == [fg.Warned, fg.Done]
    check_results(tmp_path)


def test_an_output_that_exists_refuses_the_run(job: fg.Job, tmp_path: Path) -> None:
    (tmp_path / "out.mkv").write_bytes(b"precious")
    with pytest.raises(OutputExists, match=r"out\.mkv"):
        list(fg.events(job, PLAN))
    assert sorted(os.listdir(tmp_path)) == ["in.mp4", "out.mkv"]


def test_images_and_records_resume_together(job: fg.Job, tmp_path: Path) -> None:
    job = replace(job, more_sinks=(fg.ImageOutput(tmp_path / "frames"),))
    events = fg.events(job, PLAN)
    while not isinstance(next(events), fg.Committed):
        pass
    events.close()
    list(fg.events(job, PLAN))
    assert read_lines(tmp_path) == WANTED
    assert len(os.listdir(tmp_path / "frames")) == 24


def test_a_job_file_lists_its_outputs(tmp_path: Path) -> None:
    form = {"input": "in.mp4", "output": ["out.jsonl", {"path": "out.mkv", "codec": "ffv1"}]}
    job = job_from(form, tmp_path)
    assert job.sinks == (
        RecordOutput(tmp_path / "out.jsonl"), fg.VideoOutput(tmp_path / "out.mkv", codec="ffv1")
    )  # fmt: skip
    assert job.image_sink == job.sinks[1]
    assert job_from(job_to(job), tmp_path) == job


@pytest.mark.parametrize(
    "paths", [("a.mp4", "b.mkv"), ("a.jsonl", "b.jsonl"), ("a.mp4", "f/%d.png"), ("a.jsonl", "-")]
)
def test_outputs_that_exclude_each_other_are_refused(tmp_path: Path, paths: tuple[str]) -> None:
    with pytest.raises(BadSetting, match=r"wanted at most one video|goes to a pipe"):
        job_from({"input": "in.mp4", "output": list(paths)}, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_before_any_file_operation_both_resume(job: fg.Job, tmp_path: Path) -> None:
    code, number = KILLED, 0
    while code:
        number += STRIDE
        process = FORKS.Process(target=run_until, args=(number, job, str(tmp_path)))
        process.start()
        process.join()
        code = process.exitcode or 0
        assert code in (0, KILLED)
        named = [sink.path.exists() for sink in job.sinks]
        assert named != [False, True]
        if not all(named) or RunDirectory.for_result(job.sink.path).path.exists():
            with suppress(OutputExists):  # killed while the finished run's directory was removed
                list(fg.events(job, KILLED_PLAN))
        check_results(tmp_path)
        for sink in job.sinks:
            sink.path.unlink()
    assert number > 3 * STRIDE
