"""A disk that is full, fails, or loses power: what was acknowledged is there afterwards."""

import itertools
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from filmgate.errors import DiskFull, FilmgateError, LeaseLost
from filmgate.jobs.queue import database
from filmgate.jobs.queue.values import AttemptEnd, JobState
from tests.cases import mark_slow_cases
from tests.jobs.queue.disk import (
    FULL,
    IO_SYNC,
    IO_WRITE,
    OK,
    VFS,
    Disk,
    Operation,
    cut_power,
    get_disk,
)
from tests.jobs.queue.power_cuts import find_lost_by_cut, record
from tests.jobs.queue.queues import ManualClock, make_job, make_segment, open_queue, start_job
from tests.jobs.queue.workload import Acknowledged, find_lost, work

pytestmark = pytest.mark.skipif(get_disk() is None, reason="SQLite is not a library of its own")


@pytest.fixture
def disk() -> Disk:
    found = get_disk()
    assert found is not None
    found.reset()
    return found


def fail_from(number: int, code: int, count: int = 10**9) -> Callable[[Operation], int]:
    """Return a disk on which operation `number` and the following ones fail, `count` of them."""
    numbers = itertools.count()
    return lambda operation: code if number <= next(numbers) < number + count else OK


def use_queue(folder: Path, report: Callable[[Acknowledged], object]) -> None:
    """Do each kind of change."""
    with open_queue(folder, uniform=lambda low, high: 0.0) as queue:
        work(queue, random.Random(5), report, 30)
        queue.cancel(queue.submit(make_job()).job.id)
        lease = start_job(queue)
        queue.leases.disconnect("w", AttemptEnd.DIED)
        queue.files.add(lease.job_id, "a.txt")
        queue.files.remove_finished(0)


CODES = {"full": FULL, "sync": IO_SYNC, "write": IO_WRITE}
QUICK = [(60, 63), (190, 193), (380, 383)]
STRIDE = int(os.environ.get("FILMGATE_STRIDE", "1"))  # a larger one tries fewer operations
EVERY = [(first, first + 30) for first in range(0, 600, 30 * STRIDE)]
ENDS = 500  # from here on the queue is being closed, and nothing is left to fail


def find_error(folder: Path, report: Callable[[Acknowledged], object]) -> FilmgateError | None:
    """Use the queue in a folder and return the error that ended it."""
    try:
        use_queue(folder, report)
    except FilmgateError as error:
        return error
    return None


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize(("first", "end"), mark_slow_cases(QUICK, [*QUICK, *EVERY]))
def test_disk_that_fails_at_any_operation_loses_nothing(
    tmp_path: Path, disk: Disk, code: str, first: int, end: int
) -> None:
    """From each operation on in turn; the next server finds everything that was acknowledged.

    Each way to fail begins with another operation. Jobs that are done may have been removed.
    """
    for number in range(first + list(CODES).index(code), end, len(CODES)):
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        acknowledged: list[Acknowledged] = []
        disk.on_operation = fail_from(number, CODES[code])
        error = find_error(folder, acknowledged.append)
        assert error is not None or number > ENDS
        assert error is None or isinstance(error, DiskFull) or "any more" in str(error)
        disk.reset()
        done = {each.job_id for each in acknowledged if each.kind == "done"}
        kept = [each for each in acknowledged if each.job_id not in done]
        if (folder / "queue.db").exists():
            assert find_lost(folder / "queue.db", kept, VFS) == []
        else:
            assert not acknowledged


def test_full_disk_refuses_changes_and_the_queue_works_again_when_there_is_space(
    tmp_path: Path, disk: Disk
) -> None:
    with open_queue(tmp_path) as queue:
        lease = start_job(queue)
        disk.on_operation = fail_from(0, FULL)
        for change in (
            lambda: queue.submit(make_job()),
            lambda: queue.cancel(lease.job_id),
            lambda: queue.leases.commit_segment(lease, make_segment(0)),
            lambda: queue.leases.finish(lease, 0, {}),
        ):
            with pytest.raises(DiskFull, match=r"queue\.db: No space left on device.*Free some"):
                change()
        assert queue.get(lease.job_id).state is JobState.LEASED, "reading still works"
        disk.reset()
        queue.leases.commit_segment(lease, make_segment(0))
        queue.leases.finish(lease, 1, {})
        assert len(queue.list_jobs()) == 1


