"""Queues of tests: a clock that is set by hand, and jobs and segments of a few values."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filmgate.jobs.queue.job_queue import JobQueue
from filmgate.jobs.queue.values import JobRequest, Lease, Segment
from tests.jobs.queue.disk import VFS, get_disk


class ManualClock:
    """Clocks that only move when a test moves them."""

    def __init__(self) -> None:
        self.wall, self.monotonic = 1.8e9, 500.0

    def wall_s(self) -> float:
        return self.wall

    def monotonic_s(self) -> float:
        return self.monotonic

    def wait(self, seconds: float) -> None:
        """Let time pass on both."""
        self.wall += seconds
        self.monotonic += seconds


def name_jobs() -> Iterator[str]:
    """Yield job-1, job-2 ..."""
    return (f"job-{number}" for number in itertools.count(1))


def open_queue(folder: Path, clock: ManualClock | None = None, **options: Any) -> JobQueue:
    """Open the queue in a folder, without syncing where that can be left out, to be quick."""
    options.setdefault("vfs", VFS if get_disk() else "")
    options.setdefault("uniform", lambda low, high: high)
    return JobQueue(folder / "queue.db", clock=clock or ManualClock(), **options)


def make_job(tenant: str = "ann", **options: Any) -> JobRequest:
    """Return a request; `x` is a value of its definition."""
    return JobRequest(tenant=tenant, job={"x": options.pop("x", 1)}, **options)


def make_segment(number: int, device_s: float = 1.0, digit: str = "0") -> Segment:
    """Return a segment; `digit` makes its SHA-256."""
    return Segment(
        number=number, frames=24, size_bytes=1000, sha256=digit * 64, name=f"{number}.nut",
        device_s=device_s,
    )  # fmt: skip


def start_job(queue: JobQueue, worker: str = "w", **options: Any) -> Lease:
    """Submit a job and give it to a worker that is connected for it."""
    job = queue.submit(make_job(**options)).job
    queue.leases.connect(worker, "gpu")
    return queue.leases.claim(job.id, worker)


def list_kinds(queue: JobQueue, job_id: str) -> list[str]:
    """Return the kinds of a job's events."""
    return [event.kind for event in queue.read_events(job_id)]
