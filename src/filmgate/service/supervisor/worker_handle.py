"""A worker process as the server sees it: what it does, what it said, how it ended."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from filmgate.backends.child_text import ChildText
from filmgate.backends.spawn import ChildProcess, Workers
from filmgate.jobs.queue.values import Demand, Lease
from filmgate.service.supervisor.host_memory import Holding
from filmgate.service.views import JobProgress, WorkerView
from filmgate.service.worker.main import work
from filmgate.service.worker.messages import (
    CancelJob,
    DropNetworks,
    End,
    GiveBack,
    Idle,
    JobMessage,
    RunJob,
    WorkerSetup,
)

_MAX_LINE, _MAX_STACK = 400, 16_000  # characters in a crash report
_READ_S = 2.0  # for the rest of the messages of a process that has ended


@dataclass(eq=False)
class WorkerHandle:
    """One worker process. `unreported`: messages that the queue has not taken yet, in order."""

    name: str
    device: str
    child: ChildProcess
    text: ChildText
    has_own_memory: bool = False  # its device, where networks are then
    lease: Lease | None = None
    is_ready: bool = False
    is_ending: bool = False
    reader: threading.Thread | None = None  # of its messages
    has_ended: bool = False  # and all its messages were read
    has_stalled: bool = False
    has_trouble: bool = False  # the queue could not write what it reported
    is_asked_to_yield: bool = False
    recycle_reason: str = ""
    kill_reason: str = ""
    kill_at_s: float | None = None
    started_s: float = field(default_factory=monotonic)
    lease_s: float = 0.0  # when it was charged last
    progress: JobProgress | None = None
    segments: int = 0
    jobs_done: int = 0
    idle_bytes: list[int] = field(default_factory=list)
    idle: Idle | None = None
    network_bytes: int = 0  # of RAM, that it holds besides its job and can drop without one
    reserved_bytes: int = 0  # of RAM, for its job
    unreported: deque[JobMessage] = field(default_factory=deque)

    @classmethod
    def spawn(cls, name: str, setup: WorkerSetup) -> WorkerHandle:
        """Start a worker. Raises OSError."""
        child = Workers().take()
        text = ChildText(child, lambda text: None)
        worker = cls(name, setup.device, child, text, setup.device_bytes > 0)
        worker.send((work, setup))
        return worker

    def send(self, order: object) -> None:
        """Send something to it; if it is dead, its end is noticed elsewhere."""
        with suppress(OSError):
            self.child.control.send(order)

    def run(self, job: RunJob) -> None:
        """Give it a job."""
        self.lease, self.progress, self.segments = job.lease, None, 0
        self.lease_s, self.kill_at_s, self.kill_reason = monotonic(), None, ""
        self.reserved_bytes = job.demand.host_bytes
        self.send(job)

    def ask_to_yield(self) -> None:
        """Ask it to give its job back at the next commit."""
        if self.lease:
            self.send(GiveBack(self.lease))

    def ask_to_cancel(self, grace_s: float) -> None:
        """Ask it to stop its job; it is killed if it has not after `grace_s`."""
        if self.lease:
            self.send(CancelJob(self.lease))
            self.kill_at_s = monotonic() + grace_s
            self.kill_reason = f"its job was cancelled, and it did not stop in {grace_s:g} s"

    def end(self) -> None:
        """Let it end when it has no job."""
        if not self.is_ending:
            self.is_ending = True
            self.send(End())

    def kill(self, reason: str, *, stack: bool = False) -> None:
        """Kill it, with the stacks of its threads before if they are wanted."""
        self.kill_reason = self.kill_reason or reason
        if stack:
            self.text.request_stack()
        self.child.process.kill()

    def close(self) -> None:
        """Kill it if it still runs, and close its pipes."""
        if self.child.process.is_alive():
            self.child.process.kill()
        self.child.process.join()
        if self.reader is not None:
            self.reader.join(_READ_S)
        self.child.close()

    def take_device_s(self) -> float:
        """Return the seconds since its job was charged last."""
        return max(0.0, monotonic() - self.lease_s) if self.lease else 0.0

    @property
    def pinned(self) -> Demand:
        """Memory of the networks that it never drops."""
        size = sum(self.idle.pins.values()) if self.idle else 0
        return Demand(size, 0) if self.has_own_memory else Demand(0, size)

    @property
    def holding(self) -> Holding:
        """What it holds of the RAM; it is ready."""
        assert self.idle is not None, "it is ready"
        reserved = self.reserved_bytes if self.lease else None
        return Holding(
            self.idle.resident_bytes, self.network_bytes, reserved, self.pinned.host_bytes
        )

    def drop_networks(self, size_bytes: int) -> None:
        """Let it drop networks of so many bytes, before its next order."""
        self.network_bytes = max(0, self.network_bytes - size_bytes)
        self.send(DropNetworks(size_bytes))

    def find_own(self, peak: Demand) -> Demand:
        """Return what its job takes of the worker's memory: without pins and other networks.

        Too little RAM if it uses networks that are left of earlier jobs. On the device the worker
        has left them out.
        """
        pinned = self.pinned
        return Demand(
            max(0, peak.device_bytes - pinned.device_bytes),
            max(0, peak.host_bytes - pinned.host_bytes - self.network_bytes),
        )

    def describe_crash(self) -> dict[str, Any]:
        """Return its crash report as JSON; the process has ended."""
        cause, hint = self.text.explain_end()
        if self.kill_reason:
            cause, hint = self.kill_reason, ""
        return {
            "cause": cause,
            "hint": hint,
            "read": self.progress.read if self.progress else 0,
            "phase": self.progress.phase if self.progress else "loading",
            "segment": self.segments,
            "lines": [line[:_MAX_LINE] for line in self.text.lines],
            "stack": self.text.stack[-_MAX_STACK:],
            "pid": self.child.process.pid,
        }

    def take_idle(self, idle: Idle) -> None:
        """Take note of what it holds without a job."""
        self.idle, self.network_bytes = idle, idle.network_bytes
        if idle.is_after_job:
            self.idle_bytes.append(idle.resident_bytes - idle.network_bytes)

    def view(self) -> WorkerView:
        """Return it as clients see it."""
        state = "starting"
        if self.is_ending:
            state = "ending"
        elif self.is_ready:
            state = "busy" if self.lease else "idle"
        return WorkerView(
            self.name, self.device, state, self.child.process.pid,
            self.lease.job_id if self.lease else None,
            self.idle.resident_bytes if self.idle else 0, self.jobs_done,
        )  # fmt: skip