def test_worker_that_dies_while_the_disk_is_full_loses_its_lease_at_once(
    tmp_path: Path, disk: Disk
) -> None:
    """And its job waits again as soon as that can be written."""
    clock = ManualClock()
    with open_queue(tmp_path, clock) as queue:
        lease = start_job(queue)
        disk.on_operation = fail_from(0, FULL)
        with pytest.raises(DiskFull):
            queue.leases.disconnect("w", AttemptEnd.DIED)
        assert queue.leases.find_held() == {}
        with pytest.raises(LeaseLost):
            queue.leases.commit_segment(lease, make_segment(0))
        with pytest.raises(DiskFull):
            queue.leases.settle()
        disk.reset()
        queue.leases.settle()
        assert (queue.get(lease.job_id).state, queue.get(lease.job_id).crashes) == (
            JobState.QUEUED, 1,
        )  # fmt: skip


def test_queue_whose_sync_failed_is_not_used_any_more(tmp_path: Path, disk: Disk) -> None:
    """After a failed sync a later one can succeed without the data: only opening again tells."""
    queue = open_queue(tmp_path)
    job = queue.submit(make_job()).job
    numbers = itertools.count()
    disk.on_operation = lambda operation: (
        IO_SYNC if operation.kind == "sync" and next(numbers) == 0 else OK
    )
    with pytest.raises(DiskFull, match=r"cannot use .* any more: disk I/O error"):
        queue.submit(make_job())
    for call in (lambda: queue.submit(make_job()), lambda: queue.get(job.id), queue.expire_due):
        with pytest.raises(FilmgateError, match="Check its disk and start the server again"):
            call()
    queue.close()
    with open_queue(tmp_path) as queue:
        assert queue.get(job.id) == job


def test_power_cuts_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    recorded = record(tmp_path, rounds=15, starts=2)
    assert len(recorded.acknowledged) > 10
    for number in range(4):
        at = number * len(recorded.operations) // 3
        assert find_lost_by_cut(recorded, at, number, tmp_path / "after") == []


def test_power_cuts_are_noticed_where_commits_are_not_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With SQLite's setting NORMAL a commit stays in the system's memory."""
    normal = tuple(line.replace("FULL", "NORMAL") for line in database._WRITER)
    monkeypatch.setattr(database, "_WRITER", normal)
    recorded = record(tmp_path, rounds=15, starts=1)
    at = recorded.acknowledged[-1][0]  # before the queue is closed, which syncs
    assert any(find_lost_by_cut(recorded, at, seed, tmp_path / "after") for seed in range(9))


def test_cut_keeps_what_was_synced_and_any_part_of_the_rest() -> None:
    operations = [
        Operation("create", "log"),
        Operation("write", "log", 0, b"a" * 1024),
        Operation("sync", "log"),
        Operation("write", "log", 512, b"b" * 1024),
        Operation("create", "new"),
        Operation("write", "new", 0, b"c"),
        Operation("truncate", "old", 1),
    ]
    found = [cut_power({"old": b"xyz"}, operations, random.Random(seed)) for seed in range(300)]
    logs = {files["log"].decode() for files in found}
    first = "a" * 512
    assert logs == {
        first + "a" * 512, first + "b" * 512, first + "a" * 512 + "b" * 512, first + "b" * 1024,
    }  # fmt: skip
    assert {files.get("new") for files in found} == {None, b"", b"c"}
    assert {files["old"] for files in found} == {b"xyz", b"x"}
    assert cut_power({"old": b""}, [Operation("delete", "old", 1)], random.Random(0)) == {}


def test_copy_of_a_running_queue_without_its_log_is_an_older_queue(tmp_path: Path) -> None:
    """Not an error, and not what this test would wish: the docs say to copy a closed queue."""
    with open_queue(tmp_path) as queue:
        queue.submit(make_job())
        (tmp_path / "copy").mkdir()
        shutil.copy(tmp_path / "queue.db", tmp_path / "copy" / "queue.db")
    with open_queue(tmp_path / "copy") as queue:
        assert queue.list_jobs() == []
