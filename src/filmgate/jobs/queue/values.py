"""What the queue stores, as values: requests, jobs, leases, segments and events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class JobState(StrEnum):
    """Where a job is; the last four are final."""

    QUEUED = "queued"
    LEASED = "leased"  # a worker has it, and has not reported progress
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"  # it did not start in the time that its request gave


ACTIVE_STATES = (JobState.QUEUED, JobState.LEASED, JobState.RUNNING)
HELD_STATES = (JobState.LEASED, JobState.RUNNING)
FINAL_STATES = (JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED)


class JobClass(StrEnum):
    """How urgent a job is, the most urgent first."""

    LIVE = "live"
    INTERACTIVE = "interactive"
    BATCH = "batch"


class AttemptEnd(StrEnum):
    """How an attempt at a job ended."""

    DONE = "done"
    FAILED = "failed"  # the worker reported an error
    CANCELLED = "cancelled"
    YIELDED = "yielded"  # given back at a segment boundary, for a job that comes first
    DIED = "died"  # the worker's process ended by itself
    OUT_OF_MEMORY = "out_of_memory"  # the kernel ended it, as the machine had no more memory
    STALLED = "stalled"  # it made no progress and was killed
    LOST = "lost"  # its connection ended, and nothing more is known
    STOPPED = "stopped"  # the server ended


# The job may be the cause.
CRASHES = (AttemptEnd.DIED, AttemptEnd.OUT_OF_MEMORY, AttemptEnd.STALLED)
PRIORITY_MS = 60_000  # of waiting that a step of priority is worth, so that no job waits for ever
WORKER_LOST = "worker_lost"  # reason of a job whose workers are lost again and again
POISON = "poison"  # reason of a job that failed because it kills its workers
OUT_OF_MEMORY = "out_of_memory"  # reason of an error, and of a job that no memory is enough for


@dataclass(frozen=True, slots=True)
class Demand:
    """What a job takes: peak bytes on its device and in RAM, device seconds.

    As its plan predicts; more after an attempt that took more. 0 bytes on the device: it computes
    on the CPU, or hardly takes any.
    """

    device_bytes: int = 0
    host_bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Memory of an attempt: what is reserved for it, and the most that it was seen to take."""

    reserved: Demand = Demand()
    peak: Demand = Demand()  # 0 bytes: not measured


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How many jobs may wait: at all, and of one tenant."""

    waiting: int = 10_000
    waiting_per_tenant: int = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A job that a client asks for.

    `job`: its definition, as JSON. `key`: the client's idempotency key; the same key and request
    is the same job. `priority`: among the tenant's own jobs, larger first; each step is worth a
    minute of waiting. `expires_after_s`: how long it may wait for its first start; None: for ever.
    `context`: stored with it, and like `demand` not part of what makes two requests the same.
    `is_planned`: whether `demand` is known; if not, the job waits for `Predictions`.
    """

    tenant: str
    job: Mapping[str, Any]
    job_class: JobClass = JobClass.BATCH
    priority: int = 0
    key: str | None = None
    expires_after_s: float | None = None
    demand: Demand = Demand()
    context: Mapping[str, Any] = field(default_factory=dict)
    is_planned: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job of the queue; times are in ms since 1970 UTC by the queue's clock.

    `number`: order of arrival. `reason`: why it failed, one word. `epoch`: number of the latest
    lease. `crashes`, `failures`, `losses` (of connections): since its latest segment. `segments`,
    `events`: how many there are. `not_before_ms`: when it may be tried again. `is_planned`:
    whether `demand` is known; before that it does not start. `raised`: how often `demand` was; it
    may be more than a machine has then, and the job gets all there is.
    """

    id: str
    number: int
    tenant: str
    job_class: JobClass
    priority: int
    demand: Demand
    state: JobState
    reason: str
    message: str
    epoch: int
    worker: str | None
    crashes: int
    failures: int
    losses: int
    segments: int
    events: int
    is_cancel_requested: bool
    not_before_ms: int
    expires_ms: int | None
    submitted_ms: int
    finished_ms: int | None
    is_planned: bool = True
    raised: int = 0


@dataclass(frozen=True, slots=True)
class Submission:
    """What submitting gave: the job, and whether it is new or that of an earlier request."""

    job: JobRecord
    is_new: bool


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one worker to report on one job, until the next lease of it."""

    job_id: str
    epoch: int
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A finished piece of a job's result, durable on disk before it is reported.

    `number`: from 0, without gaps. `name`: of its file in the run's folder. `device_s`: measured
    seconds on the device since the last report.
    """

    number: int
    frames: int
    size_bytes: int
    sha256: str
    name: str
    device_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One lease of a job and how it ended; `crash` is the worker's crash report, {} if none."""

    epoch: int
    worker: str
    device: str
    started_ms: int
    ended_ms: int | None
    end: AttemptEnd | None
    crash: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Something that happened to a job; `number` is from 1, without gaps."""

    number: int
    time_ms: int
    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Account:
    """What a tenant has had in a class: measured device seconds over its weight.

    Raised to that of the others while it has no jobs there. `served_ms`: its latest start.
    """

    tenant: str
    job_class: JobClass
    weight: float = 1.0
    virtual_s: float = 0.0
    served_ms: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """A lease as its worker holds it: seconds since its start and since its latest charge."""

    lease: Lease
    device: str
    elapsed_s: float
    uncharged_s: float
    reserved: Demand = Demand()
