"""What a server and its worker processes tell each other. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filmgate.jobs.queue.values import Demand, Lease, Segment
from filmgate.service.contracts import Preview, Result
from filmgate.service.telemetry.traces import Span
from filmgate.service.views import JobProgress

# To a worker.


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSetup:
    """How a worker works. `visible_gpus`: what CUDA shows it, None: all."""

    device: str
    visible_gpus: str | None
    pins: tuple[str, ...]
    device_bytes: int  # for networks and jobs on the device; 0: it has no memory of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class RunJob:
    """Run a job in its folder. `plan`: settings of the plan, for a run that has not started.

    `is_reduced`: with the smallest settings, as it took all of the memory before.
    """

    lease: Lease
    definition: Mapping[str, Any]
    folder: Path
    plan: Mapping[str, Any] | None
    demand: Demand
    keep_samples: bool
    is_traced: bool = False
    is_reduced: bool = False


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Give the job back at its next commit."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class CancelJob:
    """Stop the job at its next step, and remove what it has done."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class DropNetworks:
    """Drop networks that are not pinned, the longest unused first: so many bytes of RAM."""

    size_bytes: int


@dataclass(frozen=True, slots=True)
class End:
    """End the process; it has no job."""


# From a worker.


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """The worker has no job. Memory that it holds now, and the bytes of its pins, by name.

    `network_bytes`: of RAM, of networks that it can drop. `warnings`: what could not be done at
    its start, such as loading a pin. `is_after_job`: it has started, or ended a job.
    """

    resident_bytes: int
    device_bytes: int
    pins: Mapping[str, int]
    network_bytes: int = 0
    warnings: tuple[str, ...] = ()
    is_after_job: bool = True


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the job is done. `peak`: the most memory that the worker had so far in this run."""

    lease: Lease
    number: int
    progress: JobProgress
    peak: Demand


@dataclass(frozen=True, slots=True)
class Resumed:
    """The job has started, after these segments; their `frames` are those of the result so far."""

    lease: Lease
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class SegmentDone:
    """The next segment is durable."""

    lease: Lease
    segment: Segment


@dataclass(frozen=True, slots=True)
class Notice:
    """An event for those who watch the job."""

    lease: Lease
    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Timed:
    """A part of the job took this time; of a job that is traced."""

    lease: Lease
    span: Span


@dataclass(frozen=True, slots=True)
class NewPreview:
    """There is a newer frame to show."""

    lease: Lease
    preview: Preview


@dataclass(frozen=True, slots=True)
class Finished:
    """The result is complete. `segments` None: the run had ended before it was reported."""

    lease: Lease
    segments: int | None
    result: Result
    device_s: float
    peak: Demand


@dataclass(frozen=True, slots=True)
class Failed:
    """The job raised an error. `ends`: the worker ends after it, as its state is not trusted."""

    lease: Lease
    reason: str
    message: str
    may_retry: bool
    device_s: float
    ends: bool = False


@dataclass(frozen=True, slots=True)
class GaveBack:
    """The job was given back at a commit."""

    lease: Lease
    device_s: float


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The job has stopped."""

    lease: Lease
    device_s: float


JobMessage = (
    Step
    | Resumed
    | SegmentDone
    | Notice
    | Timed
    | NewPreview
    | Finished
    | Failed
    | GaveBack
    | Cancelled
)
JOB_MESSAGES = (
    Step, Resumed, SegmentDone, Notice, Timed, NewPreview, Finished, Failed, GaveBack, Cancelled
)  # fmt: skip
Message = JobMessage | Idle
