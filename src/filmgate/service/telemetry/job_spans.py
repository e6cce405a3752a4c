"""The spans of jobs: from the rows of the queue, which survive what the job survives."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from filmgate.errors import FilmgateError
from filmgate.jobs.queue.job_queue import JobQueue
from filmgate.jobs.queue.values import CRASHES, Attempt, AttemptEnd, JobRecord, JobState, Lease
from filmgate.service.telemetry.traces import Span, Traces, make_place

PLACE = "traceparent"  # in the context of a job: the place of the request that submitted it
_WRONG = (*CRASHES, AttemptEnd.FAILED, AttemptEnd.LOST)


class JobSpans:
    """Records where the time of jobs went: `job`, below it `queue` and `run` of each attempt.

    All three are recorded when the job has ended, and what workers measure below `run` when they
    report it. Nothing here harms a job.
    """

    def __init__(self, queue: JobQueue, traces: Traces) -> None:
        self._queue, self._traces = queue, traces

    def add(self, lease: Lease, span: Span) -> None:
        """Record what a worker measured in an attempt."""
        if place := self._find_place(lease.job_id):
            run = make_place(place, lease.job_id, lease.epoch)
            self._traces.record(run, _name_attempt(span, lease.epoch, lease.worker))

    def end(self, job_id: str) -> None:
        """Record a job that has ended."""
        if not (place := self._find_place(job_id)):
            return
        with suppress(FilmgateError):
            job, attempts = self._queue.get(job_id), self._queue.read_attempts(job_id)
            own = make_place(place, job_id)
            for span, epoch in list_spans(job, attempts):
                self._traces.record(own, span, make_place(place, job_id, epoch) if epoch else "")
            self._traces.record(place, _describe_job(job, len(attempts)), own)

    def _find_place(self, job_id: str) -> str:
        """Return where the job was submitted, "" if it is not traced."""
        if self._traces.is_on:
            with suppress(FilmgateError):
                return str(self._queue.read_context(job_id).get(PLACE, ""))
        return ""


def list_spans(job: JobRecord, attempts: Sequence[Attempt]) -> list[tuple[Span, int]]:
    """Return the waits and the attempts of a job that has ended, each with its epoch, 0 of a wait.

    A wait is from the submission, or the end of the attempt before, to the start of the next one.
    """
    spans: list[tuple[Span, int]] = []
    free_ms = job.submitted_ms
    for attempt in attempts:
        spans.append((_make_span("queue", free_ms, attempt.started_ms), 0))
        free_ms = _find_end(job, attempt)
        error = str(attempt.end) if attempt.end in _WRONG else ""
        more: dict[str, Any] = {"filmgate.device": attempt.device, "filmgate.end": str(attempt.end)}
        if cause := attempt.crash.get("cause"):
            more["filmgate.cause"] = str(cause)[:500]
        span = _make_span("run", attempt.started_ms, free_ms, error, **more)
        spans.append((_name_attempt(span, attempt.epoch, attempt.worker), attempt.epoch))
    if job.finished_ms is not None and (job.finished_ms > free_ms or not attempts):
        spans.append((_make_span("queue", free_ms, job.finished_ms), 0))  # it ended as it waited
    return spans


def _describe_job(job: JobRecord, attempts: int) -> Span:
    is_wrong = job.state in (JobState.FAILED, JobState.EXPIRED)
    error = (job.reason or str(job.state)) if is_wrong else ""
    end_ms = job.submitted_ms if job.finished_ms is None else job.finished_ms
    return _make_span(
        "job", job.submitted_ms, end_ms, error,
        **{"filmgate.job": job.id, "filmgate.state": str(job.state),
           "filmgate.class": str(job.job_class), "filmgate.attempts": attempts,
           "filmgate.segments": job.segments},
    )  # fmt: skip


def _find_end(job: JobRecord, attempt: Attempt) -> int:
    ends_ms = (attempt.ended_ms, job.finished_ms, attempt.started_ms)
    return next(end_ms for end_ms in ends_ms if end_ms is not None)


def _name_attempt(span: Span, epoch: int, worker: str) -> Span:
    """Return a span that says which attempt it belongs to."""
    own = {"filmgate.attempt": epoch, "filmgate.worker": worker, **span.attributes}
    return Span(name=span.name, start_ns=span.start_ns, end_ns=span.end_ns, attributes=own,
                error=span.error)  # fmt: skip


def _make_span(name: str, start_ms: int, end_ms: int, error: str = "", **attributes: Any) -> Span:
    return Span(name=name, start_ns=start_ms * 1_000_000, end_ns=end_ms * 1_000_000,
                attributes=attributes, error=error)  # fmt: skip
