"""Changes that several parts of the queue make to a job, inside one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from filmgate.errors import BadSetting, QueueFull, UnknownJob
from filmgate.jobs.queue import checks
from filmgate.jobs.queue.database import Transaction
from filmgate.jobs.queue.rows import JOB_COLUMNS, read_job
from filmgate.jobs.queue.values import (
    ACTIVE_STATES,
    AttemptEnd,
    JobClass,
    JobRecord,
    JobState,
    QueueLimits,
)
from filmgate.jobs.queue.verdicts import Ending, raise_demand

_ACTIVE_JOBS = (
    "finished_ms IS NULL AND state IN (" + ", ".join(f"'{state}'" for state in ACTIVE_STATES) + ")"
)
# Whether the account `other` has jobs that wait or run.
IS_ACTIVE = (
    f"EXISTS (SELECT 1 FROM job WHERE {_ACTIVE_JOBS} AND job.tenant = other.tenant "
    "AND job.class = other.class)"
)
USAGE_HALF_LIFE_S = 600.0  # of the device seconds of a class


def find_job(change: Transaction, job_id: str) -> JobRecord:
    """Return the job. Raises UnknownJob."""
    row = change.row(f"SELECT {JOB_COLUMNS} FROM job WHERE id = ?", job_id)
    if row is not None:
        return read_job(row)
    if change.row("SELECT 1 FROM removed WHERE job = ?", job_id):
        raise UnknownJob(f"job {job_id!r:.80} was removed after its time: submit it again", True)
    raise UnknownJob(f"there is no job {job_id!r:.80}: check its id, and that it is this queue's")


def add_event(change: Transaction, job: JobRecord, kind: str, **data: object) -> None:
    """Add an event to a job; it gets the next number."""
    checks.check_text(kind, checks.WORD, "kind of the event")
    text = checks.dump_json(data, checks.MAX_DATA_BYTES, "data of the event")
    change.jobs_with_events.setdefault(job.id, None)
    change.change("UPDATE job SET events = events + 1 WHERE number = ?", job.number)
    change.change(
        "INSERT INTO event SELECT number, events, ?, ?, ? FROM job WHERE number = ?",
        change.now_ms, kind, text, job.number,
    )  # fmt: skip


def end_job(
    change: Transaction,
    job: JobRecord,
    state: JobState,
    reason: str = "",
    message: str = "",
    result: Mapping[str, Any] | None = None,
) -> None:
    """Give a job its final state, with an event of that name."""
    text = checks.dump_json(result or {}, checks.MAX_DATA_BYTES, "result")
    message = message[: checks.MAX_TEXT]
    change.change(
        "UPDATE job SET state = ?, reason = ?, message = ?, result = ?, worker = NULL, "
        "finished_ms = ? WHERE number = ?",
        state, reason, message, text, change.now_ms, job.number,
    )  # fmt: skip
    details = {"reason": reason, "message": message} if reason else {}
    add_event(change, job, str(state), **details)
    change.jobs_with_events[job.id] = str(state), reason


def end_attempt(
    change: Transaction, job: JobRecord, end: AttemptEnd, crash: Mapping[str, Any] | None
) -> None:
    """Record how the latest attempt at a job ended, with its crash report."""
    text = checks.dump_json(crash or {}, checks.MAX_DATA_BYTES, "crash report")
    change.change(
        "UPDATE attempt SET ended_ms = ?, end = ?, crash = ? WHERE job = ? AND epoch = ?",
        change.now_ms, end, text, job.number, job.epoch,
    )  # fmt: skip


def has_run_out_of_memory(view: Transaction, job: JobRecord, before: int) -> bool:
    """Return whether an attempt at the job before number `before` took all of the memory."""
    query = "SELECT 1 FROM attempt WHERE job = ? AND epoch < ? AND end = ?"
    return view.row(query, job.number, before, AttemptEnd.OUT_OF_MEMORY) is not None


def raise_reservation(change: Transaction, job: JobRecord, ending: Ending) -> None:
    """Let the next attempt at a job reserve more, if this one took or needed more than it had."""
    if more := raise_demand(job, ending):
        change.change(
            "UPDATE job SET raised = raised + 1, device_bytes = ?, host_bytes = ? WHERE number = ?",
            more.demand.device_bytes, more.demand.host_bytes, job.number,
        )  # fmt: skip
        add_event(change, job, "reservation_raised", message=more.message)


def make_storable(
    crash: Mapping[str, Any] | None, device_s: float
) -> tuple[Mapping[str, Any], float]:
    """Return a crash report and a time that can be stored: a dead worker's may be anything."""
    try:
        checks.dump_json(crash or {}, checks.MAX_DATA_BYTES, "crash report")
    except BadSetting as error:
        crash = {"unreadable": str(error)}
    try:
        return crash or {}, checks.check_number(device_s, checks.MAX_SECONDS, "device_s")
    except BadSetting:
        return crash or {}, 0.0


