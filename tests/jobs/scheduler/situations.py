"""Situations of tests, from a few words."""

import itertools
from collections.abc import Mapping
from typing import Any

from filmgate.jobs.queue.values import (
    Account,
    Demand,
    Held,
    JobClass,
    JobRecord,
    JobState,
    Lease,
)
from filmgate.jobs.scheduler.capacity import Device, Machine
from filmgate.jobs.scheduler.order import Situation

NOW_MS = 10_000_000
LIVE, INTERACTIVE, BATCH = JobClass.LIVE, JobClass.INTERACTIVE, JobClass.BATCH
_numbers = itertools.count(1)


def make_machine(devices: int = 1, size: int = 100, host: int = 1000) -> Machine:
    """Return a machine with devices a, b ...; jobs can use `size` bytes of each, `host` of RAM."""
    names = "abcdefgh"[:devices]
    return Machine(tuple(Device(name, size * 5 // 4) for name in names), host * 5 // 4)


def make_record(
    job_id: str, job_class: JobClass = BATCH, size: int = 10, *, tenant: str = "",
    host: int = 0, seconds: float = 60.0, waited_s: float = 0.0, **values: Any,
) -> JobRecord:  # fmt: skip
    """Return a job that waits; its tenant is the first letter of its id."""
    fields: dict[str, Any] = {
        "number": next(_numbers), "priority": 0, "state": JobState.QUEUED, "reason": "",
        "message": "", "epoch": 0, "worker": None, "crashes": 0, "failures": 0, "losses": 0,
        "segments": 0, "events": 1, "is_cancel_requested": False, "not_before_ms": 0,
        "expires_ms": None, "finished_ms": None,
        "submitted_ms": NOW_MS - int(waited_s * 1000), **values,
    }  # fmt: skip
    return JobRecord(
        id=job_id, tenant=tenant or job_id[0], job_class=job_class,
        demand=Demand(size, host, seconds), **fields,
    )  # fmt: skip


def make_situation(
    waiting: list[JobRecord] | None = None,
    running: list[tuple[JobRecord, str, float]] | None = None,
    idle: str = "",
    used: Mapping[str, float] | None = None,
    usage: Mapping[JobClass, float] | None = None,
    **accounts: Any,
) -> Situation:
    """Return a situation.

    `running`: jobs with their device and the seconds since their start; `idle`: the device of each
    idle worker; `used`: what accounts of tenants have had, in every class.
    """
    held = {
        job.id: Held(Lease(job.id, 1, f"w-{job.id}"), device, elapsed_s, elapsed_s, job.demand)
        for job, device, elapsed_s in running or []
    }
    return Situation(
        now_ms=NOW_MS,
        waiting=tuple(waiting or []),
        running=tuple(job for job, _, _ in running or []),
        held=held,
        idle={f"{device}{number}": device for number, device in enumerate(idle)},
        accounts=tuple(
            Account(tenant, job_class, virtual_s=virtual_s, **accounts)
            for tenant, virtual_s in (used or {}).items()
            for job_class in JobClass
        ),
        class_usage=usage or {},
    )
