"""What a service tells about jobs, plans and itself, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from filmgate.jobs.queue.values import Attempt, Demand, JobClass, JobState

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """What a job is predicted to take, before it runs.

    `host_bytes`, `device_bytes`: peak in RAM and on the device. `frames`, `seconds`,
    `result_bytes`: of the entire video; None if its number of frames is unknown. `size`: of a
    result frame. `settings`: the plan that keeps to this, as JSON, which the run then uses.
    """

    host_bytes: int
    device_bytes: int
    seconds: float | None
    frames: int | None
    result_frames: int | None
    result_bytes: int | None
    size: tuple[int, int]
    rate: float | None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def demand(self) -> Demand:
        """What the scheduler reserves for it."""
        return Demand(self.device_bytes, self.host_bytes, self.seconds or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """How far a running job is, as its worker reported last.

    `read`: source frames that went through; `frames`: how many the source has, if known. `fps`:
    source frames per second since this attempt began. `phase`: loading, running, finishing.
    """

    phase: str
    read: int = 0
    written: int = 0
    frames: int | None = None
    fps: float | None = None

    @property
    def fraction(self) -> float | None:
        """From 0 to 1; None if the number of frames is unknown."""
        return min(1.0, self.read / self.frames) if self.frames else None

    @property
    def eta_s(self) -> float | None:
        """Seconds until all frames went through at this speed; None if that is unknown."""
        if not self.frames or not self.fps:
            return None
        return max(0.0, (self.frames - self.read) / self.fps)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job as clients see it; times are ms since 1970 UTC by the queue's clock.

    `definition`: the JSON of its JobDefinition. `is_planned`: it was predicted what it takes, so it
    may start. `plan`: None before, and if it cannot be predicted. `position` (1: next) and
    `start_s` (seconds from now, predicted) while it waits. `segments`: finished pieces. `attempts`:
    with crash reports, {} if none. `reason` (one word), `message`: of a failed job. `events`: how
    many. `result`: size_bytes, sha256, media_type, name, frames, seconds; {} before.
    """

    id: str
    number: int
    tenant: str
    state: JobState
    job_class: JobClass
    priority: int
    correlation_id: str
    definition: Mapping[str, Any]
    is_planned: bool
    plan: JobPlan | None
    progress: JobProgress | None
    position: int | None
    start_s: float | None
    segments: int
    attempts: tuple[Attempt, ...]
    reason: str
    message: str
    is_cancel_requested: bool
    events: int
    submitted_ms: int
    started_ms: int | None
    finished_ms: int | None
    expires_ms: int | None
    result: Mapping[str, Any]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StartsNow:
    """The job starts at once, on this device."""

    device: str


@dataclass(frozen=True, slots=True)
class StartsLater:
    """The job waits. `position`: 1 is next.

    `start_s`: predicted, None if no worker is there or the job itself is not predicted yet.
    """

    position: int
    start_s: float | None


@dataclass(frozen=True, slots=True)
class Submitted:
    """What submitting gave. `is_new`: False if an earlier request with this key made the job."""

    job: JobView
    is_new: bool
    answer: StartsNow | StartsLater | None  # None if the job has ended already


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list; `next`: what to pass as `after` for the following one, None at the end."""

    items: tuple[T, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A file to download. `sha256`: "" for a partial result. `name`: suggested to the client."""

    path: Path
    size_bytes: int
    sha256: str
    media_type: str
    name: str
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker process. `state`: starting, idle, busy, ending, failed. `message`: why it failed."""

    name: str
    device: str
    state: str
    pid: int | None
    job_id: str | None
    idle_bytes: int
    jobs_done: int
    message: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the service takes and runs jobs, and if not, why."""

    is_ready: bool
    reasons: tuple[str, ...]
    workers: tuple[WorkerView, ...] = ()
