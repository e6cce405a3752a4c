"""Leases: which worker may report on which job, until its connection ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from filmgate.errors import BadSetting, JobConflict, LeaseLost, UnknownJob
from filmgate.jobs.queue import checks
from filmgate.jobs.queue.backoff import Uniform, compute_backoff_s
from filmgate.jobs.queue.changes import (
    add_event,
    charge,
    end_attempt,
    end_job,
    find_job,
    has_run_out_of_memory,
    make_storable,
    raise_reservation,
    requeue,
)
from filmgate.jobs.queue.connections import Connection
from filmgate.jobs.queue.database import Database, Transaction
from filmgate.jobs.queue.rows import JOB_COLUMNS, read_job, read_segment
from filmgate.jobs.queue.values import (
    CRASHES,
    HELD_STATES,
    AttemptEnd,
    Demand,
    Held,
    JobRecord,
    JobState,
    Lease,
    MemoryUse,
    Segment,
)
from filmgate.jobs.queue.verdicts import Ending, Troubles, judge

HELD_JOBS = (
    f"SELECT {JOB_COLUMNS} FROM job WHERE finished_ms IS NULL AND state IN ("
    + ", ".join(f"'{state}'" for state in HELD_STATES)
    + ") ORDER BY number"
)


class Leases:
    """The workers that are connected, and their leases, which no clock ends. For one thread.

    Each lease has an epoch: the number of the job's leases so far. A worker that is still busy
    after its lease moved on has an older epoch, and can neither add a segment nor finish.
    """

    def __init__(
        self, database: Database, monotonic_s: Callable[[], float], uniform: Uniform
    ) -> None:
        self._database, self._monotonic_s, self._uniform = database, monotonic_s, uniform
        self._workers: dict[str, Connection] = {}
        self._unwritten: list[Ending] = []
        self._recover()

    def connect(self, worker: str, device: str) -> None:
        """Add a worker; its name is new for each connection. Raises BadSetting."""
        checks.check_text(worker, checks.NAME, "worker")
        checks.check_text(device, checks.NAME, "device")
        if worker in self._workers:
            raise BadSetting(f"worker {worker} is connected already: give each connection a name")
        self._workers[worker] = Connection(device)

    def disconnect(
        self,
        worker: str,
        end: AttemptEnd = AttemptEnd.LOST,
        crash: Mapping[str, Any] | None = None,
        device_s: float = 0.0,
    ) -> None:
        """End a worker's connection and with it its lease, whatever the disk says.

        `crash`: what is known about its death. Raises DiskFull if the end cannot be written: it
        counts nevertheless, and is written by a later call or by `settle`.
        """
        if end not in (*CRASHES, AttemptEnd.LOST, AttemptEnd.STOPPED):
            raise BadSetting(f"a connection cannot end as {end}: report that before it ends")
        gone = self._workers.pop(worker, None)
        if gone and gone.lease:
            report, seconds = make_storable(crash, device_s)
            self._unwritten.append(Ending(gone.lease, end, seconds, report, memory=gone.memory))
        self.settle()

    def settle(self) -> None:
        """Write the ends of leases that could not be written before. Raises DiskFull."""
        while self._unwritten:
            with suppress(LeaseLost, UnknownJob):  # written, though its answer was an error
                self._end(self._unwritten[0])
            del self._unwritten[0]

    def claim(self, job_id: str, worker: str, reserved: Demand | None = None) -> Lease:
        """Give a waiting job to a worker without one, with the memory `reserved` for it.

        Default: what it takes. Raises JobConflict, UnknownJob, LeaseLost.
        """
        state = self._workers.get(worker)
        if state is None:
            raise LeaseLost(f"worker {worker} is not connected: connect it again")
        if state.lease is not None:
            raise JobConflict(f"worker {worker} has job {state.lease.job_id}: wait for its end")
        with self._database.write() as change:
            job = find_job(change, job_id)
            is_due = job.is_planned and job.not_before_ms <= change.now_ms
            if job.state is not JobState.QUEUED or not is_due:
                raise JobConflict(f"job {job_id} is {job.state}, wanted one that may start")
            lease = Lease(job.id, job.epoch + 1, worker)
            reserved = reserved or job.demand
            change.change(
                "UPDATE job SET state = 'leased', epoch = ?, worker = ? WHERE number = ?",
                lease.epoch, worker, job.number,
            )  # fmt: skip
            change.change(
                "INSERT INTO attempt (job, epoch, worker, device, started_ms) "
                "VALUES (?, ?, ?, ?, ?)",
                job.number, lease.epoch, worker, state.device, change.now_ms,
            )  # fmt: skip
            change.change(
                "UPDATE account SET served_ms = ? WHERE tenant = ? AND class = ?",
                change.now_ms, job.tenant, job.job_class,
            )  # fmt: skip
            add_event(
                change, job, "leased", epoch=lease.epoch, device=state.device,
                device_bytes=reserved.device_bytes, host_bytes=reserved.host_bytes,
            )  # fmt: skip
        now_s = self._monotonic_s()
        self._workers[worker] = Connection.for_lease(state.device, lease, reserved, now_s)
        return lease

    def report_progress(self, lease: Lease, step: int, peak: Demand | None = None) -> bool:
        """Record that a step of the job is done; return whether that is progress.

        Steps are counted by the worker, and only a larger number than before is a sign of life.
        The first one makes the job running. `peak`: the memory that it took, for the reservation
        of its next attempt. Raises LeaseLost.
        """
        worker = self._require(lease)
        worker.note_peak(peak or Demand())
        if step <= worker.step:
            return False
        if worker.step < 0:
            with self._database.write() as change:
                job = self._find_held(change, lease)
                change.change("UPDATE job SET state = 'running' WHERE number = ?", job.number)
                add_event(change, job, "running", epoch=lease.epoch)
        worker.beat(step, self._monotonic_s())
        return True

    def expect_long_step(self, lease: Lease) -> None:
        """Allow the next step as much time as loading, such as joining all segments.

        Raises LeaseLost.
        """
        worker = self._require(lease)
        worker.is_in_long_step, worker.beat_s = True, self._monotonic_s()

    def record_event(self, lease: Lease, kind: str, **data: object) -> None:
        """Add an event that the worker reports, such as progress to show. Raises LeaseLost."""
        self._require(lease)
        with self._database.write() as change:
            add_event(change, self._find_held(change, lease), kind, **data)

    def commit_segment(self, lease: Lease, segment: Segment) -> None:
        """Add the next segment, whose file is durable. The same one again changes nothing.

        Raises LeaseLost: the worker deletes its file and stops; JobConflict if it is not the next.
        """
        worker = self._require(lease)
        checks.check_segment(segment)
        with self._database.write() as change:
            job = self._find_held(change, lease)
            if segment.number < job.segments and _is_stored(change, job, segment):
                return
            if segment.number != job.segments:
                raise JobConflict(
                    f"segment {segment.number} of job {job.id} is not the next one, which is "
                    f"{job.segments}: continue after the segments that are stored"
                )
            change.change(
                "INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?, ?)",
                job.number, segment.number, lease.epoch, segment.frames, segment.size_bytes,
                segment.sha256, segment.name,
            )  # fmt: skip
            change.change(
                "UPDATE job SET segments = segments + 1, crashes = 0, failures = 0, losses = 0, "
                "state = 'running' WHERE number = ?",
                job.number,
            )
            charge(change, job, segment.device_s)
            add_event(change, job, "segment", number=segment.number, frames=segment.frames)
        worker.beat_s = worker.charged_s = self._monotonic_s()

    def rewind(self, lease: Lease, segments: int) -> None:
        """Remove the segments from number `segments` on: their files are damaged or gone.

        Raises LeaseLost; JobConflict if there are fewer.
        """
        self._require(lease)
        with self._database.write() as change:
            job = self._find_held(change, lease)
            if not 0 <= segments <= job.segments:
                raise JobConflict(f"job {job.id} has {job.segments} segments, not {segments}")
            change.change("DELETE FROM segment WHERE job = ? AND number >= ?", job.number, segments)
            change.change("UPDATE job SET segments = ? WHERE number = ?", segments, job.number)
            add_event(change, job, "rewound", segments=segments)

    def finish(
        self, lease: Lease, segments: int, result: Mapping[str, Any], device_s: float = 0.0
    ) -> None:
        """End the job as done; `segments`: how many the result was made of.

        A second time, as after an answer that was lost, changes nothing. Raises LeaseLost;
        JobConflict if another number of segments is stored.
        """
        if self._is_finished(lease):
            return
        self._require(lease)
        with self._database.write() as change:
            job = self._find_held(change, lease)
            if segments != job.segments:
                raise JobConflict(f"the result of job {job.id} has {segments} segments, and "
                                  f"{job.segments} are stored: add them first")  # fmt: skip
            end_attempt(change, job, AttemptEnd.DONE, None)
            charge(change, job, device_s)
            end_job(change, job, JobState.DONE, result=result)
        self._release(lease)

    def fail(
        self, lease: Lease, reason: str, message: str, may_retry: bool, device_s: float = 0.0
    ) -> None:
        """End the attempt with an error of the worker; with `may_retry` the job waits again.

        `reason` is one word. Raises LeaseLost.
        """
        worker = self._require(lease)
        checks.check_text(reason, checks.WORD, "reason")
        self._end(Ending(
            lease, AttemptEnd.FAILED, device_s, None, reason, message, may_retry, worker.memory
        ))  # fmt: skip
        self._release(lease)

    def postpone(
        self, lease: Lease, reason: str, message: str, delay_s: float, device_s: float = 0.0
    ) -> None:
        """End the attempt without fault of the job, such as on a full disk; it waits `delay_s`.

        Raises LeaseLost.
        """
        self._require(lease)
        checks.check_text(reason, checks.WORD, "reason")
        with self._database.write() as change:
            job = self._find_held(change, lease)
            end_attempt(change, job, AttemptEnd.YIELDED, None)
            charge(change, job, device_s)
            if job.is_cancel_requested:
                end_job(change, job, JobState.CANCELLED)
            else:
                requeue(change, job, delay_s, reason=reason, message=message[: checks.MAX_TEXT])
        self._release(lease)

    def give_back(self, lease: Lease, device_s: float = 0.0) -> None:
        """End the attempt at a segment boundary, because the worker was asked. Raises LeaseLost."""
        worker = self._require(lease)
        self._end(Ending(lease, AttemptEnd.YIELDED, device_s, memory=worker.memory))
        self._release(lease)

    def confirm_cancel(self, lease: Lease, device_s: float = 0.0) -> None:
        """End the job as cancelled, as its worker has stopped. Raises LeaseLost, JobConflict."""
        self._require(lease)
        with self._database.read() as view:
            if not self._find_held(view, lease).is_cancel_requested:
                raise JobConflict(f"job {lease.job_id} was not cancelled: give it back instead")
        self._end(Ending(lease, AttemptEnd.CANCELLED, device_s))
        self._release(lease)

    def find_idle(self) -> dict[str, str]:
        """Return the devices of the connected workers without a lease, by worker."""
        return {name: worker.device for name, worker in self._workers.items() if not worker.lease}

    def find_held(self) -> dict[str, Held]:
        """Return the leases of the connected workers, by job."""
        now_s = self._monotonic_s()
        return {
            lease.job_id: Held(
                lease,
                worker.device,
                now_s - worker.started_s,
                now_s - worker.charged_s,
                worker.memory.reserved,
            )
            for worker in self._workers.values()
            if (lease := worker.lease)
        }

    def find_memory(self, lease: Lease) -> MemoryUse:
        """Return what the attempt has reserved and taken so far. Raises LeaseLost."""
        return self._require(lease).memory

    def find_silent(self, loading_s: float, running_s: float) -> list[Lease]:
        """Return the leases without progress for so long: their workers are to be killed.

        `loading_s` counts until the first progress, `running_s` afterwards.
        """
        now_s = self._monotonic_s()
        return [
            worker.lease
            for worker in self._workers.values()
            if worker.lease and worker.is_silent(now_s, loading_s, running_s)
        ]

    def _is_finished(self, lease: Lease) -> bool:
        with self._database.read() as view, suppress(UnknownJob):
            job = find_job(view, lease.job_id)
            return job.state is JobState.DONE and job.epoch == lease.epoch
        return False

    def _require(self, lease: Lease) -> Connection:
        worker = self._workers.get(lease.worker)
        if worker is None or worker.lease != lease:
            raise _explain_lost(lease)
        return worker

    def _find_held(self, change: Transaction, lease: Lease) -> JobRecord:
        job = find_job(change, lease.job_id)
        if job.state not in HELD_STATES or (job.epoch, job.worker) != (lease.epoch, lease.worker):
            raise _explain_lost(lease)
        return job

    def _release(self, lease: Lease) -> None:
        worker = self._workers[lease.worker]
        self._workers[lease.worker] = Connection(worker.device)

    def _end(self, ending: Ending) -> None:
        with self._database.write() as change:
            job = self._find_held(change, ending.lease)
            self._end_held(change, job, ending)

    def _end_held(self, change: Transaction, job: JobRecord, ending: Ending) -> None:
        """End an attempt that did not finish its job, and choose what the job does next."""
        end = ending.end
        end_attempt(change, job, end, ending.crash)
        charge(change, job, ending.device_s)
        if job.is_cancel_requested:
            end_job(change, job, JobState.CANCELLED)
            return
        crashes, failures = job.crashes + (end in CRASHES), job.failures + ending.may_retry
        losses = job.losses + (end is AttemptEnd.LOST)
        change.change(
            "UPDATE job SET crashes = ?, failures = ?, losses = ? WHERE number = ?",
            crashes, failures, losses, job.number,
        )  # fmt: skip
        troubles = Troubles(
            crashes=crashes, failures=failures, losses=losses,
            was_reduced=has_run_out_of_memory(change, job, before=job.epoch),
        )  # fmt: skip
        if verdict := judge(job, ending, troubles):
            end_job(change, job, JobState.FAILED, *verdict)
        else:
            raise_reservation(change, job, ending)
            is_quiet = end in (AttemptEnd.YIELDED, AttemptEnd.STOPPED)
            count = 0 if is_quiet else crashes + failures + losses
            delay_s = compute_backoff_s(count, self._uniform)
            requeue(change, job, delay_s, end=str(end))

    def _recover(self) -> None:
        """End every lease of an earlier process: its connections ended with it."""
        with self._database.write() as change:
            for job in map(read_job, change.rows(HELD_JOBS)):
                lease = Lease(job.id, job.epoch, job.worker or "")
                self._end_held(change, job, Ending(lease, AttemptEnd.STOPPED))


def _is_stored(change: Transaction, job: JobRecord, segment: Segment) -> bool:
    row = change.row(
        "SELECT * FROM segment WHERE job = ? AND number = ?", job.number, segment.number
    )
    if row is None:
        return False
    stored = read_segment(row)
    return (stored.sha256, stored.frames, stored.name) == (
        segment.sha256, segment.frames, segment.name,
    )  # fmt: skip


def _explain_lost(lease: Lease) -> LeaseLost:
    return LeaseLost(
        f"worker {lease.worker} no longer holds job {lease.job_id} (lease {lease.epoch}): delete "
        "what was not added, and stop"
    )
