"""Predictions of what jobs take that come after the jobs, which wait for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from filmgate.jobs.queue import checks
from filmgate.jobs.queue.changes import add_event, end_job, find_job
from filmgate.jobs.queue.database import Database, Transaction
from filmgate.jobs.queue.rows import JOB_COLUMNS, read_job
from filmgate.jobs.queue.values import Demand, JobRecord, JobState

_LESS = "the service has less memory than when it was predicted"


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a queue has to predict, and what was predicted."""

    database: Database

    def find_due(self) -> list[JobRecord]:
        """Return the job of each tenant and class that has waited longest for its prediction."""
        with self.database.read() as view:
            rows = view.rows(
                f"SELECT {JOB_COLUMNS} FROM job WHERE number IN (SELECT min(number) FROM job "
                "INDEXED BY job_unplanned WHERE is_planned = 0 AND finished_ms IS NULL "
                "GROUP BY tenant, class) ORDER BY number"
            )
        return [read_job(row) for row in rows]

    def store(
        self, job_id: str, demand: Demand, context: Mapping[str, Any], **data: object
    ) -> bool:
        """Let a job start, as its demand is known; return False if it does not wait for that.

        `context` is added to that of its request; `data` is that of the event `planned`. Raises
        UnknownJob, BadSetting, DiskFull.
        """
        checks.check_demand(demand)
        with self.database.write() as change:
            job = find_job(change, job_id)
            if not _is_waiting(job):
                return False
            stored = change.value("SELECT context FROM job WHERE number = ?", job.number)
            added = checks.load_json(stored, checks.MAX_DATA_BYTES, "context") | dict(context)
            change.change(
                "UPDATE job SET is_planned = 1, device_bytes = ?, host_bytes = ?, seconds = ?, "
                "context = ? WHERE number = ?",
                demand.device_bytes, demand.host_bytes, float(demand.seconds),
                checks.dump_json(added, checks.MAX_DATA_BYTES, "context"), job.number,
            )  # fmt: skip
            add_event(change, job, "planned", **data)
        return True

    def repeat_too_large(self, most: Demand) -> int:
        """Let the jobs that wait and take more than `most` be predicted again; return how many.

        They were accepted when there was more, and would wait for ever. Raises DiskFull.
        """
        where = (
            "finished_ms IS NULL AND state = 'queued' AND is_planned = 1 AND raised = 0 "
            "AND (device_bytes > ? OR host_bytes > ?)"
        )
        with self.database.write() as change:
            rows = change.rows(
                f"SELECT {JOB_COLUMNS} FROM job WHERE {where}", most.device_bytes, most.host_bytes
            )
            for job in map(read_job, rows):
                change.change("UPDATE job SET is_planned = 0 WHERE number = ?", job.number)
                add_event(change, job, "prediction_repeated", message=_LESS)
        return len(rows)

    def refuse(self, job_id: str, reason: str, message: str) -> bool:
        """Let a job fail that cannot run; return False if it does not wait for its prediction.

        Raises UnknownJob, BadSetting, DiskFull.
        """
        checks.check_text(reason, checks.WORD, "reason")
        with self.database.write() as change:
            return _refuse(change, find_job(change, job_id), reason, message)


def _refuse(change: Transaction, job: JobRecord, reason: str, message: str) -> bool:
    if not _is_waiting(job):
        return False
    end_job(change, job, JobState.FAILED, reason, message)
    return True


def _is_waiting(job: JobRecord) -> bool:
    return job.state is JobState.QUEUED and not job.is_planned
