"""Jobs of the queue as their clients see them."""

from __future__ import annotations

import mimetypes
import threading
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any

from filmgate.errors import FilmgateError, JobConflict
from filmgate.jobs.queue.job_queue import JobQueue
from filmgate.jobs.queue.values import JobRecord, JobRequest, JobState
from filmgate.jobs.scheduler.answers import Later, estimate_starts
from filmgate.jobs.scheduler.order import Policy, Situation
from filmgate.service.changes import Changes
from filmgate.service.job_folder import JobFolder
from filmgate.service.live_jobs import LiveJobs
from filmgate.service.views import JobPlan, JobView, ResultFile

_FEW_JOBS = 32  # that wait, whose starts are predicted again after each change
_ESTIMATED_S, _ESTIMATED_JOBS = 5.0, 300  # how long estimates count; jobs of each account
_MEDIA_TYPES = MappingProxyType(
    {
        ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".webm": "video/webm",
        ".mkv": "video/x-matroska", ".avi": "video/x-msvideo", ".jsonl": "application/jsonl",
        ".json": "application/json", ".parquet": "application/vnd.apache.parquet",
        ".txt": "text/plain", ".html": "text/html",
    }
)  # fmt: skip


class JobViews:
    """Makes the views of jobs; safe to use from any thread."""

    def __init__(
        self,
        queue: JobQueue,
        live: LiveJobs,
        changes: Changes,
        read_situation: Callable[[int], Situation],
    ) -> None:
        self._changes = changes
        self._queue, self._live, self._read_situation = queue, live, read_situation
        self._lock = threading.Lock()
        self._starts: Mapping[str, Later] = {}
        self._last: Later | None = None
        self._newest, self._count = 0, -1  # number of the latest job then, and changes so far
        self._estimated_s = float("-inf")

    def make(self, record: JobRecord, request: JobRequest | None = None) -> JobView:
        """Return the view of a job; of a new one with its request, which is not read then.

        Raises UnknownJob.
        """
        queue = self._queue
        context = request.context if request else queue.read_context(record.id)
        attempts = queue.read_attempts(record.id) if record.epoch else []
        is_held = record.state in (JobState.LEASED, JobState.RUNNING)
        later = self._find_start(record) if record.state is JobState.QUEUED else None
        try:
            definition = request.job if request else queue.read_request(record.id)
        except FilmgateError:  # it was changed in the database, and fails when it starts
            definition = {}
        return JobView(
            id=record.id,
            number=record.number,
            tenant=record.tenant,
            state=record.state,
            job_class=record.job_class,
            priority=record.priority,
            correlation_id=str(context.get("correlation_id", "")),
            definition=definition,
            is_planned=record.is_planned,
            plan=read_plan(context),
            progress=self._live.peek(record.id).progress if is_held else None,
            position=later.position if later else None,
            start_s=later.start_s if later and record.is_planned else None,
            segments=record.segments,
            attempts=tuple(attempts),
            reason=record.reason,
            message=record.message,
            is_cancel_requested=record.is_cancel_requested,
            events=record.events,
            submitted_ms=record.submitted_ms,
            started_ms=attempts[0].started_ms if attempts else None,
            finished_ms=record.finished_ms,
            expires_ms=record.expires_ms,
            result=_name_result(queue, record) if record.state is JobState.DONE else {},
        )

    def _find_start(self, record: JobRecord) -> Later | None:
        """Return position and predicted start of a waiting job; some seconds old if many wait.

        One that came since is behind all others.
        """
        with self._lock:
            is_old = monotonic() - self._estimated_s > _ESTIMATED_S
            has_changed = self._changes.count != self._count
            if is_old or (has_changed and len(self._starts) < _FEW_JOBS):
                self._count = self._changes.count
                self._starts = estimate_starts(Policy(), self._read_situation(_ESTIMATED_JOBS))
                self._last = max(self._starts.values(), key=lambda one: one.position, default=None)
                self._estimated_s, self._newest = monotonic(), record.number
            if found := self._starts.get(record.id):
                return found
            last = self._last or Later(0, None)
            return Later(last.position + max(1, record.number - self._newest), last.start_s)

    def find_result(self, record: JobRecord, partial: bool) -> ResultFile:
        """Return the result of a job, or with `partial` what is done. Raises JobConflict."""
        folder, short = JobFolder(self._queue, record.id), record.id[:8]
        if record.state is JobState.DONE:
            form = self._queue.read_result(record.id)
            path = folder.path / str(form.get("name", ""))
            if not path.is_file():
                raise JobConflict(f"the result of job {record.id} was removed from {folder.path}: "
                                  "submit the job again")  # fmt: skip
            size, sha256 = path.stat().st_size, str(form.get("sha256", ""))
            if size != form.get("size_bytes"):
                raise JobConflict(f"the result of job {record.id} was changed in {folder.path}: "
                                  "submit the job again")  # fmt: skip
            return _describe(path, sha256, f"{short}{path.suffix}", size, is_partial=False)
        found = folder.find_playable() if partial else None
        if found is None:
            what = "nothing that can be played yet" if partial else "no result"
            raise JobConflict(f"job {record.id} is {record.state} and has {what}: wait for it")
        size = found.stat().st_size
        return _describe(found, "", f"{short}-partial{found.suffix}", size, is_partial=True)


def read_plan(context: Mapping[str, Any]) -> JobPlan | None:
    """Return the plan that was stored with a job, None if there is none."""
    form = context.get("plan")
    if not isinstance(form, Mapping):
        return None
    try:
        size = tuple(int(side) for side in form["size"])
        return JobPlan(**{**form, "size": (size[0], size[1])})
    except (TypeError, ValueError, LookupError):
        return None


def write_plan(plan: JobPlan | None) -> dict[str, Any]:
    """Return the part of a job's context that `read_plan` reads."""
    if plan is None:
        return {}
    return {"plan": {field.name: getattr(plan, field.name) for field in fields(plan)}}


def _name_result(queue: JobQueue, record: JobRecord) -> dict[str, Any]:
    """Return what is known of a result, under the name that a client gets."""
    form = queue.read_result(record.id)
    path = Path(str(form.get("name", "")))
    return {**form, "name": f"{record.id[:8]}{path.suffix}", "media_type": find_media_type(path)}


def find_media_type(path: Path) -> str:
    """Return the media type of a result by the suffix of its name."""
    guessed = _MEDIA_TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0]
    return guessed or "application/octet-stream"


def _describe(path: Path, sha256: str, name: str, size: int, *, is_partial: bool) -> ResultFile:
    return ResultFile(path, size, sha256, find_media_type(path), name, is_partial)
