"""The service without HTTP: clients submit, watch and cancel jobs, worker processes run them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Literal

from filmgate.errors import (
    BadSetting,
    DoesNotFit,
    FilmgateError,
    QueueFull,
)
from filmgate.jobs.queue.clock import Clock
from filmgate.jobs.queue.job_queue import MAX_PAGE, JobQueue
from filmgate.jobs.queue.values import (
    FINAL_STATES,
    Demand,
    JobClass,
    JobEvent,
    JobRecord,
    JobRequest,
    JobState,
    QueueLimits,
)
from filmgate.jobs.scheduler.answers import Later, Now, answer
from filmgate.jobs.scheduler.dispatcher import Dispatcher, Silence
from filmgate.jobs.scheduler.order import Policy, Situation
from filmgate.service.ballast import Ballast
from filmgate.service.changes import Changes
from filmgate.service.contracts import Planner, ServiceMetrics, WorkerPool
from filmgate.service.job_folder import JobFolder
from filmgate.service.job_views import JobViews, write_plan
from filmgate.service.live_jobs import LiveJobs, Tally
from filmgate.service.logs import ServiceLog
from filmgate.service.loop import ServiceLoop
from filmgate.service.reporting import QueueReports
from filmgate.service.schema import JobDefinition
from filmgate.service.settings import ServiceSettings
from filmgate.service.starts import JobStarter
from filmgate.service.supervisor.late_plans import LatePlans, find_known_plan
from filmgate.service.telemetry.job_spans import PLACE, JobSpans
from filmgate.service.telemetry.opening import open_traces
from filmgate.service.telemetry.traces import Traces, measure_span
from filmgate.service.views import (
    JobPlan,
    JobView,
    Page,
    Readiness,
    ResultFile,
    StartsLater,
    StartsNow,
    Submitted,
)
from filmgate.service.worker.pins import check_pins, reserve

_MANY_WAIT = 8  # jobs, from which on the answer to a new one is an estimate


class JobService:
    """Jobs of a service and its workers; safe to call from any thread. It owns the queue."""

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        workers: WorkerPool | None = None,
        planner: Planner | None = None,
        clock: Clock | None = None,
        traces: Traces | None = None,
    ) -> None:
        """Open the queue in the folder of the settings, which is created.

        `workers` run the jobs (default: processes of this machine); `planner` predicts what they
        take (default: a process as well); `traces` get spans (default: what the settings say).
        Raises Busy if another server owns the folder; BadInput, BadSetting, DiskFull, NotLoaded.
        """
        self.settings = settings
        check_pins(settings.pin)
        try:
            settings.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadSetting(f"cannot create the folder {settings.folder}: {error.strerror}. "
                             "Choose another one for the service") from error  # fmt: skip
        limits = QueueLimits(settings.max_waiting, settings.max_waiting_per_key)
        self._queue = JobQueue(settings.queue_path, clock=clock, limits=limits)
        self.log = ServiceLog(settings.logs)
        self._lock, self._changes = threading.RLock(), Changes()
        self._live, self._tally = LiveJobs(), Tally()
        self.traces = traces or open_traces(settings.traces, self.log)
        self._spans = JobSpans(self._queue, self.traces)
        self._queue.watch_events(self._note_event)
        self._reports = QueueReports(
            self._queue, self._lock, self._live, self._tally, self.log, self._spans
        )
        self._workers, self._planner = (
            workers or _make_workers(settings, self.log),
            planner or _make_planner(settings, self.log),
        )
        self._late = LatePlans(self._queue, self._planner, self._workers, self.traces, self.log)
        self._dispatcher = Dispatcher(
            self._queue,
            self._workers.describe_machine(),
            JobStarter(self._workers, self._queue, self._live, self._tally, settings, self.log),
            silence=Silence(settings.loading_s, settings.step_s),
        )
        self._views = JobViews(self._queue, self._live, self._changes, self._read_situation)
        self._loop = ServiceLoop(
            self._queue, self._workers, self._dispatcher, self._lock, self._tally, self.log,
            settings.keep_finished_s, Ballast(settings.folder), self._late.wake,
        )  # fmt: skip

    def start(self) -> None:
        """Start the workers; jobs of an earlier server continue after their latest segment."""
        self.log.info("service_started", folder=str(self.settings.folder))
        self._loop.start(self._reports)
        self._late.start()

    def stop(self, grace_s: float = 30.0) -> None:
        """Let running jobs reach the end of their segment, at most `grace_s`, and close the queue.

        Jobs that have not ended continue at the next start. Calling it again does nothing.
        """
        self._loop.stop(grace_s)
        self._late.stop()
        self._changes.close()
        self._queue.close()
        self.traces.close()
        self.log.close()

    def __enter__(self) -> JobService:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # for clients

    def plan(self, definition: JobDefinition) -> JobPlan:
        """Return what a job is predicted to take; it takes seconds, in a process of its own.

        Raises UserError, what the job would raise: BadInput, BadSetting, DoesNotFit with what
        would fit; NotPlanned if the prediction takes too long or its process dies.
        """
        return self._planner.plan(definition, self._workers.describe_machine())

    def submit(
        self,
        tenant: str,
        definition: JobDefinition,
        *,
        key: str | None = None,
        job_class: JobClass = JobClass.BATCH,
        priority: int = 0,
        expires_after_s: float | None = None,
        correlation_id: str = "",
        place: str = "",
    ) -> Submitted:
        """Add a job; when this returns, a power cut does not lose it.

        The same `key` and request is the same job. `place`: where in a trace it belongs. What the
        job takes is predicted later, if such a job was not predicted before: it fails then if it
        can never run here. Raises DoesNotFit if that is known already, with what would fit;
        KeyReused; QueueFull with `retry_after_s`.
        """
        request = JobRequest(
            tenant=tenant, job=definition.to_json(), job_class=job_class, priority=priority,
            key=key, expires_after_s=expires_after_s,
        )  # fmt: skip
        try:
            machine = self._workers.describe_machine()
            plan = find_known_plan(self._planner, definition, machine)
        except DoesNotFit:
            if earlier := self._queue.find_earlier(request):
                return self._make_answer(earlier)
            self._tally.refused["never_fits"] += 1
            self.log.warning("job_not_taken", reason="never_fits", tenant=tenant,
                             correlation_id=correlation_id)  # fmt: skip
            raise
        context = {"correlation_id": correlation_id, **write_plan(plan)}
        context |= {PLACE: place} if place else {}
        demand = reserve(plan, definition, machine) if plan else Demand()
        request = replace(request, demand=demand, context=context, is_planned=plan is not None)
        try:
            with measure_span(self.traces, place, "store"):
                done = self._queue.submit(request)
        except QueueFull as error:
            self._tally.refused["queue_full"] += 1
            error.retry_after_s = self._estimate_room_s()
            self.log.warning("job_not_taken", reason="queue_full", tenant=tenant,
                             message=str(error), correlation_id=correlation_id)  # fmt: skip
            raise
        self._tally.submitted += done.is_new
        self.log.info("job_submitted", job=done.job.id, tenant=tenant, is_new=done.is_new,
                      correlation_id=correlation_id)  # fmt: skip
        if done.is_new:
            (self._workers if plan else self._late).wake()
        return self._make_answer(done.job, request if done.is_new else None)

    def get(self, job_id: str) -> JobView:
        """Return a job. Raises UnknownJob (`was_removed`: it existed)."""
        return self._views.make(self._queue.get(job_id))

    def list(self, tenant: str | None, after: str | None = None, limit: int = 100) -> Page[JobView]:
        """Return a page of jobs, the latest first. `tenant` None: of all. Raises BadSetting."""
        if after is not None and not (after.isdecimal() and after.isascii() and len(after) < 13):
            raise BadSetting(f"after is {after!r:.40}: pass what the page before gave as next")
        before = {} if after is None else {"before": int(after)}
        limit = max(1, min(limit, MAX_PAGE))
        records = self._queue.list_latest(tenant, **before, limit=limit)
        following = str(records[-1].number) if len(records) == limit else None
        return Page(tuple(map(self._views.make, records)), following)

    def cancel(self, job_id: str) -> JobView:
        """Cancel a job: at once if it waits, else when its worker has stopped.

        Raises UnknownJob; JobConflict if it has ended otherwise.
        """
        record = self._queue.cancel(job_id)
        self._workers.wake()
        return self._views.make(record)

    def read_events(self, job_id: str, after: int = 0, limit: int = 100) -> Sequence[JobEvent]:
        """Return the events with a number above `after`, in their order. Raises UnknownJob."""
        return self._queue.read_events(job_id, after, limit)

    def wait_for_change(self, job_id: str, after: int, timeout_s: float) -> None:
        """Return when the job has an event above `after`, or after `timeout_s`, or at the stop."""
        self._changes.wait(job_id, lambda: self._queue.get(job_id).events > after, timeout_s)

    def subscribe(self, on_change: Callable[[str], None]) -> Callable[[], None]:
        """Call `on_change` with the id of each job that gets an event; return what ends that.

        It is called by any thread, must return at once and not call the service.
        """
        return self._changes.subscribe(on_change)

    def open_result(self, job_id: str, *, partial: bool = False) -> ResultFile:
        """Return the file with the result; with `partial` what can be played so far.

        Raises UnknownJob; JobConflict if there is none (yet), with the job's state.
        """
        return self._views.find_result(self._queue.get(job_id), partial)

    def read_preview(
        self, job_id: str, side: Literal["both", "before", "after"] = "both"
    ) -> bytes | None:
        """Return a JPEG of the latest frame: the source's, the result's, or one next to the other.

        None if there is none yet. Raises UnknownJob.
        """
        job = self._queue.get(job_id)
        if preview := self._live.peek(job_id).preview:
            images = {"both": preview.combined, "before": preview.before, "after": preview.after}
            return images[side]
        return JobFolder(self._queue, job.id).read_preview(side)

    def report_readiness(self) -> Readiness:
        """Return whether jobs are taken and run, and if not, why."""
        reasons = []
        workers = self._workers.list_workers()
        if self._loop.trouble:
            reasons.append(self._loop.trouble)
        try:
            self._queue.check_writable()
        except FilmgateError as error:
            reasons.append(str(error))
        if not any(worker.state in ("idle", "busy") for worker in workers):
            failed = [worker.message for worker in workers if worker.message]
            reasons.append(f"no worker is ready{': ' if failed else ''}{'; '.join(failed[:3])}")
        return Readiness(not reasons, tuple(reasons), workers)

    def read_metrics(self) -> ServiceMetrics:
        """Return the figures for a metrics endpoint; samples are those since the last call."""
        tally, machine = self._tally, self._workers.describe_machine()
        with self._lock:
            held = self._queue.leases.find_held().values()
        reserved = {device.name: 0 for device in machine.devices} | {"ram": 0}
        for one in held:
            reserved[one.device] = reserved.get(one.device, 0) + one.reserved.device_bytes
            reserved["ram"] += one.reserved.host_bytes
        budget = {device.name: device.budget_bytes for device in machine.devices}
        return ServiceMetrics(
            jobs={str(state): count for state, count in self._queue.count_active().items()},
            finished=dict(tally.finished),
            submitted=tally.submitted,
            refused=dict(tally.refused),
            segments=tally.segments,
            segments_redone=tally.segments_redone,
            frames=tally.frames,
            ended_workers=dict(tally.ended_workers),
            device_s=tally.device_s,
            workers=self._workers.list_workers(),
            budget_bytes=budget | {"ram": machine.host_budget_bytes},
            reserved_bytes=reserved,
            **tally.drain(),
        )

    # inside

    def _note_event(self, job_id: str, final: tuple[str, str] | None) -> None:
        if final is not None:
            self._tally.finished[final] += 1
            self._spans.end(job_id)
            self._loop.note_end(job_id, was_cancelled=final[0] == JobState.CANCELLED)
        self._changes.notify(job_id)

    def _make_answer(self, job: JobRecord, request: JobRequest | None = None) -> Submitted:
        """Return a submitted job, and when it starts: exact if few wait, else an estimate.

        `request`: of a new job.
        """
        view, is_new = self._views.make(job, request), request is not None
        if job.state in FINAL_STATES:
            return Submitted(view, is_new, None)
        if job.is_planned and (view.position is None or view.position < _MANY_WAIT):
            situation, machine = self._read_situation(), self._dispatcher.machine
            found = answer(machine, Policy(), situation, job)
            if isinstance(found, Now):
                return Submitted(view, is_new, StartsNow(found.device))
            if isinstance(found, Later):
                return Submitted(view, is_new, StartsLater(found.position, found.start_s))
        return Submitted(view, is_new, StartsLater(view.position or 1, view.start_s))

    def _read_situation(self, per_account: int = 4) -> Situation:
        with self._lock:
            return self._dispatcher.read_situation(per_account)

    def _estimate_room_s(self) -> float:
        """Return after how long a place in the queue may be free: a job's time on a worker."""
        situation = self._read_situation()
        times = [job.demand.seconds for job in situation.running if job.demand.seconds]
        workers = max(1, len(situation.idle) + len(situation.running))
        return max(1.0, min(300.0, sum(times) / max(1, len(times)) / workers)) if times else 30.0


def _make_workers(settings: ServiceSettings, log: ServiceLog) -> WorkerPool:
    from filmgate.service.supervisor.worker_pool import WorkerProcesses

    return WorkerProcesses(settings, log)


def _make_planner(settings: ServiceSettings, log: ServiceLog) -> Planner:
    from filmgate.service.supervisor.planner import PlannerProcess

    return PlannerProcess(settings, log)
