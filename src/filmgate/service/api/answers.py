"""The documents that the API answers with: their types, for OpenAPI, and how they are made."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from filmgate.jobs.queue.values import FINAL_STATES, Attempt, JobEvent, JobState
from filmgate.service.api.inputs import InputFiles
from filmgate.service.api.problems import TYPES, Problem, describe_problem
from filmgate.service.uploads.store import Upload
from filmgate.service.views import JobPlan, JobProgress, JobView, StartsNow, Submitted


class ProblemAnswer(BaseModel, extra="allow"):
    """An error, as RFC 9457 has it. `type`: one of the addresses below /v1/problems/."""

    type: str
    title: str
    status: int
    detail: str
    retryable: bool = Field(description="The same request can succeed later.")
    correlation_id: str
    pointer: str | None = Field(None, description="JSON pointer of the field that is wrong.")
    needed_bytes: int | None = None


class PlanAnswer(BaseModel):
    """What a job is predicted to take; null where the number of frames is unknown."""

    host_bytes: int
    device_bytes: int
    seconds: float | None
    frames: int | None
    result_frames: int | None
    result_bytes: int | None
    width: int
    height: int
    rate: float | None


class ProgressAnswer(BaseModel):
    """How far a job is. `fps`: source frames a second, measured."""

    phase: str
    read: int
    written: int
    frames: int | None
    fps: float | None
    fraction: float | None
    eta_s: float | None


class AttemptAnswer(BaseModel):
    """One try at a job. `crash`: the report of a worker that died, {} without one."""

    number: int
    worker: str
    device: str
    started_ms: int
    ended_ms: int | None
    end: str | None
    crash: dict[str, Any]


class JobMetadata(BaseModel):
    """A job as it is now; times in ms since 1970 UTC."""

    id: str
    state: JobState
    job_class: str = Field(alias="class")
    priority: int
    correlation_id: str
    definition: dict[str, Any]
    is_planned: bool = Field(description="Whether it is predicted what it takes; only then it can "
                             "start.")  # fmt: skip
    plan: PlanAnswer | None = Field(description="Null before, and if it cannot be predicted.")
    progress: ProgressAnswer | None
    position: int | None = Field(description="Place in the queue; 1 is next.")
    start_s: float | None = Field(description="Predicted seconds until it starts, null if unknown.")
    segments: int
    attempts: list[AttemptAnswer]
    is_cancel_requested: bool
    events: int = Field(description="Number of the latest event.")
    submitted_ms: int
    started_ms: int | None
    finished_ms: int | None
    expires_ms: int | None
    warnings: list[str]


class ResultAnswer(BaseModel, extra="allow"):
    """Where the result of a job is, and what it is."""

    result: str
    size_bytes: int
    sha256: str
    media_type: str
    name: str


class JobAnswer(BaseModel):
    """A job as a long-running operation: when it is done, it has an `error` or a `response`."""

    name: str
    done: bool
    metadata: JobMetadata
    error: ProblemAnswer | None = None
    response: ResultAnswer | None = None


class JobListAnswer(BaseModel):
    """A page of jobs; `next` is what `after` takes, null at the end."""

    jobs: list[JobAnswer]
    next: str | None


class UploadAnswer(BaseModel):
    """An upload. `kind`: video, image, audio or records, known with the rest when it is checked."""

    id: str
    name: str
    size_bytes: int
    offset: int
    state: str = Field(description="partial, complete or refused")
    kind: str | None
    sha256: str | None
    info: dict[str, Any]
    problem: str | None


class UploadListAnswer(BaseModel):
    """The uploads of the caller, the latest first."""

    uploads: list[UploadAnswer]


class LinkAnswer(BaseModel):
    """Addresses that work without a key for ten minutes."""

    result: str
    preview: str


def describe_plan(plan: JobPlan) -> dict[str, Any]:
    """Return a prediction."""
    width, height = plan.size
    names = ("host_bytes", "device_bytes", "seconds", "frames", "result_frames", "result_bytes")
    return {
        **{name: getattr(plan, name) for name in names},
        "width": width,
        "height": height,
        "rate": plan.rate,
    }


def describe_progress(progress: JobProgress) -> dict[str, Any]:
    """Return how far a job is."""
    names = ("phase", "read", "written", "frames", "fps", "fraction", "eta_s")
    return {name: getattr(progress, name) for name in names}


def describe_job(job: JobView, inputs: InputFiles) -> dict[str, Any]:
    """Return a job as an operation."""
    is_done = job.state in FINAL_STATES
    answer: dict[str, Any] = {
        "name": f"jobs/{job.id}",
        "done": is_done,
        "metadata": {
            "id": job.id,
            "state": job.state,
            "class": job.job_class,
            "priority": job.priority,
            "correlation_id": job.correlation_id,
            "definition": inputs.describe_definition(job.definition),
            "is_planned": job.is_planned,
            "plan": describe_plan(job.plan) if job.plan else None,
            "progress": describe_progress(job.progress) if job.progress else None,
            "position": job.position,
            "start_s": job.start_s,
            "segments": job.segments,
            "attempts": [_describe_attempt(one, inputs) for one in job.attempts],
            "is_cancel_requested": job.is_cancel_requested,
            "events": job.events,
            "submitted_ms": job.submitted_ms,
            "started_ms": job.started_ms,
            "finished_ms": job.finished_ms,
            "expires_ms": job.expires_ms,
            "warnings": inputs.hide_places(job.warnings),
        },
    }
    if job.state is JobState.DONE:
        answer["response"] = {
            **job.result,
            "result": f"/v1/jobs/{job.id}/result",
            "name": inputs.name_result(job, str(job.result["name"])),
        }
    elif is_done:
        answer["error"] = _describe_end(job, inputs)
    return answer


def describe_submitted(submitted: Submitted, inputs: InputFiles) -> dict[str, Any]:
    """Return a job just submitted, with when it starts."""
    answer = describe_job(submitted.job, inputs)
    if isinstance(submitted.answer, StartsNow):
        answer["metadata"] |= {"position": 0, "start_s": 0.0}
    elif submitted.answer is not None:
        answer["metadata"] |= {
            "position": submitted.answer.position,
            "start_s": submitted.answer.start_s,
        }
    return answer


def describe_event(event: JobEvent, inputs: InputFiles) -> dict[str, Any]:
    """Return an event of a job."""
    return {
        "number": event.number,
        "time_ms": event.time_ms,
        "kind": event.kind,
        "data": inputs.hide_places(event.data),
    }


def describe_upload(upload: Upload, offset: int) -> dict[str, Any]:
    """Return an upload."""
    state = "refused" if upload.problem else "complete" if upload.file else "partial"
    return {
        "id": upload.id,
        "name": upload.name,
        "size_bytes": upload.size_bytes,
        "offset": offset,
        "state": state,
        "kind": upload.file.kind if upload.file else None,
        "sha256": upload.file.sha256 if upload.file else None,
        "info": dict(upload.file.info) if upload.file else {},
        "problem": upload.problem or None,
    }


def _describe_attempt(attempt: Attempt, inputs: InputFiles) -> dict[str, Any]:
    return {
        "number": attempt.epoch,
        "worker": attempt.worker,
        "device": attempt.device,
        "started_ms": attempt.started_ms,
        "ended_ms": attempt.ended_ms,
        "end": attempt.end,
        "crash": inputs.hide_places(attempt.crash),
    }


def _describe_end(job: JobView, inputs: InputFiles) -> dict[str, Any]:
    """Return why a job has no result."""
    kind = f"job-{job.state}"
    detail = inputs.hide_places(job.message) or TYPES[kind].title
    problem = Problem(kind, detail, more={"reason": job.reason})
    return describe_problem(problem, job.correlation_id)
