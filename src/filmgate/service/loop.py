"""The thread of a service: handle what workers report, decide what is next, remove what is old."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic

from filmgate.errors import DiskFull
from filmgate.jobs.queue.job_queue import MAX_PAGE, JobQueue
from filmgate.jobs.queue.values import Demand, JobState
from filmgate.jobs.scheduler.dispatcher import Dispatcher
from filmgate.service.ballast import Ballast
from filmgate.service.contracts import Reports, WorkerPool
from filmgate.service.job_folder import JobFolder, find_orphans, remove_leftovers, remove_run
from filmgate.service.live_jobs import Tally
from filmgate.service.logs import ServiceLog

_TICK_S = 1.0  # between two decisions, if nothing happens
_PAUSE_S = 0.02  # at least, so that many changes are decided on together
_CLEAN_S = 60.0  # between two removals of what is too old


class ServiceLoop:
    """Runs until it is stopped. `trouble`: why it does not work now, "" if it does."""

    def __init__(
        self,
        queue: JobQueue,
        workers: WorkerPool,
        dispatcher: Dispatcher,
        lock: threading.RLock,
        tally: Tally,
        log: ServiceLog,
        keep_finished_s: float,
        ballast: Ballast,
        wake_plans: Callable[[], None],
    ) -> None:
        """`wake_plans`: called when jobs wait for their prediction again."""
        self._queue, self._workers, self._dispatcher = queue, workers, dispatcher
        self._lock, self._tally, self._log = lock, tally, log
        self._keep_finished_s, self._ballast = keep_finished_s, ballast
        self._wake_plans, self._most = wake_plans, Demand()
        self._thread: threading.Thread | None = None
        self._stopping, self._grace_s, self._cleaned_s = threading.Event(), 0.0, float("-inf")
        self._ended: SimpleQueue[tuple[str, bool]] = SimpleQueue()
        self.trouble = "the service has not started"

    def start(self, reports: Reports) -> None:
        """Start the workers and the thread."""
        self.trouble = ""
        self._thread = threading.Thread(
            target=self._run, args=(reports,), name="job service", daemon=True
        )
        self._thread.start()

    def stop(self, grace_s: float) -> None:
        """Stop the workers, which have `grace_s` for their segments, and the thread."""
        self.trouble, self._grace_s = "the server stops", grace_s
        self._stopping.set()
        self._workers.wake()
        if self._thread is not None:
            self._thread.join()

    def note_end(self, job_id: str, *, was_cancelled: bool) -> None:
        """Let what a job leaves that has ended be removed soon. Any thread may call it."""
        self._ended.put((job_id, was_cancelled))

    def clean(self) -> None:
        """Remove jobs that finished long ago, with the files that the service wrote for them.

        The ballast is written again if there is space.
        """
        for job_id in self._queue.files.remove_finished(self._keep_finished_s):
            remove_run(self._queue.files.folder / job_id)
        self._ballast.fill()

    def _run(self, reports: Reports) -> None:
        try:
            self._clean_orphans()
            self._workers.open(reports)
            while not self._stopping.is_set():
                self._workers.handle(_TICK_S)
                self._tick()
                self._stopping.wait(_PAUSE_S)
            self._workers.close(self._grace_s)
            self._clear_ended()
        except Exception as error:  # noqa: BLE001 - readiness says it, and the log where it is
            self.trouble = f"the service has ended: {type(error).__name__}: {error}"
            text = "".join(traceback.format_exception(error))
            self._log.error("service_failed", message=self.trouble, exception=text)
            with suppress(Exception):
                self._workers.close(0.0)

    def _tick(self) -> None:
        start_s = monotonic()
        try:
            self._clear_ended()
            with self._lock:
                machine = self._dispatcher.machine = self._workers.describe_machine()
                is_due = start_s - self._cleaned_s >= _CLEAN_S
                self._repeat_predictions(machine.most, is_due=is_due)
                self._dispatcher.tick()
                self._tally.tick_s.append(monotonic() - start_s)
                if is_due:
                    self._cleaned_s = start_s
                    self.clean()
            if not self._stopping.is_set():
                self.trouble = ""
        except (DiskFull, OSError) as error:
            if self._ballast.release():
                self._log.warning("ballast_released", message=str(error))
            if not self.trouble:
                self._log.error("queue_not_written", message=str(error))
            self.trouble = str(error)

    def _repeat_predictions(self, most: Demand, *, is_due: bool) -> None:
        """Let jobs that have become too large be predicted again: they would wait for ever.

        They were accepted by a server with more memory, or before a worker had loaded its pins.
        """
        before = self._most
        is_less = most.device_bytes < before.device_bytes or most.host_bytes < before.host_bytes
        if (is_less or is_due) and self._queue.predictions.repeat_too_large(most):
            self._wake_plans()
        self._most = most

    def _clear_ended(self) -> None:
        """Remove the runs of jobs that were cancelled, and unfinished files of all that ended."""
        with suppress(Empty):
            while True:
                job_id, was_cancelled = self._ended.get_nowait()
                JobFolder(self._queue, job_id).clear(keep_parts=not was_cancelled)

    def _clean_orphans(self) -> None:
        """Remove what a server that was killed has left: runs of removed jobs, unfinished files."""
        remove_leftovers(self._queue.files.folder.parent)
        known, latest = set[str](), 0
        while records := self._queue.list_jobs(after=latest, limit=MAX_PAGE):
            known |= {record.id for record in records}
            latest = records[-1].number
            for record in records:
                if record.state is JobState.CANCELLED:
                    JobFolder(self._queue, record.id).clear(keep_parts=False)
        for folder in find_orphans(self._queue.files.folder, known):
            remove_run(folder)
