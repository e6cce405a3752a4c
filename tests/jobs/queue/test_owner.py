"""One process owns a queue; a second one learns which."""

import errno
import gc
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from filmgate.errors import BadSetting, Busy, FilmgateError
from filmgate.jobs.queue import database, owner
from filmgate.jobs.queue.clock import Clock
from filmgate.jobs.queue.values import JobRecord
from tests.jobs.queue.queues import make_job, open_queue


def test_second_owner_learns_who_the_first_is(tmp_path: Path) -> None:
    with open_queue(tmp_path):
        with pytest.raises(Busy, match=rf"in use by process {os.getpid()} on .*, started 2027-01"):
            open_queue(tmp_path)
        program = (
            "import sys\n"
            "from pathlib import Path\n"
            "from filmgate.errors import FilmgateError\n"
            "from filmgate.jobs.queue.job_queue import JobQueue\n"
            "from filmgate.jobs.scheduler import answers, dispatcher\n"
            "assert not {'torch', 'numpy', 'av', 'pydantic'} & set(sys.modules)\n"
            "try:\n    JobQueue(Path(sys.argv[1]))\n"
            "except FilmgateError as error:\n    print(error); sys.exit(error.exit_code)\n"
        )
        command = [sys.executable, "-c", program, str(tmp_path / "queue.db")]
        second = subprocess.run(command, capture_output=True, text=True, check=False)
        assert second.returncode == 75, second.stderr
        assert f"process {os.getpid()} on" in second.stdout
    open_queue(tmp_path).close()


def test_queue_that_another_process_creates_at_the_same_moment_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not there yet when the second one looked, and is when that has the lock."""
    really_hold, jobs = owner.hold_database, list[JobRecord]()

    def create_first(path: Path, clock: Clock) -> AbstractContextManager[None]:
        monkeypatch.undo()
        with open_queue(tmp_path) as queue:
            jobs.append(queue.submit(make_job()).job)
        return really_hold(path, clock)

    monkeypatch.setattr(database, "hold_database", create_first)
    with open_queue(tmp_path) as queue:
        assert queue.list_jobs() == jobs


def test_disk_that_cannot_lock_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: int) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(owner, "try_lock", fail)
    with pytest.raises(
        BadSetting, match=r"No locks available\. Choose a folder on a disk that can"
    ):
        open_queue(tmp_path)


def test_owner_without_a_lock_file_is_still_the_only_one(tmp_path: Path) -> None:
    """The user removed it, or reads the database with another program."""
    with open_queue(tmp_path) as queue:
        queue.submit(make_job())
        (tmp_path / "queue.db.lock").unlink()
        with pytest.raises(Busy, match="in use by another process"):
            open_queue(tmp_path)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            sqlite3.connect(tmp_path / "queue.db", timeout=0).execute("SELECT * FROM job")


def test_link_to_a_queue_is_the_same_queue(tmp_path: Path) -> None:
    open_queue(tmp_path).close()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "queue.db").symlink_to(tmp_path / "queue.db")
    with open_queue(tmp_path / "other"), pytest.raises(Busy):
        open_queue(tmp_path)
    assert os.listdir(tmp_path / "other") == ["queue.db"]


@pytest.mark.filterwarnings("ignore:.*fork")
def test_queue_does_not_cross_a_fork(tmp_path: Path) -> None:
    """Two processes with one connection would damage the database."""
    if sys.platform == "win32":
        pytest.skip("Windows does not fork")
    with open_queue(tmp_path) as queue:
        if not (pid := os.fork()):
            gc.freeze()  # codecs of other tests have threads, which a fork has not
            code = 1
            try:
                queue.submit(make_job())
            except FilmgateError as error:
                code = 0 if "does not cross a fork" in str(error) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert queue.list_jobs() == []


@pytest.mark.parametrize(
    ("text", "is_ours"),
    [(b"my list", False), (b"{}", False), (b"", True), (b"\0" * 90, True), (b'{"proc', True),
     (b'{"process": 1, "ho' + bytes(50), True), (b'{"process": 4194305}', True)],
)  # fmt: skip
def test_lock_file_is_only_written_if_a_queue_wrote_it(
    tmp_path: Path, text: bytes, is_ours: bool
) -> None:
    """After a power cut its end may be zeros, or missing."""
    lock = tmp_path / "queue.db.lock"
    lock.write_bytes(text)
    if is_ours:
        open_queue(tmp_path).close()
        assert json.loads(lock.read_bytes())["process"] == os.getpid()
    else:
        with pytest.raises(BadSetting, match="is not a queue's lock file: move it away"):
            open_queue(tmp_path)
        assert lock.read_bytes() == text
