"""The queue: clients submit, watch and cancel jobs, and workers hold leases on them."""

from __future__ import annotations

import random
import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from filmgate.errors import BadInput, FilmgateError, JobConflict, KeyReused
from filmgate.jobs.queue import checks
from filmgate.jobs.queue.backoff import Uniform
from filmgate.jobs.queue.changes import (
    IS_ACTIVE,
    Places,
    add_event,
    end_job,
    enter_account,
    find_job,
    read_class_usage,
)
from filmgate.jobs.queue.clock import Clock, SystemClock
from filmgate.jobs.queue.database import Database, EventWatcher, Transaction
from filmgate.jobs.queue.files import JobFiles
from filmgate.jobs.queue.leases import HELD_JOBS, Leases
from filmgate.jobs.queue.predictions import Predictions
from filmgate.jobs.queue.rows import (
    JOB_COLUMNS,
    read_account,
    read_attempt,
    read_event,
    read_job,
    read_segment,
)
from filmgate.jobs.queue.values import (
    ACTIVE_STATES,
    FINAL_STATES,
    PRIORITY_MS,
    Account,
    Attempt,
    Demand,
    JobClass,
    JobEvent,
    JobRecord,
    JobRequest,
    JobState,
    QueueLimits,
    Segment,
    Submission,
)

MAX_PAGE = 1000
_ID_ATTEMPTS = 4  # of making an id that no job has


def make_id() -> str:
    """Return a new id that cannot be guessed."""
    return secrets.token_hex(16)


