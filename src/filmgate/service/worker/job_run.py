"""Run one job in a worker, and report it step by step."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time_ns
from typing import Any

import filmgate as fg
from filmgate.core.events import (
    Committed,
    Done,
    Event,
    Prepared,
    Progress,
    Replanned,
    Started,
    Warned,
)
from filmgate.core.instrumentation.memory import make_memory_meter
from filmgate.core.plan import Plan
from filmgate.errors import (
    BadOutput,
    BadSetting,
    Busy,
    DiskFull,
    FilmgateError,
    NotFetched,
    NotLoaded,
    OutOfMemory,
)
from filmgate.installation import explain_system_error
from filmgate.jobs.journal import has_journal
from filmgate.jobs.options import ResumeOptions
from filmgate.jobs.queue.values import Demand, Lease, Segment
from filmgate.jobs.run_directory import COMMITS, RunDirectory
from filmgate.service.contracts import Preview, Result, name_reason
from filmgate.service.job_folder import RUN, remove_leftovers, remove_run
from filmgate.service.schema import JobDefinition
from filmgate.service.telemetry.traces import Span
from filmgate.service.views import JobProgress
from filmgate.service.worker import messages
from filmgate.service.worker.frame_watcher import FrameWatcher
from filmgate.service.worker.messages import JobMessage, RunJob
from filmgate.service.worker.reduced_plan import reduce_run
from filmgate.service.worker.warm_models import WarmModels, measure_device_peak
from filmgate.storage.fingerprint import sha256_of
from filmgate.tasks.settings import make_adapter

_STEP_S = 0.02  # between two reports of progress, at least
_SEGMENT = re.compile(r"\d{6,}\.(?!snapshot)\w+")  # a finished piece of the result
_RETRIED = (BadOutput, Busy, DiskFull, NotFetched, NotLoaded, OutOfMemory)
_REDUCED = "the machine ran out of memory: the job continues with one frame at a time"
_NOT_REDUCED = "the machine ran out of memory, and the job has no settings yet to be made smaller"
_UNCERTAIN = (NotLoaded, OutOfMemory)  # after them the state of the process is not trusted


class Cancelled(BaseException):
    """The job was cancelled; no `except Exception` of a stage takes it for an error."""


class GivenBack(BaseException):
    """The job stops at a commit, because the server asked for it."""


@dataclass
class Orders:
    """What the server has asked for since the job began."""

    give_back: bool = False
    cancel: bool = False


@dataclass
class JobRun:
    """One attempt at a job. `send` gets what is to be reported."""

    order: RunJob
    send: Callable[[JobMessage], None]
    models: WarmModels
    orders: Orders
    _step: int = -1
    _sent_s: float = float("-inf")
    _charged_s: float = field(default_factory=monotonic)
    _timed_s: float = field(default_factory=monotonic)
    _busy: Mapping[str, float] = field(default_factory=dict)
    _timed_busy: Mapping[str, float] = field(default_factory=dict)
    _started_s: float = 0.0
    _start: int = 0
    _frames: int | None = None
    _progress: JobProgress = field(default_factory=lambda: JobProgress(phase="loading"))
    _names: list[str] = field(default_factory=list)
    _written: int = 0
    _measure: Callable[[], int] = field(default_factory=make_memory_meter)
    _peak_bytes: int = 0

    @property
    def lease(self) -> Lease:
        """The lease that it works under."""
        return self.order.lease

    @property
    def _peak(self) -> Demand:
        """The most memory that the process was seen to have in this run.

        On the device without the networks of earlier jobs.
        """
        device_bytes = max(0, measure_device_peak() - self.models.left_bytes)
        return Demand(device_bytes, self._peak_bytes)

    def run(self) -> None:
        """Run the job to its end, or until it is stopped; report how it ended."""
        folder = self.order.folder
        try:
            definition = JobDefinition.from_json(self.order.definition)
            self._run(definition, folder)
        except GivenBack:
            self.send(messages.GaveBack(self.lease, self._take_device_s()))
        except Cancelled:
            remove_run(folder)
            self.send(messages.Cancelled(self.lease, self._take_device_s()))
        except FilmgateError as error:
            self._fail(error, ends=isinstance(error, _UNCERTAIN))
        except Exception as error:  # noqa: BLE001 - it ends the job, and this process
            self._fail(explain_system_error(error) or error, ends=True)

    def _run(self, definition: JobDefinition, folder: Path) -> None:
        remove_leftovers(folder)
        result = folder / definition.sink.path
        if result.exists() and not (folder / RUN / COMMITS).exists():  # its end was not reported
            self._finish(result, None, Done(0, 0, 0.0))
            return
        try:
            done = self._run_from(definition, folder, restart=False)
        except BadSetting as error:
            if self._started_s or not (folder / RUN).exists():
                raise
            self._notice("restarted", message=str(error))
            done = self._run_from(definition, folder, restart=True)
        self._finish(result, len(self._names) if self._started_s else None, done)

    def _run_from(self, definition: JobDefinition, folder: Path, *, restart: bool) -> Done:
        """Run the job, from its latest commit on, and return its last event."""
        watch = FrameWatcher(self._show, folder if self.order.keep_samples else None)
        directory = RunDirectory(folder / RUN)
        is_started = (directory.path / COMMITS).exists() or has_journal(directory)
        plan = None if is_started and not restart else read_plan(self.order.plan)
        if self.order.is_reduced:
            plan = reduce_run(directory, plan, is_started=is_started and not restart)
            self._notice("degraded", message=_REDUCED if plan else _NOT_REDUCED)
        options = ResumeOptions(work=directory.path, playable=True, restart=restart)
        run = fg.events(
            definition.make_job(folder), plan, resume_options=options, limits=definition.limits,
            models=self.models, watch=watch,
        )  # fmt: skip
        with closing(run):
            for event in run:
                self._take(event, directory, watch)
                if isinstance(event, Done):
                    done = event
        return done

    def _take(self, event: Event, directory: RunDirectory, watch: FrameWatcher) -> None:
        """Report an event of the run, and stop it if that was asked for."""
        if isinstance(event, Started):
            watch.set_length(event.source.frames)
            self._started_s, self._start, self._frames = (
                monotonic(),
                event.read,
                event.source.frames,
            )
            self._names = _list_segments(directory)
            self._written = _read_written(directory)
            segments = tuple(
                _describe(directory, n, name, self._written, 0.0)
                for n, name in enumerate(self._names)
            )
            self.send(messages.Resumed(self.lease, segments))
            self._time("load")
        elif isinstance(event, Prepared):
            self._beat()
        elif isinstance(event, Progress):
            self._peak_bytes = max(self._peak_bytes, event.resident_bytes)
            self._busy = event.busy
            elapsed_s = monotonic() - self._started_s
            fps = (event.read - self._start) / elapsed_s if elapsed_s > 0 else None
            self._progress = JobProgress(
                phase="running", read=event.read, written=event.written, frames=self._frames,
                fps=fps,
            )  # fmt: skip
            self._beat()
        elif isinstance(event, Committed):
            self._report_segments(event, directory)
            if event.snapshot.state is None:
                return  # the result has its name
            if self.orders.give_back:
                raise GivenBack
        elif isinstance(event, Replanned):
            self._notice("degraded", stage=event.stage, batch=event.batch, why=event.why[:500])
        elif isinstance(event, Warned):
            self._notice("warning", message=event.message[:1000])
        if self.orders.cancel and not isinstance(event, Done):
            raise Cancelled

    def _report_segments(self, event: Committed, directory: RunDirectory) -> None:
        """Report the files that this commit has added; one between two segments adds none."""
        written, before, first = event.snapshot.written, self._written, len(self._names)
        for name in _list_segments(directory)[len(self._names) :]:
            number = len(self._names)
            self._names.append(name)
            frames, self._written = written - before, written
            segment = _describe(directory, number, name, frames, self._take_device_s())
            self.send(messages.SegmentDone(self.lease, segment))
        if len(self._names) > first:
            busy_s = {f"filmgate.busy_s.{part}": round(seconds - self._timed_busy.get(part, 0.0), 6)
                      for part, seconds in self._busy.items()}  # fmt: skip
            self._timed_busy = dict(self._busy)
            self._time("segment", **{"filmgate.segment": len(self._names) - 1,
                                     "filmgate.frames": written - before, **busy_s})  # fmt: skip

    def _finish(self, result: Path, segments: int | None, done: Done) -> None:
        """Report the result; reading it all again takes a while for a large one."""
        remove_run(self.order.folder)  # what is left of one that was killed at its beginning
        self._progress = JobProgress(
            phase="finishing", read=done.read, written=done.written, frames=self._frames
        )
        self._beat(at_once=True)
        sha256 = sha256_of(result, lambda *_: self._beat())
        self._time("finish")
        own = Result(
            name=result.name, size_bytes=result.stat().st_size, sha256=sha256,
            frames=done.written, seconds=done.seconds, concealed=done.concealed,
            is_complete=done.is_complete,
        )  # fmt: skip
        self.send(messages.Finished(self.lease, segments, own, self._take_device_s(), self._peak))

    def _fail(self, error: BaseException, *, ends: bool) -> None:
        is_known = isinstance(error, FilmgateError)
        message = str(error) if is_known else f"{type(error).__name__}: {error}"
        self.send(messages.Failed(
            self.lease, name_reason(error) if is_known else "internal", message,
            not is_known or isinstance(error, _RETRIED), self._take_device_s(), ends,
        ))  # fmt: skip

    def _beat(self, *, at_once: bool = False) -> None:
        """Report a step that is done, but not each of many short ones."""
        if at_once or monotonic() - self._sent_s >= _STEP_S:
            self._step, self._sent_s = self._step + 1, monotonic()
            self._peak_bytes = max(self._peak_bytes, self._measure())
            self.send(messages.Step(self.lease, self._step, self._progress, self._peak))

    def _time(self, name: str, **attributes: str | int | float) -> None:
        """Report what took the time since this was called last, if the job is traced."""
        now_s, end_ns = monotonic(), time_ns()
        start_ns = end_ns - int((now_s - self._timed_s) * 1e9)
        self._timed_s = now_s
        if self.order.is_traced:
            span = Span(name=name, start_ns=start_ns, end_ns=end_ns, attributes=attributes)
            self.send(messages.Timed(self.lease, span))

    def _notice(self, kind: str, **data: object) -> None:
        self.send(messages.Notice(self.lease, kind, data))

    def _show(self, preview: Preview) -> None:
        self.send(messages.NewPreview(self.lease, preview))

    def _take_device_s(self) -> float:
        """Return the seconds since they were charged last."""
        now_s = monotonic()
        seconds, self._charged_s = now_s - self._charged_s, now_s
        return seconds


def read_plan(form: Mapping[str, Any] | None) -> Plan | None:
    """Return the plan that was stored with a job. Raises BadSetting."""
    if not form or not form.get("settings"):
        return None
    from pydantic import ValidationError

    try:
        return make_adapter(Plan).validate_python(form["settings"])
    except ValidationError as error:
        raise BadSetting(f"the stored plan of the job cannot be read: {error.errors()[0]['msg']}. "
                         "Submit it again") from error  # fmt: skip


def _list_segments(directory: RunDirectory) -> list[str]:
    names = [entry.name for entry in directory.path.iterdir() if _SEGMENT.fullmatch(entry.name)]
    return sorted(names)


def _read_written(directory: RunDirectory) -> int:
    """Return how many frames of the result the latest commit contains."""
    snapshots = directory.read_json(COMMITS).get("snapshots")
    first = snapshots[0] if isinstance(snapshots, list) and snapshots else {}
    written = first.get("written") if isinstance(first, dict) else 0
    return written if isinstance(written, int) and 0 <= written < 1 << 40 else 0


def _describe(
    directory: RunDirectory, number: int, name: str, frames: int, device_s: float
) -> Segment:
    path = directory.path / name
    return Segment(
        number=number, frames=frames, size_bytes=path.stat().st_size, sha256=sha256_of(path),
        name=name, device_s=device_s,
    )  # fmt: skip
