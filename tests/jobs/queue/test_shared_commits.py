"""Changes of several threads that share a commit: durable for all of them, or there for none."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from filmgate.errors import DiskFull, FilmgateError, KeyReused
from filmgate.jobs.queue.job_queue import JobQueue
from filmgate.jobs.queue.values import JobRequest
from tests.jobs.queue.queues import make_job, open_queue

COUNT = 12


class Connection:
    """A connection that counts its commits, and fails those that a test wants to fail."""

    def __init__(self, inner: sqlite3.Connection) -> None:
        self._inner, self.commits, self.fails = inner, 0, False

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        if statement == "COMMIT":
            self.commits += 1
            if self.fails:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
        return self._inner.execute(statement, *values)

    @property
    def in_transaction(self) -> bool:
        return self._inner.in_transaction

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    with open_queue(tmp_path) as queue:
        yield queue


def count(queue: JobQueue) -> Connection:
    """Return what the queue uses from now on as its connection."""
    commits = queue._database._commits
    commits._connection = counted = Connection(commits._connection)  # type: ignore[assignment]
    return counted


def run_together(
    queue: JobQueue,
    calls: list[Callable[[], object]],
    futures: list[Future[object]] | None = None,
) -> list[Future[object]]:
    """Let each call wait in a thread of its own while another one changes the queue."""
    futures = [] if futures is None else futures
    with ThreadPoolExecutor(len(calls)) as pool, queue._database.write():
        futures += [pool.submit(call) for call in calls]
        while queue._database._commits._arriving < len(calls):
            threading.Event().wait(0.005)
    return futures


def submit(queue: JobQueue, number: int) -> Callable[[], object]:
    request = JobRequest(tenant="ann", job={"x": number}, key=f"key-{number}")
    return lambda: queue.submit(request).job


def test_changes_that_wait_are_committed_together(queue: JobQueue) -> None:
    counted = count(queue)
    futures = run_together(queue, [submit(queue, number) for number in range(COUNT)])
    jobs = [future.result() for future in futures]
    assert len({job.id for job in jobs}) == COUNT  # type: ignore[attr-defined]  # they are jobs
    assert counted.commits == 1
    assert len(queue.list_jobs()) == COUNT


def test_one_that_raises_undoes_nothing_of_the_others(queue: JobQueue) -> None:
    queue.submit(make_job(key="key", x=1))
    calls = [submit(queue, number) for number in range(COUNT)]
    calls.insert(COUNT // 2, lambda: queue.submit(make_job(key="key", x=2)))
    futures = run_together(queue, calls)
    errors = [future.exception() for future in futures]
    assert [type(error) for error in errors if error] == [KeyReused]
    assert len(queue.list_jobs()) == COUNT + 1


def test_commit_that_fails_is_an_error_of_all_and_changes_nothing(queue: JobQueue) -> None:
    counted = count(queue)
    counted.fails = True
    futures = list[Future[object]]()
    with pytest.raises(DiskFull):
        run_together(queue, [submit(queue, number) for number in range(COUNT)], futures)
    assert all(isinstance(future.exception(), DiskFull) for future in futures)
    counted.fails = False
    assert queue.list_jobs() == []
    submit(queue, 0)()
    assert len(queue.list_jobs()) == 1


def test_no_one_reads_what_is_not_committed(queue: JobQueue) -> None:
    """A reader whose turn comes between two changes commits the first one."""
    counted, seen = count(queue), list[tuple[int, int]]()
    commits = queue._database._commits
    with commits._lock:
        commits._arriving += 1  # a thread that does not come
        done = threading.Thread(target=submit(queue, 0))
        done.start()
        while commits._arriving < 2:
            threading.Event().wait(0.005)
    while counted.commits == 0 and not seen:
        seen = [(len(queue.list_jobs()), counted.commits)]
        seen = [one for one in seen if one[0]]
    done.join(20)
    assert not done.is_alive(), "it waits for the other one"
    assert counted.commits == 1
    assert seen in ([], [(1, 1)])
    commits._arriving -= 1


def test_change_within_a_change_is_refused(queue: JobQueue) -> None:
    with pytest.raises(FilmgateError, match="a change within a change"), queue._database.write():
        queue.submit(make_job())
    assert queue.list_jobs() == []
    queue.submit(make_job())
