"""What a run directory contains is checked when it is read: types, bounds and names."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import filmgate as fg
from filmgate.cli.main import main
from filmgate.core.snapshot import Commit, Cursor, Snapshot
from filmgate.errors import BadSetting, Exit, FilmgateError, Interrupted
from filmgate.jobs.checkpoints import Checkpoints
from filmgate.jobs.run_directory import RunDirectory
from tests import videos

PLAN = fg.Plan(chunk=2, segment_frames=8)


@pytest.fixture
def job(tmp_path: Path) -> fg.Job:
    source = videos.make(videos.Video(frames=24), tmp_path / "in.mp4")
    return fg.Job(fg.VideoFile(source), fg.VideoOutput(tmp_path / "out.mp4", preset="veryfast"))


@pytest.fixture
def directory(job: fg.Job) -> RunDirectory:
    """The directory of a run that is paused at its first commit."""
    with pytest.raises(Interrupted):
        list(fg.events(job, PLAN, resume_options=fg.ResumeOptions(pause_after=Fraction(0))))
    assert isinstance(job.sink, fg.VideoOutput)
    return RunDirectory.for_result(job.sink.path)


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Change the object in a JSON file."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("job.json", lambda job: job.update(versions=["0.1.0"])),
        ("job.json", lambda job: job.pop("videos")),  # as in version 0.1
        ("plan.json", lambda plan: plan.update(frames="many")),
        ("plan.json", lambda plan: plan["plan"].update(chunk=0)),
        ("plan.json", lambda plan: plan["plan"].update(decode_threads="all")),
    ],
)
def test_damaged_records_of_a_run_are_refused_and_restart_starts_again(
    name: str, change: Callable[[Any], object], job: fg.Job, directory: RunDirectory
) -> None:
    edit(directory.path / name, change)
    with pytest.raises(BadSetting, match=rf"cannot read .*{name}: .* --restart") as caught:
        list(fg.events(job, PLAN))
    assert caught.value.exit_code == Exit.USER
    events = list(fg.events(job, PLAN, resume_options=fg.ResumeOptions(restart=True)))
    assert isinstance(events[-1], fg.Done)


def test_damaged_job_is_no_crash_of_the_command_line(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(directory.path.parent)
    edit(directory.path / "job.json", lambda job: job.update(job=[1, 2]))
    assert main(["jobs", "--json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out)[0]["result"] == "unknown"
    assert main(["resume", "out.mp4"]) == Exit.USER
    assert "--restart" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry.update(name="../000001.snapshot"),
        pytest.param(lambda entry: entry.update(name="/etc/passwd"), marks=pytest.mark.slow),
        pytest.param(lambda entry: entry.update(frames=-1), marks=pytest.mark.slow),
        lambda entry: entry.update(frames=1 << 60),
        lambda entry: entry.update(sha256="0"),
        lambda entry: entry.update(more=1),
        lambda entry: entry.pop("written"),
    ],
)
def test_list_of_commits_that_no_run_wrote_is_refused(
    change: Callable[[Any], object], job: fg.Job, directory: RunDirectory
) -> None:
    edit(directory.path / "commits.json", lambda commits: change(commits["snapshots"][0]))
    assert not Checkpoints(directory).has_commits
    with pytest.raises(BadSetting, match=r"cannot read .*commits.json: .* --restart"):
        list(fg.events(job, PLAN))
    assert (directory.path / "000001.nut").exists()
    events = list(fg.events(job, PLAN, resume_options=fg.ResumeOptions(restart=True)))
    assert isinstance(events[-1], fg.Done)


def test_result_outside_the_directory_is_not_taken_for_the_complete_one(
    directory: RunDirectory,
) -> None:
    result = {"output": 0, "name": "result.mp4", "fingerprint": {}}
    for name, is_read in (("result.mp4", True), ("../in.mp4", False)):
        complete = [result | {"name": name}]
        edit(directory.path / "commits.json", lambda commits: commits.update(complete=complete))  # noqa: B023
        assert (Checkpoints(directory).read_completion() is not None) is is_read


def test_checkpoints_choose_the_latest_commit_whose_files_are_intact(tmp_path: Path) -> None:
    checkpoints = Checkpoints(RunDirectory(tmp_path))
    commits = [Commit(Snapshot(Cursor(8 * n, 0), (), (), n), (f"{n}.nut",)) for n in (1, 2, 3)]
    for commit in commits:
        checkpoints.save(commit)
    missing = {"3.nut"}

    def verify(pieces: tuple[Any, ...]) -> None:
        for name in pieces:
            if name in missing:
                raise FilmgateError(f"{name} is missing")

    assert checkpoints.choose(verify) == commits[1]
    assert checkpoints.warnings == ["3.nut is missing: resuming from the commit before it"]
    assert list(checkpoints.commits()) == [commits[2], commits[1]], "two are kept"
    missing.add("2.nut")
    with pytest.raises(BadSetting, match=r"3.nut is missing; 2.nut is missing. .*--restart"):
        checkpoints.choose(verify)
