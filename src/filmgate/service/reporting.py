"""What workers report, written into the queue, the log and the figures of the service."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from threading import RLock
from typing import Any

from filmgate.errors import FilmgateError, UnknownJob
from filmgate.jobs.queue.job_queue import JobQueue
from filmgate.jobs.queue.values import AttemptEnd, Demand, Lease, Segment
from filmgate.service.contracts import Preview, Result
from filmgate.service.job_folder import JobFolder
from filmgate.service.job_views import read_plan
from filmgate.service.live_jobs import LiveJob, LiveJobs, Tally
from filmgate.service.logs import ServiceLog
from filmgate.service.telemetry.job_spans import JobSpans
from filmgate.service.telemetry.traces import Span
from filmgate.service.views import JobProgress

DISK_FULL = "disk_full"  # reason of a job that waits for space
_SHOW_S, _SHOW_FRACTION, _SHOW_AT_LEAST_S = 1.0, 0.005, 10.0  # between events of progress
_WAIT_FOR_SPACE_S, _WAIT_FOR_OTHER_S = 30.0, 2.0


class QueueReports:
    """Takes the reports of workers (`Reports`). Each is durable when its method returns."""

    def __init__(
        self, queue: JobQueue, lock: RLock, live: LiveJobs, tally: Tally, log: ServiceLog,
        spans: JobSpans,
    ) -> None:  # fmt: skip
        self._queue, self._lock, self._live = queue, lock, live
        self._tally, self._log, self._spans = tally, log, spans

    def connected(self, worker: str, device: str) -> None:
        """A worker is ready for jobs."""
        with self._lock:
            self._queue.leases.connect(worker, device)
        self._log.info("worker_ready", worker=worker, device=device)

    def disconnected(
        self,
        worker: str,
        end: AttemptEnd = AttemptEnd.LOST,
        crash: Mapping[str, Any] | None = None,
        device_s: float = 0.0,
    ) -> None:
        """A worker has ended, and with it its lease; its crash becomes an event of the job."""
        self._tally.ended_workers[str(end)] += 1
        with self._lock:
            leases = self._queue.leases
            lease = next((h.lease for h in leases.find_held().values() if h.lease.worker == worker),
                         None)  # fmt: skip
            job = self._live.find(lease.job_id) if lease else LiveJob()
            own = {"correlation_id": job.correlation_id, "worker": worker}
            report = {**(crash or {}), **own}
            if lease and crash:
                summary = {key: crash[key] for key in ("cause", "hint", "read") if key in crash}
                with suppress(FilmgateError):  # the attempt has it all
                    leases.record_event(lease, "worker_died", end=str(end), **summary)
            memory = job.describe_memory() if lease else {}
            self._log.warning("worker_ended", end=str(end), job=lease and lease.job_id, **memory,
                              **report)  # fmt: skip
            leases.disconnect(worker, end, report if crash else None, device_s)
        self._tally.device_s += device_s

    def progressed(
        self, lease: Lease, step: int, progress: JobProgress, peak: Demand | None = None
    ) -> None:
        """A step of the job is done; now and then that becomes an event."""
        job = self._live.find(lease.job_id)
        with self._lock:
            if not self._queue.leases.report_progress(lease, step, peak):
                return
            if progress.phase == "finishing" and (
                job.progress is None or job.progress.phase != "finishing"
            ):
                self._queue.leases.expect_long_step(lease)
            job.progress = progress
            job.memory = self._queue.leases.find_memory(lease)
            self._count_frames(job, progress.read)
            if self._is_due(job, progress):
                job.shown_s, job.shown_read = time.monotonic(), progress.read
                self._queue.leases.record_event(
                    lease, "progress", phase=progress.phase, read=progress.read,
                    written=progress.written, frames=progress.frames, fps=progress.fps,
                )  # fmt: skip

    def resumed(self, lease: Lease, segments: tuple[Segment, ...]) -> None:
        """The job continues after these segments; the queue's list is made the same."""
        job = self._live.find(lease.job_id)
        job.read = 0
        with self._lock:
            stored = self._read_segments(lease.job_id)
            same = 0
            for old, new in zip(stored, segments, strict=False):
                if (old.name, old.sha256) != (new.name, new.sha256):
                    break
                same += 1
            if same < len(stored):
                self._tally.segments_redone += len(stored) - same
                self._queue.leases.rewind(lease, same)
            known = sum(one.frames for one in stored[:same])
            for number, segment in enumerate(segments[same:], same):
                frames = max(0, segment.frames - known)
                known += frames
                own = replace(segment, number=number, frames=frames, device_s=0.0)
                self._queue.leases.commit_segment(lease, own)
                self._tally.segments += 1
            if segments:
                self._queue.leases.record_event(lease, "resumed", segments=len(segments))

    def segment_done(self, lease: Lease, segment: Segment) -> None:
        """The next segment is durable."""
        with self._lock:
            self._queue.leases.commit_segment(lease, segment)
        self._tally.segments += 1
        self._tally.device_s += segment.device_s

    def noticed(self, lease: Lease, kind: str, data: Mapping[str, Any]) -> None:
        """Something happened that becomes an event of the job, such as a warning."""
        with self._lock:
            self._queue.leases.record_event(lease, kind, **data)
        self._log.info(kind, job=lease.job_id, worker=lease.worker, **self._own(lease), **data)

    def timed(self, lease: Lease, span: Span) -> None:
        """A part of the attempt took this time."""
        self._spans.add(lease, span)

    def previewed(self, lease: Lease, preview: Preview) -> None:
        """There is a newer frame to show."""
        self._live.find(lease.job_id).preview = preview

    def finished(self, lease: Lease, segments: int | None, result: Result, device_s: float) -> None:
        """The result is complete and durable. `segments` None: those that the queue has."""
        with self._lock:
            stored = self._queue.get(lease.job_id)
            form = {
                "name": result.name, "size_bytes": result.size_bytes, "sha256": result.sha256,
                "frames": result.frames, "seconds": result.seconds,
                "concealed": result.concealed, "is_complete": result.is_complete,
            }  # fmt: skip
            self._keep_preview(lease.job_id)
            count = stored.segments if segments is None else segments
            self._queue.leases.finish(lease, count, form, device_s)
            self._end(lease, device_s)

    def measured(self, lease: Lease, peak_bytes: int) -> None:
        """A finished job took so many bytes of RAM at most, its program included."""
        plan = read_plan(self._queue.read_context(lease.job_id))
        if plan and plan.host_bytes and peak_bytes > 0:
            self._tally.prediction_errors.append(peak_bytes / plan.host_bytes)

    def failed(
        self, lease: Lease, reason: str, message: str, may_retry: bool, device_s: float
    ) -> None:
        """The job raised an error; `reason` is one word."""
        self._log.warning("job_failed", job=lease.job_id, reason=reason, message=message,
                          may_retry=may_retry, **self._own(lease))  # fmt: skip
        with self._lock:
            if may_retry and reason in (DISK_FULL, "busy"):
                delay_s = _WAIT_FOR_SPACE_S if reason == DISK_FULL else _WAIT_FOR_OTHER_S
                self._queue.leases.postpone(lease, reason, message, delay_s, device_s)
            else:
                self._keep_preview(lease.job_id)
                self._queue.leases.fail(lease, reason, message, may_retry, device_s)
            self._end(lease, device_s)

    def gave_back(self, lease: Lease, device_s: float) -> None:
        """The job was given back at a segment boundary, as the worker was asked to."""
        with self._lock:
            self._queue.leases.give_back(lease, device_s)
            self._end(lease, device_s)

    def cancelled(self, lease: Lease, device_s: float) -> None:
        """The job has stopped, as the worker was asked to."""
        with self._lock:
            self._queue.leases.confirm_cancel(lease, device_s)
            self._end(lease, device_s)

    def _own(self, lease: Lease) -> dict[str, str]:
        return {"correlation_id": self._live.find(lease.job_id).correlation_id}

    def _end(self, lease: Lease, device_s: float) -> None:
        """Log how an attempt ended."""
        self._tally.device_s += device_s
        with suppress(UnknownJob):
            job = self._queue.get(lease.job_id)
            if job.finished_ms is not None and (attempts := self._queue.read_attempts(job.id)):
                self._tally.run_s.append((job.finished_ms - attempts[0].started_ms) / 1000)
            self._log.info("attempt_ended", job=job.id, worker=lease.worker, state=str(job.state),
                           reason=job.reason, **self._own(lease),
                           **self._live.find(lease.job_id).describe_memory())  # fmt: skip

    def _count_frames(self, job: LiveJob, read: int) -> None:
        self._tally.frames += max(0, read - job.read) if job.read else 0
        job.read = max(job.read, read)

    def _is_due(self, job: LiveJob, progress: JobProgress) -> bool:
        """Return whether progress is to become an event: a long job has a few hundred of them."""
        age_s = time.monotonic() - job.shown_s
        grown = (progress.read - job.shown_read) / progress.frames if progress.frames else 0.0
        return age_s >= _SHOW_AT_LEAST_S or (age_s >= _SHOW_S and grown >= _SHOW_FRACTION)

    def _keep_preview(self, job_id: str) -> None:
        """Store the latest preview with the result; without space there is none."""
        preview = self._live.peek(job_id).preview
        if preview is not None:
            with suppress(FilmgateError, OSError):
                JobFolder(self._queue, job_id).write_preview(preview)

    def _read_segments(self, job_id: str) -> list[Segment]:
        segments: list[Segment] = []
        while page := self._queue.read_segments(job_id, after=len(segments) - 1, limit=1000):
            segments += page
        return segments
