"""A run in a child process, and how its parent talks to it."""

from __future__ import annotations

import faulthandler
import os
import secrets
import sys
import threading
import traceback
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from multiprocessing.connection import wait
from time import monotonic
from typing import Protocol

from filmgate.backends.child_text import ChildText
from filmgate.backends.death_causes import OUT_OF_RAM
from filmgate.backends.spawn import SHOW_STACKS, STOP, ChildProcess, Workers
from filmgate.backends.text_pipe import Connection
from filmgate.core.events import Committed, CrashReport, Event, Prepared, Progress, Started
from filmgate.core.job import Job
from filmgate.core.plan import Plan
from filmgate.core.snapshot import Snapshot
from filmgate.errors import FilmgateError
from filmgate.installation import explain_system_error


class Runner(Protocol):
    """What a child runs: a backend's `run`, at the top level of a module."""

    def __call__(
        self, job: Job, plan: Plan | None, resume: Snapshot | None, /, *, run_name: str
    ) -> Generator[Event, None, None]: ...


@dataclass(frozen=True, slots=True)
class WorkerTimeouts:
    """Seconds of silence after which a child counts as hung and is killed.

    `loading`: until the first progress (weights are loaded and compiled). Then `running`, or ten
    times its longest silence so far if that is more. `stopping`: after it was asked to stop.
    """

    loading: float = 1800.0
    running: float = 60.0
    stopping: float = 10.0


@dataclass(frozen=True, slots=True)
class RemoteError:
    """An error on its way to the parent; `kind` is its class if it is a FilmgateError."""

    kind: type[FilmgateError] | None
    message: str
    trace: str
    out_of_memory: bool
    attributes: Mapping[str, object]  # of a FilmgateError those that are plain

    @classmethod
    def describe(cls, error: BaseException) -> RemoteError:
        """Return an error that is being handled, for the parent."""
        out_of_memory = isinstance(error, MemoryError)
        if not out_of_memory:  # whose traceback says where it happened
            error = explain_system_error(error) or error
        kind = type(error) if isinstance(error, FilmgateError) else None
        message = str(error) if kind else f"{type(error).__name__}: {error}"
        plain = {k: v for k, v in vars(error).items() if isinstance(v, int | float | str)}
        return cls(kind, message, traceback.format_exc(), out_of_memory, plain if kind else {})

    def to_error(self) -> FilmgateError:
        """Return the same error in the parent."""
        if self.kind is None:
            hint = f"; {OUT_OF_RAM}" if self.out_of_memory else ""
            return FilmgateError(f"{self.message}{hint}\n{self.trace}")
        error = self.kind.__new__(self.kind)  # its own __init__ may take other arguments
        error.args = (self.message,)
        vars(error).update(self.attributes)
        return error


def _show(text: bytes) -> None:
    sys.stderr.write(text.decode(errors="replace"))
    sys.stderr.flush()


