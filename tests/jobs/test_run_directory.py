"""The directory of a run: one holder at a time, complete files, and readable differences."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from filmgate.errors import BadSetting, Busy, FilmgateError
from filmgate.jobs.identity import find_differences
from filmgate.jobs.run_directory import RunDirectory
from filmgate.storage.fingerprint import sample_fingerprint


@pytest.fixture
def folder(tmp_path: Path) -> RunDirectory:
    return RunDirectory.for_result(tmp_path / "out.mp4")


def test_directory_is_next_to_the_result(folder: RunDirectory) -> None:
    assert folder.path.name == "out.mp4.filmgate"


def test_second_process_is_refused_and_learns_which_is_the_first(folder: RunDirectory) -> None:
    with folder.lock(), pytest.raises(Busy, match=f"in use by process {os.getpid()} on"):
        folder.lock().__enter__()
    with folder.lock():
        pass


def test_lock_ends_with_a_killed_process(folder: RunDirectory) -> None:
    script = (
        "import os, signal; from pathlib import Path\n"
        "from filmgate.jobs.run_directory import RunDirectory\n"
        f"folder = RunDirectory(Path({str(folder.path)!r}))\n"
        "with folder.lock(): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    with folder.lock():
        pass


def test_folder_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(BadSetting, match="Pass another folder to --work"),
        RunDirectory.for_result(tmp_path / "no" / "out.mp4").lock(),
    ):
        pass


def test_file_is_complete_or_absent(folder: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    with folder.lock():
        folder.write("plan.json", b"one")
        monkeypatch.setattr(os, "replace", _fail_full)
        with pytest.raises(FilmgateError, match=r"No space left.*MB are free. Free some space"):
            folder.write("plan.json", b"two")
        assert folder.read("plan.json") == b"one"
        assert folder.read("other") is None
        folder.clear()
        assert [p.name for p in folder.path.iterdir()] == ["lock"]
        folder.remove()
    assert not folder.path.exists()


def _fail_full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_changed_file_has_another_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "video"
    path.write_bytes(bytes(3_000_000))
    before = sample_fingerprint(path)
    assert sample_fingerprint(path) == before
    path.write_bytes(bytes(2_999_999) + b"x")
    assert sample_fingerprint(path) != before
    path.write_bytes(b"")
    assert sample_fingerprint(path)["bytes"] == 0


def test_differences_name_the_setting_and_both_values() -> None:
    old = {"tasks": [{"factor": "2"}], "seed": 0, "input": {"path": "a"}}
    new = {"tasks": [{"factor": "3"}, {"fps": 60}], "seed": 0, "input": {"path": "a", "video": 1}}
    assert find_differences(old, new) == [
        'tasks.0.factor was "2", is "3"',
        'tasks.1 was not set, is {"fps": 60}',
        "input.video was not set, is 1",
    ]
    assert find_differences(old, old) == []


def test_list_of_commits_is_deleted_first_and_job_json_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run killed while it removed its directory was refused, as one with other settings."""
    deleted: list[str] = []
    unlink = os.unlink

    def record(path: Path) -> None:
        deleted.append(Path(path).name)
        unlink(path)

    monkeypatch.setattr(os, "unlink", record)
    folder = RunDirectory(tmp_path / "out.mp4.filmgate")
    folder.path.mkdir()
    for method in (RunDirectory.clear, RunDirectory.remove):
        deleted.clear()
        for name in ("000001.nut", "000001.snapshot", "commits.json", "job.json", "plan.json"):
            (folder.path / name).touch()
        method(folder)
        if method is RunDirectory.clear:
            assert deleted == ["commits.json", "000001.nut", "000001.snapshot", "plan.json"]
        else:
            assert deleted == [
                "000001.nut",
                "000001.snapshot",
                "commits.json",
                "plan.json",
                "job.json",
            ]
