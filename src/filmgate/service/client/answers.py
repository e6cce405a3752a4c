"""What a service tells its clients, as values; every answer is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

from filmgate import errors
from filmgate.errors import Exit, FilmgateError, NotConnected
from filmgate.jobs.queue.values import JobState
from filmgate.service.client.connection import strip_controls
from filmgate.tasks.settings import make_adapter

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemotePlan:
    """What a job is predicted to take; None where the number of frames is unknown."""

    host_bytes: int
    device_bytes: int
    seconds: float | None
    frames: int | None
    result_frames: int | None
    result_bytes: int | None
    width: int
    height: int
    rate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteProgress:
    """How far a job is: source frames that were read, of `frames`; `fps` is measured."""

    phase: str
    read: int
    written: int
    frames: int | None = None
    fps: float | None = None
    fraction: float | None = None
    eta_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteResult:
    """The file that a job made. `concealed`: damaged frames that were replaced."""

    size_bytes: int
    sha256: str
    media_type: str
    name: str
    concealed: int = 0
    is_complete: bool = True

    @property
    def file_name(self) -> str:
        """The suggested name, without a place."""
        name = PureWindowsPath(PurePosixPath(strip_controls(self.name)).name).name
        return name if name not in ("", ".", "..") else "result"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteAttempt:
    """One try at a job: how it ended, and the crash report of a worker that died."""

    number: int
    device: str
    end: str | None
    crash: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteJob:
    """A job as it was when the service answered. Times are ms since 1970 UTC.

    `reason` (one word) and `message` of a job that ended without a result. `events`: number of the
    latest event.
    """

    id: str
    state: JobState
    done: bool
    correlation_id: str
    definition: Mapping[str, Any]
    position: int | None
    start_s: float | None
    segments: int
    events: int
    submitted_ms: int
    attempts: tuple[RemoteAttempt, ...]
    is_planned: bool = True
    plan: RemotePlan | None = None
    progress: RemoteProgress | None = None
    result: RemoteResult | None = None
    reason: str = ""
    message: str = ""

    def check(self) -> RemoteResult:
        """Return the result of a job that is done. Raises JobFailed."""
        if self.result is not None:
            return self.result
        raise JobFailed(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteEvent:
    """Something that happened to a job. `number` is from 1 on; 0 of the kind `live`.

    An event of the kind `live` shows how far the job is; `data` has the fields of RemoteProgress.
    """

    number: int = 0
    time_ms: int = 0
    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteUpload:
    """A file that a service has, or a part of it. `state`: partial, complete or refused."""

    id: str
    name: str
    size_bytes: int
    offset: int
    state: str
    sha256: str | None = None
    problem: str | None = None


class JobFailed(FilmgateError):
    """A job ended without a result; `job` is that job, the exit code is that of its error."""

    def __init__(self, job: RemoteJob) -> None:
        super().__init__(_describe_end(job))
        self.job = job
        self.exit_code = _find_exit_code(job)


def parse(cls: type[T], value: object, server: str) -> T:
    """Return a part of an answer as a value of this class. Raises NotConnected."""
    from pydantic import ValidationError

    try:
        return make_adapter(cls).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise NotConnected(f"the answer of {server} is not that of a Filmgate service: {place}: "
                           f"{first['msg']}. Check the address") from error  # fmt: skip


def parse_job(document: Mapping[str, Any], server: str) -> RemoteJob:
    """Return the job of an operation. Raises NotConnected."""
    metadata, error = document.get("metadata"), document.get("error")
    form = dict(metadata) if isinstance(metadata, Mapping) else {}
    ended = error if isinstance(error, Mapping) else {}
    form |= {"done": document.get("done"), "result": document.get("response")}
    form |= {"reason": strip_controls(ended.get("reason", "")),
             "message": strip_controls(ended.get("detail", ""))}  # fmt: skip
    return parse(RemoteJob, form, server)


def _describe_end(job: RemoteJob) -> str:
    """Return what happened and what to do, with the latest crash."""
    crash = job.attempts[-1].crash if job.attempts else {}
    parts = [f"job {job.id} has no result, its state is {job.state}"]
    if job.state is JobState.FAILED:
        parts = [f"job {job.id} failed ({job.reason or 'no reason'}): {job.message}"]
    cause = strip_controls(crash.get("cause", ""))
    hint = strip_controls(crash.get("hint", ""))
    if cause and job.state is JobState.FAILED:
        parts.append(f"The last worker ended by {cause}{f', {hint}' if hint else ''}")
    advice = {
        JobState.CANCELLED: "Submit it again if that was not wanted",
        JobState.EXPIRED: "It did not start in time: submit it again, or let it wait longer",
    }.get(job.state, f"The service's log has more, under {job.correlation_id}")
    return ". ".join(part.rstrip(".") for part in [*parts, advice])


def _find_exit_code(job: RemoteJob) -> Exit:
    """Return the exit code of the error that a job's reason names: "bad_input" is BadInput."""
    if job.state is JobState.CANCELLED:
        return Exit.INTERRUPTED
    if job.state is JobState.EXPIRED:
        return Exit.BUSY
    cls = getattr(errors, job.reason.title().replace("_", ""), None)
    is_error = isinstance(cls, type) and issubclass(cls, FilmgateError)
    return Exit(cls.exit_code) if is_error and cls is not None else Exit.OURS
