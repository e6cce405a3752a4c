"""Give jobs to workers: the executor of the scheduler, with what a worker needs to begin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from filmgate.errors import FilmgateError
from filmgate.jobs.queue.job_queue import JobQueue
from filmgate.jobs.queue.values import AttemptEnd, JobRecord, Lease, MemoryUse
from filmgate.jobs.scheduler.dispatcher import DAMAGED
from filmgate.service.contracts import WorkerPool
from filmgate.service.job_folder import JobFolder
from filmgate.service.live_jobs import LiveJobs, Tally
from filmgate.service.logs import ServiceLog
from filmgate.service.schema import JobDefinition
from filmgate.service.settings import ServiceSettings
from filmgate.service.telemetry.job_spans import PLACE


class JobStarter:
    """An `Executor` that prepares the folder of a job, and passes everything on to workers."""

    def __init__(
        self, workers: WorkerPool, queue: JobQueue, live: LiveJobs, tally: Tally,
        settings: ServiceSettings, log: ServiceLog,
    ) -> None:  # fmt: skip
        self._workers, self._queue, self._live = workers, queue, live
        self._tally, self._settings, self._log = tally, settings, log

    def start(self, lease: Lease, request: Mapping[str, Any]) -> None:
        """Run the job on the worker of the lease, from its latest segment on."""
        try:
            definition = JobDefinition.from_json(request)
            context = self._queue.read_context(lease.job_id)
        except FilmgateError as error:
            self._queue.leases.fail(lease, DAMAGED, str(error), may_retry=False)
            return
        result = str(definition.sink.path)
        folder = JobFolder(self._queue, lease.job_id)
        try:
            folder.prepare(result, samples=self._settings.keep_samples)
        except FilmgateError as error:  # the disk is full
            self._queue.leases.postpone(lease, "disk_full", str(error), 30.0)
            return
        live = self._live.find(lease.job_id)
        live.correlation_id = str(context.get("correlation_id", ""))
        live.progress = None
        reserved = self._queue.leases.find_held()[lease.job_id].reserved
        live.memory = MemoryUse(reserved)
        job = self._queue.get(lease.job_id)
        if job.epoch == 1:
            self._tally.wait_s.append(max(0, self._queue.now_ms() - job.submitted_ms) / 1000)
        self._log.info("job_started", job=lease.job_id, worker=lease.worker, attempt=lease.epoch,
                       correlation_id=live.correlation_id, reserved_host_bytes=reserved.host_bytes,
                       reserved_device_bytes=reserved.device_bytes)  # fmt: skip
        self._workers.start(lease, {
            "definition": dict(request), "folder": str(folder.path), "plan": context.get("plan"),
            "correlation_id": live.correlation_id, "demand": reserved,
            "samples": self._settings.keep_samples, "is_traced": bool(context.get(PLACE)),
            "is_reduced": self._has_run_out_of_memory(job),
        })  # fmt: skip

    def _has_run_out_of_memory(self, job: JobRecord) -> bool:
        attempts = self._queue.read_attempts(job.id) if job.epoch > 1 else []
        return any(one.end is AttemptEnd.OUT_OF_MEMORY for one in attempts)

    def ask_to_yield(self, lease: Lease) -> None:
        """Ask the worker to give the job back after its current segment."""
        self._workers.ask_to_yield(lease)

    def ask_to_cancel(self, lease: Lease) -> None:
        """Ask the worker to stop the job, and kill it if it does not in time."""
        self._workers.ask_to_cancel(lease)

    def kill(self, lease: Lease) -> None:
        """Kill the worker, which has stalled, and end its connection."""
        self._workers.kill(lease)
