"""A client of a service: submit jobs, watch them, wait for them and download their results."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from filmgate.core.job import Job
from filmgate.errors import BadSetting, NotConnected, Unsupported
from filmgate.jobs.queue.values import FINAL_STATES, JobClass
from filmgate.media.frame_counter import FrameCounter
from filmgate.media.sinks import RecordOutput, VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.planning.limits import Limits
from filmgate.service.client.answers import (
    JobFailed,
    RemoteEvent,
    RemoteJob,
    RemotePlan,
    parse,
    parse_job,
)
from filmgate.service.client.connection import (
    DEFAULT_SERVER,
    Connection,
    Passing,
    RetryPolicy,
    read_object,
)
from filmgate.service.client.downloading import download_partial, download_result
from filmgate.service.client.uploading import upload_file
from filmgate.storage.fingerprint import ProgressCallback, ignore_progress
from filmgate.tasks.job_form import task_to
from filmgate.tasks.settings import find_inputs, list_settings

if TYPE_CHECKING:
    import httpx2

__all__ = ["Client", "JobFailed", "RetryPolicy"]

_SILENCE_S = 60.0  # of a stream of events, which has a sign of life every 15 s
_OF_RESULT = ("path", "container", "overwrite")  # settings that the service decides


class Client:
    """Jobs on a service. What fails for a while is repeated, so that calls survive its restart.

    Every method raises NotConnected if the service stays away, and the error of Filmgate that the
    service answers with: BadSetting, BadInput, DoesNotFit, QueueFull ...
    """

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        key: str | None = None,
        policy: RetryPolicy | None = None,
        transport: httpx2.BaseTransport | None = None,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        """`server`: its address. `key`: an API key. `transport` and `wait` are for tests."""
        self._connection = Connection(server, key, policy, transport=transport, wait=wait)

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def server(self) -> str:
        """The address of the service."""
        return self._connection.server

    def upload(self, path: Path, on_progress: ProgressCallback = ignore_progress) -> str:
        """Upload a file and return the id of the upload.

        What the service already has of it, also from an earlier process, is not sent again.
        """
        return upload_file(self._connection, path, on_progress)

    def plan(
        self,
        job: Job,
        *,
        limits: Limits | None = None,
        on_progress: ProgressCallback = ignore_progress,
    ) -> RemotePlan:
        """Upload the inputs of a job and return what it is predicted to take on the service."""
        form = self._describe(job, limits or Limits(), on_progress)
        answer = self._connection.ask("POST", "/v1/plan", json=form)
        return parse(RemotePlan, read_object(answer), self.server)

    def submit(
        self,
        job: Job,
        *,
        limits: Limits | None = None,
        job_class: JobClass = JobClass.BATCH,
        priority: int = 0,
        expires_after_s: float | None = None,
        key: str | None = None,
        on_progress: ProgressCallback = ignore_progress,
    ) -> RemoteJob:
        """Upload the inputs of a job and submit it: from then on the service does not lose it.

        Of the job's result the name's suffix and the settings count. `key`: the idempotency key; a
        second call with the same key and job gives the same job. Default: a new key.
        """
        form = self._describe(job, limits or Limits(), on_progress)
        form |= {"class": job_class, "priority": priority, "expires_after_s": expires_after_s}
        headers = {"Idempotency-Key": key or secrets.token_hex(16)}
        return self._read_job(self._connection.ask("POST", "/v1/jobs", json=form, headers=headers))

    def get(self, job_id: str) -> RemoteJob:
        """Return a job as it is now."""
        return self._read_job(self._connection.ask("GET", f"/v1/jobs/{_check_id(job_id)}"))

    def list_jobs(self, limit: int = 30) -> list[RemoteJob]:
        """Return one's latest jobs, the latest first; at most 1000."""
        answer = self._connection.ask("GET", "/v1/jobs", params={"limit": limit})
        listed = parse(list[dict[str, Any]], read_object(answer).get("jobs"), self.server)
        return [parse_job(document, self.server) for document in listed]

    def watch(self, job_id: str, after: int = 0) -> Iterator[RemoteEvent]:
        """Yield the events of a job with a number above `after`, until it ends.

        None is missing and none comes twice. Between them, about every second, an event of the
        kind `live` shows how far the job is.
        """
        attempts = self._connection.make_attempts()
        address = f"/v1/jobs/{_check_id(job_id)}/events"
        while True:
            headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
            try:
                with self._connection.stream("GET", address, headers=headers, read=False,
                                             timeout_s=_SILENCE_S) as answer:  # fmt: skip
                    if answer.status_code == 204:
                        return
                    for event in self._read_events(answer):
                        attempts.succeed()
                        if 0 < event.number <= after:
                            continue
                        after = max(after, event.number)
                        yield event
                        if event.kind in FINAL_STATES:
                            return
            except Passing as passing:
                attempts.pause(passing.error, passing.retry_after_s)
            else:  # the server ends, and another one starts
                error = f"the service at {self.server} ended: it continues the job when it starts"
                attempts.pause(NotConnected(f"{error}; watch the job then"))

    def wait(
        self, job_id: str, on_event: Callable[[RemoteEvent], object] | None = None
    ) -> RemoteJob:
        """Return a job when it is done. Raises JobFailed if it ends without a result."""
        for event in self.watch(job_id):
            if on_event is not None:
                on_event(event)
        job = self.get(job_id)
        job.check()
        return job

    def cancel(self, job_id: str) -> RemoteJob:
        """Cancel a job: at once if it waits, else when its worker has stopped."""
        answer = self._connection.ask("POST", f"/v1/jobs/{_check_id(job_id)}:cancel")
        return self._read_job(answer)

    def download(
        self,
        job_id: str,
        path: Path | None = None,
        *,
        overwrite: bool = False,
        partial: bool = False,
        on_progress: ProgressCallback = ignore_progress,
    ) -> Path:
        """Download the result of a job and return its path; default: its name, in this folder.

        It is compared with its SHA-256 before it gets the name. With `partial`, what can be played
        so far. Raises OutputExists, JobFailed, JobConflict if there is none yet.
        """
        job = self.get(job_id)
        if partial and not job.done:
            suffix = str(parse(dict[str, Any], job.definition.get("output"), self.server)["suffix"])
            target = path or Path(f"{job.id}-partial{suffix if suffix[1:].isalnum() else ''}")
            return download_partial(self._connection, job.id, target, overwrite)
        if job.done:
            result = job.check()
            return download_result(self._connection, job.id, result, path or Path(result.file_name),
                                   overwrite=overwrite, on_progress=on_progress)  # fmt: skip
        raise Unsupported(f"job {job.id} is {job.state} and has no result yet: wait for it")

    def _read_job(self, answer: httpx2.Response) -> RemoteJob:
        return parse_job(read_object(answer), self.server)

    def _read_events(self, answer: httpx2.Response) -> Iterator[RemoteEvent]:
        import httpx2

        for event in httpx2.EventSource(answer):
            if not event.data:
                continue
            try:
                data = event.json()
            except ValueError:
                data = None
            is_live = event.event == "live"
            form = {"kind": "live", "data": data} if is_live else data
            yield parse(RemoteEvent, form, self.server)

    def _describe(self, job: Job, limits: Limits, on_progress: ProgressCallback) -> dict[str, Any]:
        """Return a job as the service takes it; its inputs are uploaded."""
        sink = job.sink
        if job.more_sinks or not isinstance(sink, VideoOutput | RecordOutput):
            raise Unsupported("a job of a service has one result, a video or records: name a file "
                              "such as out.mp4")  # fmt: skip
        suffix = sink.suffix if isinstance(sink, VideoOutput) else sink.path.suffix
        return {
            "source": self._describe_source(job.source, on_progress),
            "tasks": [self._describe_task(task, on_progress) for task in job.tasks],
            "output": {"suffix": suffix, **list_settings(sink, without=_OF_RESULT)},
            "seed": job.seed,
            "limits": list_settings(limits),
        }

    def _describe_source(self, source: object, on_progress: ProgressCallback) -> dict[str, object]:
        if isinstance(source, FrameCounter):
            return list_settings(source)
        if not isinstance(source, VideoFile):
            raise Unsupported("the input of a job of a service is one file: pass a video")
        upload = self.upload(source.path, on_progress)
        return {"upload": upload, **list_settings(source, without=("path",))}

    def _describe_task(self, task: Any, on_progress: ProgressCallback) -> Mapping[str, object]:
        """Return a task; its inputs are uploaded, other paths are those of the server."""
        form = task_to(task)
        for name in find_inputs(type(task)):
            if (value := getattr(task, name)) is not None:
                settings = list_settings(value, without=("path",))
                form[name] = {"upload": self.upload(value.path, on_progress), **settings}
        return form


def _check_id(job_id: str) -> str:
    """Return the id of a job if it can be one. Raises BadSetting."""
    if not job_id or len(job_id) > 64 or not job_id.replace("-", "").replace("_", "").isalnum():
        raise BadSetting(f"{job_id[:80]!r} is no id of a job: pass one as filmgate submit printed")
    return job_id
