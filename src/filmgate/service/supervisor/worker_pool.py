"""Worker processes: started, watched, killed, replaced. The server alone reports to the queue."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from time import monotonic
from typing import Any

from filmgate.backends.death_causes import is_out_of_memory
from filmgate.core.instrumentation.memory import make_memory_meter
from filmgate.errors import DiskFull, FilmgateError, LeaseLost
from filmgate.jobs.queue.values import AttemptEnd, Lease
from filmgate.jobs.scheduler.capacity import USABLE_PERCENT, Device, Machine
from filmgate.service.contracts import Reports
from filmgate.service.logs import ServiceLog
from filmgate.service.settings import ServiceSettings
from filmgate.service.supervisor.devices import find_devices, find_host_budget
from filmgate.service.supervisor.host_memory import choose_drops, find_resident_bytes
from filmgate.service.supervisor.inbox import Inbox
from filmgate.service.supervisor.orphans import end_orphans, remember_processes
from filmgate.service.supervisor.recycling import explain_recycling, is_near_limit
from filmgate.service.supervisor.slots import WorkerSlot
from filmgate.service.supervisor.worker_handle import WorkerHandle
from filmgate.service.views import WorkerView
from filmgate.service.worker import messages
from filmgate.service.worker.messages import Idle, RunJob, WorkerSetup

_ENDING_S = 5.0  # for a worker without a job to end
_RETRY_S = 1.0  # between two tries to report while the disk is full


class WorkerProcesses:
    """A `WorkerPool` of spawned processes, one for each place on a device."""

    def __init__(self, settings: ServiceSettings, log: ServiceLog) -> None:
        """Raises BadSetting if a device does not exist."""
        self._settings, self._log = settings, log
        self._devices = find_devices(settings)
        self._host_bytes = find_host_budget(settings)
        self._slots = [
            WorkerSlot(f"{device.name}-{k}", device)
            for device in self._devices
            for k in range(settings.workers)
        ]
        self._ending: list[WorkerHandle] = []
        self._is_closing = False
        self._numbers = itertools.count(1)
        self._inbox = Inbox()
        self._reports: Reports | None = None
        self._lock = threading.Lock()  # of what other threads read
        self._own_bytes = make_memory_meter()

    def open(self, reports: Reports) -> None:
        """Start the workers; those of an earlier server that still run are killed."""
        self._reports = reports
        if count := end_orphans(self._settings.folder):
            self._log.warning("orphans_killed", count=count)
        self._start_due()

    def wake(self) -> None:
        """Let `handle` return soon."""
        self._inbox.wake()

    def handle(self, timeout_s: float) -> None:
        """Report what happened since the last call; wait at most so long for something."""
        self._start_due()
        workers = self._list()
        waiting = [self._inbox.bell]
        for worker in workers:
            waiting += [worker.child.process.sentinel, *worker.text.pipes]  # type: ignore[list-item]
        if any(worker.unreported for worker in workers):
            timeout_s = min(timeout_s, _RETRY_S)
        due_s = [w.kill_at_s for w in workers if w.kill_at_s is not None]
        due_s += [s.due_s for s in self._slots if s.worker is None and not self._is_closing]
        left_s = min([timeout_s, *(due - monotonic() for due in due_s)])
        ready = wait(waiting, max(0.0, left_s))
        self._inbox.clear()
        for worker in workers:
            worker.text.read(ready)
        ended = [worker for worker in workers if worker.has_ended]  # before messages are taken
        for worker, message in self._inbox.take():
            self._take(worker, message)
        for worker in workers:
            self._flush(worker)
            self._check(worker, has_ended=worker in ended)

    def close(self, grace_s: float) -> None:
        """End the workers; running jobs stop at the end of their segment, or when it is over."""
        end_s, self._is_closing = monotonic() + grace_s, True
        for worker in self._list():
            worker.ask_to_yield()
        while any(w.lease for w in self._list()) and (left_s := end_s - monotonic()) > 0:
            self.handle(min(left_s, 1.0))
        for slot in self._slots:
            if slot.worker is not None:
                self._retire(slot, AttemptEnd.STOPPED)
        end_s = monotonic() + _ENDING_S
        for worker in self._ending:
            worker.child.process.join(max(0.0, end_s - monotonic()))
            worker.close()
        self._ending.clear()
        self._inbox.close()

    def describe_machine(self) -> Machine:
        """Return the devices, with their pins, and the RAM, with what workers hold besides jobs."""
        with self._lock:
            workers = self._list_ready()
            on_device = Counter[str]()
            for worker in workers:
                on_device[worker.device] += worker.pinned.device_bytes
            pins = {pin: size for w in workers if w.idle for pin, size in w.idle.pins.items()}
            holdings = {worker.name: worker.holding for worker in workers}
        devices = tuple(
            Device(device.name, device.budget_bytes, on_device[device.name])
            for device in self._devices
        )
        resident = find_resident_bytes(self._own_bytes(), holdings)
        return Machine(devices, self._host_bytes, resident, pins)

    def list_workers(self) -> tuple[WorkerView, ...]:
        """Return the workers as they are now."""
        with self._lock:
            return tuple(slot.view() for slot in self._slots)

    # The executor of the scheduler.

    def start(self, lease: Lease, request: Mapping[str, Any]) -> None:
        """Run a job on the worker of the lease."""
        worker = self._find(lease)
        if worker is None:
            return
        others = {one.name: one for one in self._list_ready()}
        drops = choose_drops(
            self.describe_machine().most_host_bytes, self._own_bytes(),
            request["demand"].host_bytes, worker.name,
            {name: one.holding for name, one in others.items()},
        )  # fmt: skip
        for name, size in drops.items():
            others[name].drop_networks(size)
            self._log.info("networks_dropped", worker=name, bytes=size, job=lease.job_id)
        worker.run(RunJob(
            lease=lease, definition=request["definition"], folder=Path(request["folder"]),
            plan=request["plan"], demand=request["demand"], keep_samples=request["samples"],
            is_traced=request["is_traced"], is_reduced=request["is_reduced"],
        ))  # fmt: skip

    def ask_to_yield(self, lease: Lease) -> None:
        """Ask the worker to give the job back after its current segment."""
        if worker := self._find(lease):
            worker.ask_to_yield()

    def ask_to_cancel(self, lease: Lease) -> None:
        """Ask the worker to stop the job, and kill it if it does not in time."""
        if worker := self._find(lease):
            worker.ask_to_cancel(self._settings.cancel_s)

    def kill(self, lease: Lease) -> None:
        """Let the worker, which has stalled, be killed; its end is reported by `handle`."""
        if worker := self._find(lease):
            worker.kill_at_s, worker.has_stalled = monotonic(), True
            self._inbox.wake()

    # Inside; all by the service's thread.

    def _list(self) -> list[WorkerHandle]:
        return [slot.worker for slot in self._slots if slot.worker] + self._ending

    def _list_ready(self) -> list[WorkerHandle]:
        return [slot.worker for slot in self._slots if slot.worker and slot.worker.idle]

    def _find(self, lease: Lease) -> WorkerHandle | None:
        return next((w for w in self._list() if w.name == lease.worker), None)

    def _start_due(self) -> None:
        """Start a worker in each place that has none."""
        started = False
        for slot in () if self._is_closing else self._slots:
            if slot.worker is not None or monotonic() < slot.due_s:
                continue
            setup = WorkerSetup(
                device=slot.device.name, visible_gpus=slot.device.visible_gpus,
                pins=self._settings.pin,
                device_bytes=slot.device.budget_bytes * USABLE_PERCENT // 100,
            )  # fmt: skip
            name = f"{slot.name}.{next(self._numbers)}"
            try:
                worker = WorkerHandle.spawn(name, setup)
            except OSError as error:
                slot.fail(f"no process can be started: {error.strerror}")
                continue
            self._inbox.listen(worker)
            with self._lock:
                slot.worker = worker
            started = True
        if started:
            pids = [w.child.process.pid for w in self._list()]
            remember_processes(self._settings.folder, filter(None, pids))

    def _take(self, worker: WorkerHandle, message: object) -> None:
        """Handle a message; what the queue is to know waits in order if the disk is full."""
        if isinstance(message, Idle):
            self._take_idle(worker, message)
            return
        assert isinstance(message, messages.JOB_MESSAGES)
        if isinstance(message, messages.Step):
            worker.progress = message.progress
            if worker.unreported:
                return  # the next one says more
        worker.unreported.append(message)

    def _take_idle(self, worker: WorkerHandle, idle: Idle) -> None:
        reports = self._require_reports()
        with self._lock:
            worker.take_idle(idle)
        if not idle.is_after_job:
            return  # it has dropped networks
        for warning in idle.warnings:
            self._log.warning("pin_not_loaded", worker=worker.name, message=warning)
        if not worker.is_ready:
            worker.is_ready = True
            slot = self._find_slot(worker)
            if slot is not None:
                slot.failures, slot.message = 0, ""
                reports.connected(worker.name, worker.device)
            return
        worker.jobs_done += 1
        most_bytes = (
            self._host_bytes * self._settings.recycle_percent // 100 // max(1, len(self._slots))
        )
        if reason := explain_recycling(worker.idle_bytes, most_bytes):
            worker.recycle_reason = reason
            self._log.warning("worker_recycled", worker=worker.name, reason=reason)
        elif is_near_limit(worker.idle_bytes, most_bytes):
            self._log.warning("worker_large", worker=worker.name, bytes=worker.idle_bytes[-1])

    def _flush(self, worker: WorkerHandle) -> None:
        """Report what waits. On a full disk the rest is reported by a later call."""
        while worker.unreported:
            message = worker.unreported[0]
            try:
                self._report(worker, message)
            except DiskFull as error:
                if not worker.has_trouble:
                    self._log.error("report_not_written", worker=worker.name, message=str(error))
                worker.has_trouble = True
                return
            except LeaseLost as error:
                self._log.warning("fenced", worker=worker.name, message=str(error))
                worker.kill("its lease has ended")
            except FilmgateError as error:
                self._log.error("report_refused", worker=worker.name, message=str(error))
                worker.kill(f"the queue refused what it reported: {error}")
            worker.has_trouble = False
            if worker.unreported and worker.unreported[0] is message:
                worker.unreported.popleft()
        if worker.recycle_reason:
            if worker.lease is None:
                self._replace(worker)
            elif not worker.is_asked_to_yield:
                worker.is_asked_to_yield = True
                worker.ask_to_yield()

    def _report(self, worker: WorkerHandle, message: messages.JobMessage) -> None:
        """Report one message of a job to the queue."""
        reports, lease = self._require_reports(), message.lease
        match message:
            case messages.Step():
                peak = worker.find_own(message.peak)
                reports.progressed(lease, message.number, message.progress, peak)
            case messages.Resumed():
                worker.segments = len(message.segments)
                reports.resumed(lease, message.segments)
            case messages.SegmentDone():
                reports.segment_done(lease, message.segment)
                worker.segments += 1
                worker.lease_s = monotonic()
            case messages.Notice():
                reports.noticed(lease, message.kind, message.data)
            case messages.Timed():
                reports.timed(lease, message.span)
            case messages.NewPreview():
                reports.previewed(lease, message.preview)
            case messages.Finished():
                reports.finished(lease, message.segments, message.result, message.device_s)
                reports.measured(lease, worker.find_own(message.peak).host_bytes)
                self._end_lease(worker)
            case messages.Failed():
                reports.failed(
                    lease, message.reason, message.message, message.may_retry, message.device_s
                )
                self._end_lease(worker)
                if message.ends:
                    worker.recycle_reason = f"its state is not trusted after {message.reason}"
            case messages.GaveBack():
                reports.gave_back(lease, message.device_s)
                self._end_lease(worker)
            case messages.Cancelled():
                reports.cancelled(lease, message.device_s)
                self._end_lease(worker)

    def _end_lease(self, worker: WorkerHandle) -> None:
        with self._lock:
            worker.lease = worker.progress = worker.kill_at_s = None
            worker.is_asked_to_yield = False

    def _check(self, worker: WorkerHandle, *, has_ended: bool) -> None:
        """Kill a worker whose time is over; report one that has ended.

        `has_ended`: all its messages were taken.
        """
        is_loading = not worker.is_ready and not worker.is_ending
        if is_loading and monotonic() - worker.started_s > self._settings.loading_s:
            worker.kill(f"it did not start in {self._settings.loading_s:g} s", stack=True)
            worker.started_s = monotonic()
        if worker.kill_at_s is not None and monotonic() >= worker.kill_at_s:
            worker.kill_at_s = None
            worker.kill("it made no progress, so it was killed", stack=True)
        if has_ended and not worker.child.process.is_alive():
            self._reap(worker)

    def _reap(self, worker: WorkerHandle) -> None:
        """Report a worker whose process has ended, all of whose messages were taken."""
        if worker.unreported:
            return  # on a full disk; what it has done comes first
        if worker in self._ending:
            self._ending.remove(worker)
            worker.close()
            return
        crash = worker.describe_crash()
        slot = self._find_slot(worker)
        if worker.is_ready:
            end = AttemptEnd.STALLED if worker.has_stalled else AttemptEnd.DIED
            if is_out_of_memory(crash["cause"], crash["hint"]):
                end = AttemptEnd.OUT_OF_MEMORY
            try:
                self._require_reports().disconnected(
                    worker.name, end, crash, worker.take_device_s()
                )
            except DiskFull as error:  # it counts, and is written later
                self._log.error("report_not_written", worker=worker.name, message=str(error))
        elif slot is not None:
            slot.fail(f"the worker ended before its first job: {crash['cause']}")
            self._log.error("worker_not_started", **crash)
        worker.close()
        if slot is not None:
            with self._lock:
                slot.worker = None

    def _replace(self, worker: WorkerHandle) -> None:
        slot = self._find_slot(worker)
        if slot is not None:
            self._retire(slot, AttemptEnd.STOPPED)
            self._start_due()

    def _retire(self, slot: WorkerSlot, end: AttemptEnd) -> None:
        """End a worker; a job that it still has continues on another one."""
        worker = slot.worker
        assert worker is not None, "the slot has one"
        if worker.is_ready:
            with suppress(DiskFull):  # it counts, and is written later
                self._require_reports().disconnected(worker.name, end, None, worker.take_device_s())
        with self._lock:
            slot.worker = None
        self._ending.append(worker)
        if worker.lease is not None or not worker.is_ready:
            worker.kill("the server ends")
        else:
            worker.end()

    def _find_slot(self, worker: WorkerHandle) -> WorkerSlot | None:
        return next((slot for slot in self._slots if slot.worker is worker), None)

    def _require_reports(self) -> Reports:
        assert self._reports is not None, "`open` was called"
        return self._reports
