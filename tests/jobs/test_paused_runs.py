"""What a user sees of a run that was paused or interrupted: listed, resumed, removed."""

import json
import os
import signal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import filmgate as fg
from filmgate.cli.main import main
from filmgate.errors import (
    Exit,
    Paused,
)
from filmgate.jobs.run_directory import RunDirectory
from tests.jobs.resumable_runs import FRAMES, PLAN, SEGMENT, job_of, resume


@pytest.fixture
def paused(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    said = f"interpolate {source} out.mp4 --preset veryfast --segment 0.3 --pause-after 0 --quiet"
    assert main(said.split()) == Exit.INTERRUPTED
    return tmp_path / "out.mp4"


def test_unfinished_run_is_listed_resumed_and_removed(
    paused: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["jobs", "--json"]) == Exit.DONE
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["result"], shown["read"], shown["frames"]) == (str(paused), 8, FRAMES)
    assert (shown["holder"], shown["place"]) == ("", "out.mp4.filmgate")
    assert main(["jobs"]) == Exit.DONE
    assert "filmgate resume out.mp4.filmgate" in capsys.readouterr().out
    assert main(["resume", "out.mp4", "--quiet"]) == Exit.DONE
    assert paused.exists()
    assert main(["jobs"]) == Exit.DONE
    assert "no unfinished run here" in capsys.readouterr().out
    assert main(["resume", "out.mp4"]) == Exit.USER


def test_refusals_are_user_errors_and_a_lock_is_busy(
    paused: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ["interpolate", str(source), "out.mp4", "--segment", "0.3", "--quiet"]
    assert main([*said, "--preset", "fast"]) == Exit.USER
    assert '--preset was "veryfast", is "fast"' in capsys.readouterr().err
    folder = RunDirectory.for_result(paused)
    with folder.lock():
        assert main([*said, "--preset", "veryfast", "--in-process"]) == Exit.BUSY
    assert main([*said, "--preset", "fast", "--restart", "--in-process"]) == Exit.DONE
    assert os.listdir(paused.parent) == ["out.mp4"]


def test_clean_needs_to_know_which_runs(paused: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "clean"]) == Exit.USER
    assert "pass results" in capsys.readouterr().err
    assert main(["jobs", "clean", "out.mp4"]) == Exit.DONE
    assert os.listdir(paused.parent) == []


def test_signal_pauses_the_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], reference: bytes,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    events = fg.events

    def signalled(job: fg.Job, **said: Any) -> Any:
        for event in events(job, PLAN, **said):
            yield event
            if isinstance(event, fg.Committed):
                signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(fg, "events", signalled)
    said = ["interpolate", str(source), "out.mp4", "--preset", "veryfast", "--factor", "2"]
    assert main(said) == Exit.INTERRUPTED
    shown = capsys.readouterr().err
    assert f"the same command, or filmgate resume out.mp4, resumes from frame {SEGMENT}" in shown
    monkeypatch.undo()
    assert resume(job_of(source, tmp_path / "out.mp4"))[0] == SEGMENT
    assert (tmp_path / "out.mp4").read_bytes() == reference


def test_folder_that_does_not_exist_is_no_list_of_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["jobs", str(tmp_path / "nofolder")]) == Exit.USER
    assert "nofolder does not exist" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["jobs", str(tmp_path / "file")]) == Exit.USER
    assert "is a file" in capsys.readouterr().err


def test_interrupt_before_the_first_commit_promises_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    events = fg.events

    def interrupt(job: fg.Job, **said: Any) -> Any:
        for event in events(job, PLAN, **said):
            yield event
            raise KeyboardInterrupt

    monkeypatch.setattr(fg, "events", interrupt)
    assert main(["interpolate", str(source), "out.mp4"]) == Exit.INTERRUPTED
    assert "nothing is committed yet: the same command starts again" in capsys.readouterr().err


def test_pause_has_a_name_of_its_own(source: Path, tmp_path: Path) -> None:
    with pytest.raises(Paused) as caught:
        run_until_paused(job_of(source, tmp_path / "out.mp4"))
    assert caught.value.exit_code == Exit.INTERRUPTED


def run_until_paused(job: fg.Job) -> None:
    list(fg.events(job, PLAN, resume_options=fg.ResumeOptions(pause_after=Fraction(0))))
