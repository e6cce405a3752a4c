"""Predict jobs after they were accepted: a client does not wait for seconds of measuring."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from filmgate.errors import BadField, BadInput, DoesNotFit, UnknownJob, UserError
from filmgate.jobs.queue.job_queue import JobQueue
from filmgate.jobs.queue.values import Demand, JobClass, JobRecord
from filmgate.jobs.scheduler.capacity import Machine, explain_misfit
from filmgate.jobs.scheduler.dispatcher import DAMAGED
from filmgate.service.contracts import Planner, WorkerPool, name_reason
from filmgate.service.job_views import write_plan
from filmgate.service.logs import ServiceLog
from filmgate.service.schema import JobDefinition
from filmgate.service.telemetry.job_spans import PLACE
from filmgate.service.telemetry.traces import Traces, make_place, measure_span
from filmgate.service.views import JobPlan
from filmgate.service.worker.pins import reserve

_RETRY_S = 1.0  # after the disk was full, or an error that no one expects
_CLASSES = list(JobClass)


class LatePlans:
    """A thread that predicts the jobs of the queue that came without a prediction.

    Those of an earlier server too. The most urgent class comes first; in it the tenant whose turn
    was longest ago, so that many jobs of one keep no other waiting.
    """

    def __init__(
        self, queue: JobQueue, planner: Planner, workers: WorkerPool, traces: Traces,
        log: ServiceLog,
    ) -> None:  # fmt: skip
        self._queue, self._planner, self._workers = queue, planner, workers
        self._traces, self._log = traces, log
        self._due, self._stopping = threading.Event(), threading.Event()
        self._turns: dict[str, int] = {}  # of tenants: the number of the latest
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="late plans", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Let the thread look for jobs. Any thread may call it."""
        self._due.set()

    def stop(self) -> None:
        """End the prediction that is being made, whose job waits for another one, and the thread.

        The planner is closed.
        """
        self._stopping.set()
        self._due.set()
        self._planner.close()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._due.clear()  # before it looks: what comes meanwhile is found by the next look
            try:
                while (job := self._find_next()) is not None and not self._stopping.is_set():
                    self._predict(job)
            except Exception as error:  # noqa: BLE001 - jobs wait until it works again
                text = "".join(traceback.format_exception(error))
                self._log.error("planning_failed", message=str(error), exception=text)
                self._stopping.wait(_RETRY_S)
                continue
            self._due.wait()

    def _find_next(self) -> JobRecord | None:
        """Return the job whose turn it is, None if none waits for its prediction."""
        jobs = self._queue.predictions.find_due()
        if not jobs:
            self._turns.clear()
            return None
        job = min(jobs, key=self._rank)
        self._turns[job.tenant] = max(self._turns.values(), default=0) + 1
        return job

    def _rank(self, job: JobRecord) -> tuple[int, int, int]:
        return _CLASSES.index(job.job_class), self._turns.get(job.tenant, 0), job.number

    def _predict(self, job: JobRecord) -> None:
        """Predict a job; it may start then, or has failed."""
        with suppress(UnknownJob):  # it was removed meanwhile
            context = self._queue.read_context(job.id)
            try:
                definition = JobDefinition.from_json(self._queue.read_request(job.id))
            except (BadField, BadInput) as error:  # it was changed in the database
                self._refuse(job, DAMAGED, error)
                return
            machine = self._workers.describe_machine()
            try:
                with measure_span(
                    self._traces, make_place(str(context.get(PLACE, "")), job.id), "plan"
                ):
                    plan = self._ask(definition, machine)
                if isinstance(plan, JobPlan):
                    check_fit(machine, reserve(plan, definition, machine))
            except UserError as error:
                self._refuse(job, name_reason(error), error)
                return
            if isinstance(plan, JobPlan):
                demand = reserve(plan, definition, machine)
                self._store(job, demand, write_plan(plan), host_bytes=plan.host_bytes,
                            device_bytes=plan.device_bytes, seconds=plan.seconds)  # fmt: skip
            elif not self._stopping.is_set():
                self._let_run_alone(job, machine, plan)

    def _ask(self, definition: JobDefinition, machine: Machine) -> JobPlan | Exception:
        """Return the plan of a job, or why there is none although it may run. Raises UserError."""
        try:
            return self._planner.plan(definition, machine)
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 - its run will show what is wrong
            return error

    def _let_run_alone(self, job: JobRecord, machine: Machine, error: Exception) -> None:
        """Reserve everything for a job that cannot be predicted."""
        self._log.warning("not_planned", message=str(error), **self._identify(job))
        demand = take_all(machine)
        try:
            check_fit(machine, demand)
        except DoesNotFit as misfit:
            self._refuse(job, name_reason(misfit), misfit)
        else:
            self._store(job, demand, {}, message=str(error)[:1000])

    def _store(
        self, job: JobRecord, demand: Demand, context: Mapping[str, Any], **data: object
    ) -> None:
        if self._queue.predictions.store(job.id, demand, context, **data):
            self._workers.wake()

    def _refuse(self, job: JobRecord, reason: str, error: Exception) -> None:
        self._log.info("job_refused", reason=reason, message=str(error), **self._identify(job))
        self._queue.predictions.refuse(job.id, reason, str(error))

    def _identify(self, job: JobRecord) -> dict[str, str]:
        """Return the fields of the log that say which job it is about."""
        correlation_id = self._queue.read_context(job.id).get("correlation_id", "")
        return {"job": job.id, "correlation_id": str(correlation_id)}


def take_all(machine: Machine) -> Demand:
    """Return the demand of a job that runs alone, as nothing is known about it."""
    device = min((device.usable_bytes for device in machine.devices), default=0)
    return Demand(device, machine.usable_host_bytes)


def check_fit(machine: Machine, demand: Demand) -> None:
    """Raise DoesNotFit for a job that can never run here, with what would fit."""
    if misfit := explain_misfit(machine, demand):
        raise DoesNotFit(misfit.message, demand.device_bytes or demand.host_bytes)


def find_known_plan(
    planner: Planner, definition: JobDefinition, machine: Machine
) -> JobPlan | None:
    """Return the plan of a job if it was made before, else None. Raises DoesNotFit."""
    plan = planner.find_known(definition, machine)
    if plan is not None:
        check_fit(machine, reserve(plan, definition, machine))
    return plan
