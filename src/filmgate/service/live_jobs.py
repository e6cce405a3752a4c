"""What is known about running jobs besides the queue: progress, previews, figures."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from filmgate.jobs.queue.values import MemoryUse
from filmgate.service.contracts import Preview
from filmgate.service.views import JobProgress

_KEPT_JOBS = 256  # of which progress and preview stay in memory
_KEPT_SAMPLES = 10_000  # of each figure until it is read


@dataclass
class LiveJob:
    """What a worker reported last about a job."""

    correlation_id: str = ""
    progress: JobProgress | None = None
    preview: Preview | None = None
    memory: MemoryUse = MemoryUse()  # of its latest attempt
    shown_s: float = float("-inf")  # when progress became an event last
    shown_read: int = 0
    read: int = 0  # source frames that are counted already
    redone: set[int] = field(default_factory=set)

    def describe_memory(self) -> dict[str, int]:
        """Return the memory of its latest attempt, for the log; 0: not measured, or none."""
        reserved, peak = self.memory.reserved, self.memory.peak
        return {
            "reserved_host_bytes": reserved.host_bytes, "peak_host_bytes": peak.host_bytes,
            "reserved_device_bytes": reserved.device_bytes, "peak_device_bytes": peak.device_bytes,
        }  # fmt: skip


class LiveJobs:
    """The latest jobs that workers reported on, by id; safe to use from any thread."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, LiveJob] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, job_id: str) -> LiveJob:
        """Return what is known about a job, which may be nothing."""
        with self._lock:
            job = self._jobs.setdefault(job_id, LiveJob())
            self._jobs.move_to_end(job_id)
            while len(self._jobs) > _KEPT_JOBS:
                self._jobs.popitem(last=False)
            return job

    def peek(self, job_id: str) -> LiveJob:
        """Return the same without keeping it."""
        with self._lock:
            return self._jobs.get(job_id) or LiveJob()


def _make_samples() -> deque[float]:
    return deque(maxlen=_KEPT_SAMPLES)


@dataclass
class Tally:
    """Figures of a service since its start."""

    submitted: int = 0
    segments: int = 0
    segments_redone: int = 0
    frames: int = 0
    device_s: float = 0.0
    finished: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    ended_workers: Counter[str] = field(default_factory=Counter)
    tick_s: deque[float] = field(default_factory=_make_samples)
    wait_s: deque[float] = field(default_factory=_make_samples)
    run_s: deque[float] = field(default_factory=_make_samples)
    prediction_errors: deque[float] = field(default_factory=_make_samples)

    def drain(self) -> Mapping[str, tuple[float, ...]]:
        """Return the samples since the last call, by name."""
        samples = {}
        for name in ("tick_s", "wait_s", "run_s", "prediction_errors"):
            values: deque[float] = getattr(self, name)
            samples[name] = tuple(values.popleft() for _ in range(len(values)))
        return samples