@dataclass
class _Run:
    """A run in its own process, seen from the parent."""

    child: ChildProcess
    timeouts: WorkerTimeouts
    plan: Plan | None = None  # reported when it started
    kill_reason: str = ""  # why we killed it
    ended: bool = False
    loading: bool = True
    longest_silence: float = 0.0
    next_s: float = 0.0  # that it predicts for its next move before the first frame
    read: int = 0
    segment: int = 0
    time: Fraction = Fraction(0)
    text: ChildText = field(init=False)

    def __post_init__(self) -> None:
        self.text = ChildText(self.child, _show)

    def events(self) -> Iterator[Event]:
        """Yield its events until it ends or dies. Raises what was raised in it."""
        while (message := self._receive()) is not None:
            if isinstance(message, RemoteError):
                raise message.to_error()
            if isinstance(message, Started):
                self.plan, self.read = message.plan, message.read
            elif isinstance(message, Prepared):
                self.next_s = message.next_s
            elif isinstance(message, Progress):
                self.read, self.time, self.loading = message.read, message.time, False
            elif isinstance(message, Committed):
                self.segment = message.snapshot.segment
            yield message

    def _receive(self) -> Event | RemoteError | None:
        """Return its next message, None if there is none; kill it if it is silent too long."""
        start = monotonic()
        limits = self.timeouts
        limit = max(limits.loading if self.loading else limits.running,
                    10 * max(self.longest_silence, self.next_s))  # fmt: skip
        while (left := start + limit - monotonic()) > 0:
            ready = wait([self.child.messages, *self.text.pipes], left)
            self.text.read(ready)
            if self.child.messages not in ready:
                continue
            try:
                message = self.child.messages.recv()
            except (EOFError, OSError):  # also if it died in the middle of a message
                self.child.process.join(limits.stopping)
                return None
            if not self.loading or isinstance(message, Prepared):
                self.longest_silence = max(self.longest_silence, monotonic() - start)
            self.ended = message is None
            return message  # type: ignore[no-any-return]
        self.kill_reason = f"it was silent for {limit:.1f} s, so it was killed"
        self.text.request_stack()
        self.child.process.kill()
        self.child.process.join()
        return None

    def describe_crash(self) -> CrashReport:
        """Return how it died; the process has ended."""
        cause, hint = self.text.explain_end()
        if self.kill_reason:
            cause, hint = self.kill_reason, ""
        return CrashReport(
            cause, self.read, self.time, self.segment, self.text.lines, self.text.stack, hint
        )

    def stop(self) -> None:
        """Ask it to stop; kill it if it does not in time, or at a second Ctrl-C."""
        try:
            if self.child.process.is_alive():
                with suppress(OSError):
                    self.child.control.send(STOP)
                end = monotonic() + self.timeouts.stopping
                while self.child.process.is_alive() and (left := end - monotonic()) > 0:
                    pipes = (self.child.messages, *self.text.pipes)
                    ready = wait([self.child.process.sentinel, *pipes], left)
                    self.text.read(ready)
                    if self.child.messages in ready:
                        with suppress(EOFError, OSError):
                            self.child.messages.recv()  # it may be blocked while sending
                            continue
                        self.child.process.join(max(0.0, end - monotonic()))
        finally:
            if self.child.process.is_alive():
                self.child.process.kill()
            self.child.process.join()
            self.text.read_rest()


@contextmanager
def start_child(
    runner: Runner,
    job: Job,
    plan: Plan | None,
    resume: Snapshot | None,
    timeouts: WorkerTimeouts,
    workers: Workers,
) -> Generator[_Run, None, None]:
    """Give a job to one of `workers`.

    It lives as long as the `with`; its hidden files are removed after it.
    """
    run_name = secrets.token_hex(4)
    process = workers.take()
    try:
        run = _Run(process, timeouts)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # it died: `events` finds out
                process.control.send((_run_job, runner, job, plan, resume, run_name))
            yield run
        finally:
            try:
                run.stop()
            finally:
                _remove_leftovers(job, run_name)
    finally:
        process.close()


def _run_job(
    runner: Runner, job: Job, plan: Plan | None, resume: Snapshot | None, run_name: str,
    sender: Connection, receiver: Connection, stacks: int,
) -> None:  # fmt: skip
    """Run the job in the child and send its events, then an error or None."""
    stopped, finished = threading.Event(), threading.Event()

    def wait_for_parent() -> None:
        with suppress(EOFError, OSError):
            while receiver.recv() == SHOW_STACKS:
                faulthandler.dump_traceback(stacks)
            stopped.set()
            receiver.recv()
        stopped.set()  # the parent is gone
        if not finished.wait(0.5):  # the run may be in a long step, or blocked while sending
            _remove_leftovers(job, run_name)
            os._exit(1)

    threading.Thread(target=wait_for_parent, name="control", daemon=True).start()
    last: RemoteError | None = None
    try:
        with closing(runner(job, plan, resume, run_name=run_name)) as events:
            for event in events:
                sender.send(event)
                if stopped.is_set():
                    break
    except BaseException as raised:  # noqa: BLE001 - it is raised again in the parent
        last = RemoteError.describe(raised)
    _remove_leftovers(job, run_name)  # the parent does it too, unless it was killed
    with suppress(OSError):
        sender.send(last)
    finished.set()
    sys.stdout.flush()
    sys.stderr.flush()


def _remove_leftovers(job: Job, run_name: str) -> None:
    """Remove the hidden files of the run of this name."""
    for sink in job.sinks:
        for path in sink.find_leftovers(run_name):
            path.unlink(missing_ok=True)
