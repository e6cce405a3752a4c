"""A run's folder: one holder at a time, whole files, and differences told in words."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from filmgate.errors import BadSetting, Busy, FilmgateError
from filmgate.jobs.identity import differences
from filmgate.jobs.run_directory import RunDirectory
from filmgate.storage.fingerprint import fingerprint


@pytest.fixture
def folder(tmp_path: Path) -> RunDirectory:
    return RunDirectory.beside(tmp_path / "out.mp4")


def test_it_lies_beside_the_result(folder: RunDirectory) -> None:
    assert folder.path.name == "out.mp4.filmgate"


def test_a_second_holder_is_told_who_is_first(folder: RunDirectory) -> None:
    with folder.held(), pytest.raises(Busy, match=f"in use by process {os.getpid()} on"):
        folder.held().__enter__()
    with folder.held():
        pass


def test_a_holder_that_was_killed_holds_nothing(folder: RunDirectory) -> None:
    script = (
        "import os, signal; from pathlib import Path\n"
        "from filmgate.jobs.run_directory import RunDirectory\n"
        f"folder = RunDirectory(Path({str(folder.path)!r}))\n"
        "with folder.held(): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    with folder.held():
        pass


def test_where_no_folder_can_be_another_is_asked_for(tmp_path: Path) -> None:
    with (
        pytest.raises(BadSetting, match="name another with --work"),
        RunDirectory.beside(tmp_path / "no" / "out.mp4").held(),
    ):
        pass


def test_a_file_is_whole_or_absent(folder: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    with folder.held():
        folder.write("plan.json", b"one")
        monkeypatch.setattr(os, "replace", _full)
        with pytest.raises(FilmgateError, match=r"No space left.*MB are free there; make room"):
            folder.write("plan.json", b"two")
        assert folder.read("plan.json") == b"one"
        assert folder.read("other") is None
        folder.clear()
        assert [p.name for p in folder.path.iterdir()] == ["lock"]
        folder.remove()
    assert not folder.path.exists()


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_changed_file_has_another_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "film"
    path.write_bytes(bytes(3_000_000))
    before = fingerprint(path)
    assert fingerprint(path) == before
    path.write_bytes(bytes(2_999_999) + b"x")
    assert fingerprint(path) != before
    path.write_bytes(b"")
    assert fingerprint(path)["bytes"] == 0


def test_differences_are_told_by_place_and_value() -> None:
    old = {"tasks": [{"factor": "2"}], "seed": 0, "input": {"path": "a"}}
    new = {"tasks": [{"factor": "3"}, {"fps": 60}], "seed": 0, "input": {"path": "a", "video": 1}}
    assert differences(old, new) == [
        'tasks.0.factor was "2", is "3"',
        'tasks.1 was not set, is {"fps": 60}',
        "input.video was not set, is 1",
    ]
    assert differences(old, old) == []


def test_the_list_of_commits_goes_first_and_the_mark_of_a_run_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run shot while it removed its folder was refused, as begun with other settings."""
    gone: list[str] = []
    unlink = os.unlink

    def noted(path: Path) -> None:
        gone.append(Path(path).name)
        unlink(path)

    monkeypatch.setattr(os, "unlink", noted)
    folder = RunDirectory(tmp_path / "out.mp4.filmgate")
    folder.path.mkdir()
    for act in (RunDirectory.clear, RunDirectory.remove):
        gone.clear()
        for name in ("000001.nut", "000001.snapshot", "commits.json", "job.json", "plan.json"):
            (folder.path / name).touch()
        act(folder)
        if act is RunDirectory.clear:
            assert gone == ["commits.json", "000001.nut", "000001.snapshot", "plan.json"]
        else:
            assert gone == [
                "000001.nut",
                "000001.snapshot",
                "commits.json",
                "plan.json",
                "job.json",
            ]