class JobQueue:
    """A queue in a SQLite database that this process owns.

    Everything that a method returned survives a power cut. What raises changes nothing. Clients
    use the methods here, workers those of `leases`; `predictions` of what jobs take may come after
    them; `files` are those that the queue wrote.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock | None = None,
        new_id: Callable[[], str] = make_id,
        uniform: Uniform = random.uniform,
        limits: QueueLimits | None = None,
        vfs: str = "",
    ) -> None:
        """Open the queue, or create it; leases of an earlier process end, their jobs wait again.

        `vfs`: SQLite's access to files, for tests. Raises Busy if another process owns it;
        BadInput if the file is damaged or no queue's; BadSetting, DiskFull, NotLoaded.
        """
        clock = clock or SystemClock()
        self._database = Database(path, clock, vfs)
        self._new_id, self._places = new_id, Places(limits or QueueLimits())
        self._waiting: dict[tuple[int, int], JobRecord] = {}  # as read last, by number and events
        try:
            self.leases = Leases(self._database, clock.monotonic_s, uniform)
        except BaseException:
            self._database.close()
            raise
        self.predictions = Predictions(self._database)
        self.files = JobFiles(self._database)

    def watch_events(self, on_event: EventWatcher) -> None:
        """Call `on_event` with the id of each job that got an event, after that is durable.

        Also with state and reason if the job has ended, else None. Any thread that changes the
        queue calls it.
        """
        self._database.on_event = on_event

    def check_writable(self) -> None:
        """Raise DiskFull or FilmgateError if nothing can be written."""
        with self._database.write():
            pass

    def close(self) -> None:
        """Close the database; workers lose their leases when it is opened again."""
        self._database.close()

    def __enter__(self) -> JobQueue:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def submit(self, request: JobRequest) -> Submission:
        """Add a job, or return the one with the same idempotency key.

        Raises BadSetting for values out of bounds; KeyReused if the key was used for another
        request; QueueFull; DiskFull.
        """
        text, sha256 = checks.encode_request(request)
        context = checks.dump_json(request.context, checks.MAX_DATA_BYTES, "context")
        with self._database.write() as change:
            if earlier := _find_earlier(change, request, sha256):
                return Submission(earlier, False)
            self._places.take(change, request.tenant)
            enter_account(change, request.tenant, request.job_class)
            number = self._insert(change, request, text, sha256, context)
            return Submission(_read_number(change, number), True)

    def find_earlier(self, request: JobRequest) -> JobRecord | None:
        """Return the job of an earlier request with the same key, None if there is none.

        Raises BadSetting; KeyReused if it was another request.
        """
        _, sha256 = checks.encode_request(request)
        with self._database.read() as view:
            return _find_earlier(view, request, sha256)

    def cancel(self, job_id: str) -> JobRecord:
        """Cancel a job: at once if it waits, else when its worker has stopped.

        A worker that finishes first wins. Cancelling twice changes nothing. Raises UnknownJob, and
        JobConflict if the job has another final state.
        """
        with self._database.write() as change:
            job = find_job(change, job_id)
            if job.state in FINAL_STATES and job.state is not JobState.CANCELLED:
                raise JobConflict(f"job {job_id} is {job.state}: it cannot be cancelled any more")
            if job.state is JobState.QUEUED:
                end_job(change, job, JobState.CANCELLED)
            elif not job.is_cancel_requested and job.state is not JobState.CANCELLED:
                change.change("UPDATE job SET cancel = 1 WHERE number = ?", job.number)
                add_event(change, job, "cancel_requested")
            return find_job(change, job_id)

    def get(self, job_id: str) -> JobRecord:
        """Return a job. Raises UnknownJob."""
        with self._database.read() as view:
            return find_job(view, job_id)

    def read_request(self, job_id: str) -> dict[str, Any]:
        """Return the definition of a job as it was submitted. Raises UnknownJob, BadInput."""
        with self._database.read() as view:
            job = find_job(view, job_id)
            row = view.row("SELECT request, sha256 FROM job WHERE number = ?", job.number)
        assert row is not None
        expires_s = None if job.expires_ms is None else (job.expires_ms - job.submitted_ms) / 1000
        sha256 = checks.hash_request(
            job.tenant, str(job.job_class), job.priority, expires_s, row["request"]
        )
        if sha256 != row["sha256"]:
            raise BadInput(
                f"the request of job {job_id} was changed in the database: cancel it and submit "
                "it again"
            )
        return checks.load_json(row["request"], checks.MAX_REQUEST_BYTES, "request")

    def read_context(self, job_id: str) -> dict[str, Any]:
        """Return what was stored with the request of a job. Raises UnknownJob, BadSetting."""
        with self._database.read() as view:
            job = find_job(view, job_id)
            text = view.value("SELECT context FROM job WHERE number = ?", job.number)
        return checks.load_json(text, checks.MAX_DATA_BYTES, "context")

    def read_result(self, job_id: str) -> dict[str, Any]:
        """Return what the worker reported as the result, {} if the job is not done."""
        with self._database.read() as view:
            job = find_job(view, job_id)
            text = view.value("SELECT result FROM job WHERE number = ?", job.number)
        return checks.load_json(text, checks.MAX_DATA_BYTES, "result")

    def list_jobs(
        self, *, tenant: str | None = None, state: JobState | None = None, after: int = 0,
        limit: int = 100,
    ) -> list[JobRecord]:  # fmt: skip
        """Return a page of jobs in order of arrival, those with a number above `after`."""
        with self._database.read() as view:
            rows = view.rows(
                f"SELECT {JOB_COLUMNS} FROM job WHERE number > ? AND (? IS NULL OR tenant = ?) "
                "AND (? IS NULL OR state = ?) ORDER BY number LIMIT ?",
                after, tenant, tenant, state, state, _check_page(limit),
            )  # fmt: skip
        return [read_job(row) for row in rows]

    def list_latest(
        self, tenant: str | None = None, before: int = checks.MAX_COUNT, limit: int = 100
    ) -> list[JobRecord]:
        """Return a page of jobs, the latest first, those with a number below `before`."""
        with self._database.read() as view:
            rows = view.rows(
                f"SELECT {JOB_COLUMNS} FROM job WHERE number < ? AND (? IS NULL OR tenant = ?) "
                "ORDER BY number DESC LIMIT ?",
                before, tenant, tenant, _check_page(limit),
            )  # fmt: skip
        return [read_job(row) for row in rows]

    def count_active(self) -> dict[JobState, int]:
        """Return how many jobs are in each state that is not final."""
        query = "SELECT state, count(*) FROM job WHERE finished_ms IS NULL GROUP BY state"
        with self._database.read() as view:
            counts = {JobState(state): count for state, count in view.rows(query)}
        return dict.fromkeys(ACTIVE_STATES, 0) | counts

    def read_events(self, job_id: str, after: int = 0, limit: int = 100) -> list[JobEvent]:
        """Return a page of a job's events, those with a number above `after`. Raises UnknownJob."""
        query = "SELECT * FROM event WHERE job = ? AND number > ? ORDER BY number LIMIT ?"
        return [read_event(row) for row in self._read_page(query, job_id, after, limit)]

    def read_segments(self, job_id: str, after: int = -1, limit: int = 100) -> list[Segment]:
        """Return a page of a job's segments, those with a number above `after`."""
        query = "SELECT * FROM segment WHERE job = ? AND number > ? ORDER BY number LIMIT ?"
        return [read_segment(row) for row in self._read_page(query, job_id, after, limit)]

    def read_attempts(self, job_id: str) -> list[Attempt]:
        """Return the latest attempts at a job, at most 100, in their order."""
        query = "SELECT * FROM attempt WHERE job = ? AND epoch > ? ORDER BY epoch DESC LIMIT ?"
        return [read_attempt(row) for row in self._read_page(query, job_id, 0, 100)][::-1]

    def expire_due(self) -> list[str]:
        """End the jobs that did not start in time; return their ids."""
        with self._database.read() as view:
            is_due = view.row(f"SELECT 1 FROM {_EXPIRING} WHERE {_IS_DUE}", view.now_ms)
        if is_due is None:
            return []
        with self._database.write() as change:
            query = f"SELECT {JOB_COLUMNS} FROM {_EXPIRING} WHERE {_IS_DUE} LIMIT ?"
            jobs = [read_job(row) for row in change.rows(query, change.now_ms, MAX_PAGE)]
            for job in jobs:
                end_job(change, job, JobState.EXPIRED)
        return [job.id for job in jobs]

    def read_waiting(self, per_account: int = 8, most: Demand | None = None) -> list[JobRecord]:
        """Return the jobs that may start: the first few of each tenant and class, in their order.

        Jobs that take more bytes than `most` are left out: they wait for another machine. So are
        those whose prediction is not there yet. Those whose reservation was raised get what there
        is.
        """
        most = most or Demand(checks.MAX_BYTES, checks.MAX_BYTES)
        with self._database.read() as view:
            accounts = view.rows(f"SELECT tenant, class FROM account AS other WHERE {IS_ACTIVE}")
            heads = [
                tuple(row)
                for tenant, job_class in accounts
                for row in view.rows(
                    "SELECT number, events FROM job WHERE finished_ms IS NULL AND "
                    "state = 'queued' AND is_planned AND tenant = ? AND class = ? AND "
                    "not_before_ms <= ? "
                    "AND (raised > 0 OR device_bytes <= ? AND host_bytes <= ?) "
                    "ORDER BY rank_ms, number LIMIT ?",
                    tenant, job_class, view.now_ms, most.device_bytes, most.host_bytes,
                    per_account,
                )
            ]  # fmt: skip
            # Every change of a job comes with an event, so a record with as many is the same.
            known = self._waiting
            self._waiting = {
                head: known[head] if head in known else _read_number(view, head[0])
                for head in heads
            }
            return list(self._waiting.values())

    def read_accounts(self) -> list[Account]:
        """Return the accounts with jobs that wait or run."""
        with self._database.read() as view:
            rows = view.rows(
                "SELECT other.*, weight FROM account AS other JOIN tenant ON tenant = name "
                f"WHERE {IS_ACTIVE}"
            )
        return [read_account(row) for row in rows]

    def read_class_usage(self) -> dict[JobClass, float]:
        """Return the device seconds of each class; what is ten minutes old counts half."""
        with self._database.read() as view:
            return read_class_usage(view)

    def read_held(self) -> list[JobRecord]:
        """Return the jobs that workers hold."""
        with self._database.read() as view:
            return [read_job(row) for row in view.rows(HELD_JOBS)]

    def set_weight(self, tenant: str, weight: float) -> None:
        """Give a tenant a share of the devices in proportion to its weight; 1 is the default."""
        checks.check_text(tenant, checks.NAME, "tenant")
        checks.check_number(weight, 1e6, "weight")
        with self._database.write() as change:
            change.change("INSERT OR IGNORE INTO tenant (name) VALUES (?)", tenant)
            change.change("UPDATE tenant SET weight = ? WHERE name = ?", max(weight, 1e-6), tenant)

    def now_ms(self) -> int:
        """Return the queue's time, in ms since 1970 UTC."""
        return self._database.clock.now_ms()

    def _insert(
        self, change: Transaction, request: JobRequest, text: str, sha256: str, context: str
    ) -> int:
        """Add a job with its first event; return its number."""
        expires_s, demand = request.expires_after_s, request.demand
        expires_ms = None if expires_s is None else change.now_ms + round(expires_s * 1000)
        rank_ms = change.now_ms - request.priority * PRIORITY_MS
        for _ in range(_ID_ATTEMPTS):
            job_id = checks.check_text(self._new_id(), checks.ID, "id")
            if change.change(
                "INSERT OR IGNORE INTO job (id, tenant, class, priority, rank_ms, key, request, "
                "sha256, context, device_bytes, host_bytes, seconds, state, not_before_ms, "
                "expires_ms, submitted_ms, is_planned, events) "
                "SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, 1 "
                "WHERE NOT EXISTS (SELECT 1 FROM removed WHERE job = ?)",
                job_id, request.tenant, request.job_class, request.priority, rank_ms, request.key,
                text, sha256, context, demand.device_bytes, demand.host_bytes,
                float(demand.seconds), change.now_ms, expires_ms, change.now_ms,
                int(request.is_planned), job_id,
            ):  # fmt: skip
                number = int(change.value("SELECT last_insert_rowid()"))
                change.change(
                    "INSERT INTO event VALUES (?, 1, ?, 'queued', '{}')", number, change.now_ms
                )
                change.jobs_with_events[job_id] = None
                return number
        raise FilmgateError(f"{_ID_ATTEMPTS} new ids of jobs exist already: the source of random "
                            "numbers of this system is broken")  # fmt: skip

    def _read_page(self, query: str, job_id: str, after: int, limit: int) -> list[sqlite3.Row]:
        checks.check_count(after, -1, checks.MAX_COUNT, "after")
        with self._database.read() as view:
            number = find_job(view, job_id).number
            return view.rows(query, number, after, _check_page(limit))


_EXPIRING = "job INDEXED BY job_expiring"  # SQLite would look at each job that waits
_IS_DUE = "state = 'queued' AND finished_ms IS NULL AND epoch = 0 AND expires_ms <= ?"


def _find_earlier(view: Transaction, request: JobRequest, sha256: str) -> JobRecord | None:
    row = request.key is not None and view.row(
        "SELECT number, sha256 FROM job WHERE tenant = ? AND key = ?", request.tenant, request.key
    )
    if not row:
        return None
    if row["sha256"] != sha256:
        raise KeyReused(
            f"the idempotency key {request.key!r} was used for another request: pass a new key, or "
            "the same request"
        )
    return _read_number(view, row["number"])


def _read_number(change: Transaction, number: int) -> JobRecord:
    row = change.row(f"SELECT {JOB_COLUMNS} FROM job WHERE number = ?", number)
    assert row is not None
    return read_job(row)


def _check_page(limit: int) -> int:
    return checks.check_count(limit, 1, MAX_PAGE, "limit")
