"""What a service needs of others: workers that run its jobs, and a planner that predicts them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from filmgate.jobs.queue.values import AttemptEnd, Demand, Lease, Segment
from filmgate.jobs.scheduler.capacity import Machine
from filmgate.jobs.scheduler.dispatcher import Executor
from filmgate.service.schema import JobDefinition
from filmgate.service.telemetry.traces import Span
from filmgate.service.views import JobPlan, JobProgress, WorkerView


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a worker made of a job, in the folder of the job."""

    name: str
    size_bytes: int
    sha256: str
    frames: int
    seconds: float
    concealed: int = 0
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class Preview:
    """JPEGs of one frame of the source and of the result that it became, as they are now."""

    before: bytes
    after: bytes
    combined: bytes


class Reports(Protocol):
    """What workers report to the service. Raises LeaseLost where the lease has ended."""

    def connected(self, worker: str, device: str) -> None:
        """A worker is ready for jobs."""
        ...

    def disconnected(
        self,
        worker: str,
        end: AttemptEnd = AttemptEnd.LOST,
        crash: Mapping[str, Any] | None = None,
        device_s: float = 0.0,
    ) -> None:
        """A worker has ended, and with it its lease."""
        ...

    def progressed(
        self, lease: Lease, step: int, progress: JobProgress, peak: Demand | None = None
    ) -> None:
        """A step of the job is done; `step` is larger than before. `peak`: the memory it took."""
        ...

    def resumed(self, lease: Lease, segments: tuple[Segment, ...]) -> None:
        """The job continues after these segments, which are all that its folder holds."""
        ...

    def segment_done(self, lease: Lease, segment: Segment) -> None:
        """The next segment is durable."""
        ...

    def noticed(self, lease: Lease, kind: str, data: Mapping[str, Any]) -> None:
        """Something happened that becomes an event of the job, such as a warning."""
        ...

    def timed(self, lease: Lease, span: Span) -> None:
        """A part of the attempt took this time; only of jobs that are traced."""
        ...

    def previewed(self, lease: Lease, preview: Preview) -> None:
        """There is a newer frame to show."""
        ...

    def finished(self, lease: Lease, segments: int | None, result: Result, device_s: float) -> None:
        """The result is complete and durable. `segments` None: those that were reported."""
        ...

    def measured(self, lease: Lease, peak_bytes: int) -> None:
        """A finished job took so many bytes of RAM at most, its program included."""
        ...

    def failed(
        self, lease: Lease, reason: str, message: str, may_retry: bool, device_s: float
    ) -> None:
        """The job raised an error; `reason` is one word."""
        ...

    def gave_back(self, lease: Lease, device_s: float) -> None:
        """The job was given back at a segment boundary, as the worker was asked to."""
        ...

    def cancelled(self, lease: Lease, device_s: float) -> None:
        """The job has stopped, as the worker was asked to."""
        ...


class WorkerPool(Executor, Protocol):
    """Workers that run jobs. All methods but `wake` are called by one thread of the service."""

    def open(self, reports: Reports) -> None:
        """Start the workers; they report later, from `handle` alone."""
        ...

    def handle(self, timeout_s: float) -> None:
        """Report what happened since the last call; wait at most so long for something."""
        ...

    def wake(self) -> None:
        """Let `handle` return soon. Any thread may call it."""
        ...

    def close(self, grace_s: float) -> None:
        """End the workers; running jobs stop at the end of their segment, or when it is over."""
        ...

    def describe_machine(self) -> Machine:
        """Return the devices, and what is resident between jobs."""
        ...

    def list_workers(self) -> tuple[WorkerView, ...]:
        """Return the workers as they are now."""
        ...


class Planner(Protocol):
    """Predicts what jobs take. Any thread may call it."""

    def find_known(self, definition: JobDefinition, machine: Machine) -> JobPlan | None:
        """Return what was predicted before, at once; None if nothing was. Raises DoesNotFit."""
        ...

    def plan(self, definition: JobDefinition, machine: Machine) -> JobPlan:
        """Return what the job takes on this machine. Raises UserError, NotPlanned."""
        ...

    def close(self) -> None:
        """End the process that predicts, if there is one; a prediction ends as NotPlanned."""
        ...


def name_reason(error: BaseException) -> str:
    """Return the word that an error is as the reason of a failed job: bad_input of BadInput."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceMetrics:
    """Figures of a service since its start, for a metrics endpoint. Keys of few values only.

    `jobs`: by state, of those that have not ended. `finished`: by (state, reason).
    `ended_workers`: by how they ended. `wait_s`, `run_s`: of each job that started or ended since
    the last call, to be observed once. `prediction_errors`: measured over predicted peak, so too.
    """

    jobs: Mapping[str, int]
    finished: Mapping[tuple[str, str], int]
    submitted: int
    refused: Mapping[str, int]
    segments: int
    segments_redone: int
    frames: int
    ended_workers: Mapping[str, int]
    device_s: float
    workers: tuple[WorkerView, ...]
    budget_bytes: Mapping[str, int]
    reserved_bytes: Mapping[str, int]
    tick_s: tuple[float, ...] = ()
    wait_s: tuple[float, ...] = ()
    run_s: tuple[float, ...] = ()
    prediction_errors: tuple[float, ...] = field(default=())
