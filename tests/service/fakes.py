"""Workers and a planner without processes, which do what a test says, at once."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from filmgate.errors import DoesNotFit, LeaseLost
from filmgate.jobs.queue.values import AttemptEnd, Lease, Segment
from filmgate.jobs.scheduler.capacity import Device, Machine
from filmgate.service import job_service
from filmgate.service.ballast import Ballast
from filmgate.service.contracts import Preview, Reports, Result
from filmgate.service.job_service import JobService
from filmgate.service.schema import JobDefinition
from filmgate.service.settings import ServiceSettings
from filmgate.service.views import JobPlan, JobProgress, WorkerView

GIB = 1 << 30
PLAN = JobPlan(
    host_bytes=GIB, device_bytes=0, seconds=2.0, frames=48, result_frames=48,
    result_bytes=10_000, size=(64, 48), rate=24.0,
)  # fmt: skip


class FixedPlanner:
    """Predicts the same for every job, or raises; with `is_known` False not at once."""

    def __init__(self, plan: JobPlan = PLAN, error: Exception | None = None) -> None:
        self.result, self.error, self.calls = plan, error, 0
        self.is_known = True

    def find_known(self, definition: JobDefinition, machine: Machine) -> JobPlan | None:
        is_error = self.error is not None and not isinstance(self.error, DoesNotFit)
        return self._answer() if self.is_known and not is_error else None

    def plan(self, definition: JobDefinition, machine: Machine) -> JobPlan:
        self.calls += 1
        return self._answer()

    def _answer(self) -> JobPlan:
        if self.error is not None:
            raise self.error
        return self.result

    def close(self) -> None:
        pass


@dataclass
class FakeRun:
    """A job that a worker has. A test calls `reports` with its `lease`."""

    lease: Lease
    request: Mapping[str, Any]
    reports: Reports
    orders: set[str] = field(default_factory=set)

    @property
    def result(self) -> Path:
        """Where its result is to be."""
        suffix = self.request["definition"]["output"]["suffix"]
        return Path(self.request["folder"]) / f"result{suffix}"

    def progress(self, read: int, frames: int | None = 48) -> None:
        """Report so many source frames as done."""
        progress = JobProgress(phase="running", read=read, written=read, frames=frames, fps=24.0)
        self.reports.progressed(self.lease, read, progress)

    def segment(self, number: int, frames: int = 24) -> None:
        """Report a segment."""
        sha256 = hashlib.sha256(str(number).encode()).hexdigest()
        name = f"{number + 1:06}.nut"
        self.reports.segment_done(self.lease, Segment(
            number=number, frames=frames, size_bytes=100, sha256=sha256, name=name, device_s=1.0,
        ))  # fmt: skip

    def preview(self, data: bytes = b"jpeg") -> None:
        """Report a preview."""
        self.reports.previewed(self.lease, Preview(data, data, data))

    def finish(self, data: bytes = b"a result", segments: int | None = None) -> None:
        """Write the result and report it."""
        self.result.write_bytes(data)
        result = Result(
            name=self.result.name, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(),
            frames=48, seconds=1.0,
        )  # fmt: skip
        self.reports.finished(self.lease, segments, result, 1.0)

    def fail(
        self, reason: str = "internal", message: str = "it failed", retry: bool = False
    ) -> None:
        """Report an error."""
        self.reports.failed(self.lease, reason, message, retry, 0.5)

    def die(self, end: AttemptEnd = AttemptEnd.DIED, cause: str = "SIGKILL") -> None:
        """Let the worker die; the pool connects another one."""
        crash = {"cause": cause, "hint": "a user or another program killed it", "read": 21,
                 "lines": ["the last line"], "stack": ""}  # fmt: skip
        self.reports.disconnected(self.lease.worker, end, crash, 0.5)
        self.reports.connected(f"{self.lease.worker}x", "cpu")


class FakeWorkers:
    """One worker, whose jobs do what `act` does with each of them (default: finish at once).

    With `act` None jobs wait in `runs` until a test reports for them.
    """

    def __init__(self, act: Callable[[FakeRun], None] | None = FakeRun.finish) -> None:
        self._act, self.runs = act, list[FakeRun]()
        self._new: list[FakeRun] = []
        self._changed = threading.Event()
        self._reports: Reports | None = None
        self.machine = Machine((Device("cpu", 0),), 16 * GIB)

    def open(self, reports: Reports) -> None:
        self._reports = reports
        reports.connected("w1", "cpu")
        self.wake()

    def handle(self, timeout_s: float) -> None:
        self._changed.wait(timeout_s)
        self._changed.clear()
        while self._new:
            run = self._new.pop(0)
            if self._act is not None:
                self._act(run)

    def wake(self) -> None:
        self._changed.set()

    def close(self, grace_s: float) -> None:
        assert self._reports is not None
        self._reports.disconnected("w1", AttemptEnd.STOPPED)

    def describe_machine(self) -> Machine:
        return self.machine

    def list_workers(self) -> tuple[WorkerView, ...]:
        state = "idle" if self._reports else "starting"
        return (WorkerView("w1", "cpu", state, None, None, 0, 0),)

    def start(self, lease: Lease, request: Mapping[str, Any]) -> None:
        assert self._reports is not None
        run = FakeRun(lease, request, self._reports)
        self.runs.append(run)
        self._new.append(run)
        self.wake()

    def wait_for_run(self, count: int = 1) -> FakeRun:
        """Return run number `count`, from 1, when there is one."""
        end_s = time.monotonic() + 20
        while len(self.runs) < count and time.monotonic() < end_s:
            time.sleep(0.01)
        return self.runs[count - 1]

    def ask_to_yield(self, lease: Lease) -> None:
        self._find(lease).orders.add("yield")

    def ask_to_cancel(self, lease: Lease) -> None:
        run = self._find(lease)
        run.orders.add("cancel")
        run.reports.cancelled(lease, 0.1)

    def kill(self, lease: Lease) -> None:
        self._find(lease).die(AttemptEnd.STALLED, "it was silent for 1.0 s, so it was killed")

    def _find(self, lease: Lease) -> FakeRun:
        for run in self.runs:
            if run.lease == lease:
                return run
        raise LeaseLost(f"no run has {lease}")


def make_service(
    folder: Path, workers: FakeWorkers | None = None, planner: FixedPlanner | None = None,
    **settings: Any,
) -> JobService:  # fmt: skip
    """Return a service without processes; the caller starts and stops it."""
    with small_ballast():
        return JobService(
            ServiceSettings(folder=folder, **settings),
            workers=workers or FakeWorkers(), planner=planner or FixedPlanner(),
        )  # fmt: skip


def small_ballast() -> AbstractContextManager[object]:
    """Let services that are made meanwhile keep 64 kB in place of 64 MB, which take 30 ms."""
    return patch.object(job_service, "Ballast", partial(Ballast, size_bytes=1 << 16))