def requeue(change: Transaction, job: JobRecord, delay_s: float, **why: object) -> None:
    """Make a job wait again, for at least `delay_s`."""
    change.change(
        "UPDATE job SET state = 'queued', worker = NULL, not_before_ms = ? WHERE number = ?",
        change.now_ms + int(delay_s * 1000), job.number,
    )  # fmt: skip
    add_event(change, job, "requeued", delay_s=round(delay_s, 3), **why)


class Places:
    """Refuses new jobs when too many wait, without counting them each time."""

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._left: dict[str | None, int] = {}  # at least so many, at all (None) and by tenant

    def take(self, change: Transaction, tenant: str) -> None:
        """Take a place for a job of the tenant. Raises QueueFull.

        Jobs that run count as well here, as each may wait again, until the jobs that wait are
        counted again because no place seems to be left.
        """
        if min(self._left.get(None, 0), self._left.get(tenant, 0)) <= 0:
            self._count(change, tenant)
        self._left[None] -= 1
        self._left[tenant] -= 1

    def _count(self, change: Transaction, tenant: str) -> None:
        row = change.row(
            "SELECT total(state = 'queued'), total(state = 'queued' AND tenant = ?), count(*), "
            f"total(tenant = ?) FROM job WHERE {_ACTIVE_JOBS}", tenant, tenant,
        )  # fmt: skip
        assert row is not None
        waiting, of_tenant, active, active_of_tenant = map(int, row)
        most = self._limits
        if of_tenant >= most.waiting_per_tenant:
            raise QueueFull(f"{of_tenant} jobs of {tenant} wait, which is the most: try again when "
                            "some are done", of_tenant=True)  # fmt: skip
        if waiting >= most.waiting:
            raise QueueFull(f"{waiting} jobs wait, which is the most: try again later")
        self._left[None] = most.waiting - active  # what is known of other tenants stays true
        self._left[tenant] = most.waiting_per_tenant - active_of_tenant


def enter_account(change: Transaction, tenant: str, job_class: JobClass) -> None:
    """Prepare an account for a new job: while it had none, its usage follows that of the others.

    Otherwise a tenant that comes back after a week would have everything until it has caught up.
    """
    if change.row(f"SELECT 1 FROM account AS other WHERE tenant = ? AND class = ? AND {IS_ACTIVE}",
                  tenant, job_class):  # fmt: skip
        return
    change.change("INSERT OR IGNORE INTO tenant (name) VALUES (?)", tenant)
    change.change("INSERT OR IGNORE INTO account (tenant, class) VALUES (?, ?)", tenant, job_class)
    change.change(
        f"""UPDATE account SET virtual_s = max(virtual_s, coalesce(
            (SELECT min(virtual_s) FROM account AS other WHERE class = ? AND {IS_ACTIVE}),
            (SELECT max(virtual_s) FROM account WHERE class = ?)
        )) WHERE tenant = ? AND class = ?""",
        job_class, job_class, tenant, job_class,
    )  # fmt: skip


def charge(change: Transaction, job: JobRecord, device_s: float) -> None:
    """Add measured device seconds to the usage of the job's tenant and of its class."""
    checks.check_number(device_s, checks.MAX_SECONDS, "device_s")
    if not device_s:
        return
    change.change(
        "UPDATE account SET virtual_s = virtual_s + ? / (SELECT weight FROM tenant WHERE "
        "tenant.name = account.tenant) WHERE tenant = ? AND class = ?",
        device_s, job.tenant, job.job_class,
    )  # fmt: skip
    seconds = read_class_usage(change)[job.job_class] + device_s
    change.change(
        "INSERT OR REPLACE INTO class_usage VALUES (?, ?, ?)",
        job.job_class, seconds, change.now_ms,
    )  # fmt: skip


def read_class_usage(change: Transaction) -> dict[JobClass, float]:
    """Return the device seconds of each class; what is ten minutes old counts half."""
    usage = dict.fromkeys(JobClass, 0.0)
    for row in change.rows("SELECT class, seconds, time_ms FROM class_usage"):
        age_s = max(0, change.now_ms - row["time_ms"]) / 1000
        usage[JobClass(row["class"])] = row["seconds"] * 0.5 ** (age_s / USAGE_HALF_LIFE_S)
    return usage
