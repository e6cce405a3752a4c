"""The directory of a run: one holder at a time, complete files, and readable differences."""

import errno
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from filmgate.backends.spawn import WORKER
from filmgate.errors import BadSetting, Busy, DiskFull, FilmgateError
from filmgate.jobs.run_directory import RunDirectory
from filmgate.storage.fingerprint import sample_fingerprint
from tests.processes import KILLED


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
        "import os; from pathlib import Path\n"
        "from filmgate.jobs.run_directory import RunDirectory\n"
        f"folder = RunDirectory(Path({str(folder.path)!r}))\n"
        "with folder.lock(): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == KILLED
    with folder.lock():
        pass


@pytest.mark.parametrize(
    "left",
    [b"process 12345 on a-host", b"process 12", b"process 12\0\0\0", b"process \0\0", b"\0" * 30],
)
def test_lock_that_a_power_cut_left_is_taken(folder: RunDirectory, left: bytes) -> None:
    """It is not synced: a run whose lock held zero bytes was refused, also with --restart."""
    with folder.lock():
        pass
    (folder.path / "lock").write_bytes(left)
    with folder.lock() as created:
        assert not created
        assert (folder.path / "lock").read_text().startswith(f"process {os.getpid()} on ")


@pytest.mark.parametrize("text", ["precious", "process of law"])
def test_lock_of_the_user_is_refused(folder: RunDirectory, text: str) -> None:
    with folder.lock():
        pass
    (folder.path / "lock").write_text(text)
    with pytest.raises(BadSetting, match="no run wrote"), folder.lock():
        pass
    assert (folder.path / "lock").read_text() == text


def test_folder_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(BadSetting, match=r"no does not exist\. Create it first"),
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


@pytest.mark.parametrize("given", [False, True])
def test_directory_goes_with_its_lock_where_no_open_file_can_be_deleted(
    folder: RunDirectory, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    monkeypatch.setattr("filmgate.jobs.run_directory._DELETES_OPEN_FILES", False)
    if given:
        folder.path.mkdir()
    job = json.dumps({"job": 1, "limits": 2, "versions": 3, "given": given})
    with folder.lock():
        folder.write("job.json", job.encode())
        folder.write("plan.json", b"one")
        folder.remove()
        assert os.listdir(folder.path) == ["lock"]
    assert folder.path.exists() == given
    assert not given or not os.listdir(folder.path)


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
                "commits.json",
                "000001.snapshot",
                "plan.json",
                "job.json",
            ]


@pytest.mark.slow
def test_runs_that_enter_at_the_same_moment_are_busy(folder: RunDirectory) -> None:
    """Whatever the first has done by now; OSError of a directory that just vanished included."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from filmgate.errors import Busy\n"
        "from filmgate.jobs.run_directory import RunDirectory\n"
        f"folder, end, busy = RunDirectory(Path({str(folder.path)!r})), time.monotonic() + 1.5, 0\n"
        "while time.monotonic() < end:\n"
        "    try:\n"
        "        with folder.lock():\n"
        "            folder.write('plan.json', b'{}')\n"
        "            folder.remove()\n"
        "    except Busy:\n"
        "        busy += 1\n"
        "print(busy)"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    found = [run.communicate(timeout=60)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert sum(map(int, found)) > 0


def test_directory_that_vanishes_while_it_is_entered_is_busy(
    folder: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanish(self: RunDirectory) -> str:
        self.path.rmdir()
        return ""

    monkeypatch.setattr(RunDirectory, "find_foreign_files", vanish)
    with pytest.raises(Busy, match="another process just finished"), folder.lock():
        pass


def test_file_that_vanishes_while_a_directory_is_looked_at_is_no_foreign_one(
    folder: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with folder.lock():
        names = [*os.listdir(folder.path), ".filmgate-0123abcd.new"]
        monkeypatch.setattr(os, "listdir", lambda path: names)
        assert not folder.find_foreign_files()


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be deleted")
def test_removed_directory_is_reported_as_such(folder: RunDirectory) -> None:
    with folder.lock():
        shutil.rmtree(folder.path)
        with pytest.raises(FilmgateError, match="was removed while the run worked in it"):
            folder.write("plan.json", b"one")
        folder.remove()


@pytest.mark.parametrize("name", [WORKER, "another"])
def test_lock_of_a_worker_names_its_parent(
    name: str, folder: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent can be stopped; a killed worker is replaced by another one."""
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: SimpleNamespace(pid=4711))
    monkeypatch.setattr(multiprocessing, "current_process", lambda: SimpleNamespace(name=name))
    pid = 4711 if name == WORKER else os.getpid()
    with folder.lock():
        assert (folder.path / "lock").read_text().startswith(f"process {pid} on ")


@pytest.mark.parametrize(
    ("number", "wanted"),
    [(errno.ENOSPC, "Free some space"), (errno.EDQUOT, "Free some space"),
     (errno.EACCES, "Check the folder"), (errno.ENOENT, "Check the folder")],
)  # fmt: skip
def test_advice_fits_the_error_of_the_disk(tmp_path: Path, number: int, wanted: str) -> None:
    assert wanted in str(DiskFull.of(tmp_path, OSError(number, os.strerror(number))))


@pytest.mark.skipif(sys.platform == "win32", reason="disks have no limit of files")
def test_disk_without_inodes_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = os.statvfs_result((4096, 4096, 9999, 9999, 9999, 100, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda place: disk)
    for error in (DiskFull.of(tmp_path, OSError(errno.ENOSPC, "")), DiskFull.full(tmp_path, 3)):
        assert "no inode is free" in str(error)
        assert "Delete some files" in str(error)


@pytest.mark.parametrize("short_by", [1, 400_000, 10**6])
def test_needed_and_free_space_never_look_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_by: int
) -> None:
    """1 MB was needed, and 1 MB was free."""
    free = shutil._ntuple_diskusage(10**7, 0, 1_300_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: free)
    shown = re.findall(r"(\d+) MB", str(DiskFull.short(tmp_path, 1_300_000 + short_by, 1)))
    assert int(shown[0]) > int(shown[1])
