"""A run in a child process, and how its parent talks to it."""

import os
import secrets
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from multiprocessing.connection import wait
from time import monotonic
from typing import Protocol

from filmgate.backends.death_causes import (
    OUT_OF_RAM,
    count_oom_kills,
    explain_exit_code,
    explain_signal,
)
from filmgate.backends.spawn import SHOW_STACKS, STOP, ChildProcess, show_stacks, take_child
from filmgate.backends.text_pipe import Connection, read_text
from filmgate.core.events import Committed, CrashReport, Event, Progress, Started
from filmgate.core.job import Job
from filmgate.core.plan import Plan
from filmgate.core.snapshot import Snapshot
from filmgate.errors import FilmgateError
from filmgate.installation import explain_system_error

KEPT_LINES = 50  # of standard error, for crash reports


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

    def to_error(self) -> FilmgateError:
        """Return the same error in the parent."""
        if self.kind is None:
            hint = f"; {OUT_OF_RAM}" if self.out_of_memory else ""
            return FilmgateError(f"{self.message}{hint}\n{self.trace}")
        error = self.kind.__new__(self.kind)  # its own __init__ may take other arguments
        error.args = (self.message,)
        vars(error).update(self.attributes)
        return error


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
    read: int = 0
    segment: int = 0
    time: Fraction = Fraction(0)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    last_line: bytes = b""
    stack: bytes = b""
    oom_kills: int | None = field(default_factory=count_oom_kills)

    def events(self) -> Iterator[Event]:
        """Yield its events until it ends or dies. Raises what was raised in it."""
        while (message := self._receive()) is not None:
            if isinstance(message, RemoteError):
                raise message.to_error()
            if isinstance(message, Started):
                self.plan, self.read = message.plan, message.read
            elif isinstance(message, Progress):
                self.read, self.time, self.loading = message.read, message.time, False
            elif isinstance(message, Committed):
                self.segment = message.snapshot.segment
            yield message

    def _receive(self) -> Event | RemoteError | None:
        """Return its next message, None if there is none; kill it if it is silent too long."""
        start = monotonic()
        limits = self.timeouts
        limit = limits.loading if self.loading else max(limits.running, 10 * self.longest_silence)
        while (left := start + limit - monotonic()) > 0:
            ready = wait([self.child.messages, *self._list_text_pipes()], left)
            self._read_text(ready)
            if self.child.messages not in ready:
                continue
            try:
                message = self.child.messages.recv()
            except (EOFError, OSError):  # also if it died in the middle of a message
                self.child.process.join(limits.stopping)
                return None
            if not self.loading:
                self.longest_silence = max(self.longest_silence, monotonic() - start)
            self.ended = message is None
            return message  # type: ignore[no-any-return]
        self.kill_reason = f"it was silent for {limit:.1f} s, so it was killed"
        self._request_stack()
        self.child.process.kill()
        self.child.process.join()
        return None

    def _list_text_pipes(self) -> list[Connection]:
        return [pipe for pipe in (self.child.stderr, self.child.stacks) if not pipe.closed]

    def _read_text(self, ready: Sequence[object]) -> None:
        """Read what is in the two pipes of text; standard error is shown as well."""
        for pipe in self._list_text_pipes():
            if pipe not in ready:
                continue
            text = read_text(pipe)
            if not text:
                pipe.close()
            elif pipe is self.child.stacks:
                self.stack += text
            else:
                sys.stderr.write(text.decode(errors="replace"))
                sys.stderr.flush()
                *complete, self.last_line = (self.last_line + text).split(b"\n")
                self.lines += [
                    line.decode(errors="replace").removesuffix("\r") for line in complete
                ]

    def _read_remaining_text(self) -> None:
        while ready := wait(self._list_text_pipes(), 0.0):
            self._read_text(ready)

    def _request_stack(self) -> None:
        """Ask for the stack of every thread.

        The handler of the signal is C code: it works if Python hangs. On Windows a thread of the
        child answers, so it does not.
        """
        if sys.platform == "win32":
            with suppress(OSError):
                self.child.control.send(SHOW_STACKS)
        elif self.child.process.pid:
            with suppress(ProcessLookupError):
                os.kill(self.child.process.pid, signal.SIGUSR1)
        while not self.child.stacks.closed and self.child.stacks.poll(1.0):
            self._read_text([self.child.stacks])
            if self.stack.count(b"\n") and not self.child.stacks.poll(0.1):
                break

    def describe_crash(self) -> CrashReport:
        """Return how it died; the process has ended."""
        self._read_remaining_text()
        code = self.child.process.exitcode
        cause, hint = self.kill_reason or explain_exit_code(code), ""
        if not self.kill_reason and code is not None and code < 0:
            cause = signal.Signals(-code).name
            hint = explain_signal(cause, self.oom_kills, count_oom_kills())
        last = [self.last_line.decode(errors="replace")] if self.last_line else []
        stack = self.stack.decode(errors="replace")
        lines = (*self.lines, *last)
        return CrashReport(cause, self.read, self.time, self.segment, lines, stack, hint)

    def stop(self) -> None:
        """Ask it to stop; kill it if it does not in time, or at a second Ctrl-C."""
        try:
            if self.child.process.is_alive():
                with suppress(OSError):
                    self.child.control.send(STOP)
                end = monotonic() + self.timeouts.stopping
                while self.child.process.is_alive() and (left := end - monotonic()) > 0:
                    pipes = (self.child.messages, *self._list_text_pipes())
                    ready = wait([self.child.process.sentinel, *pipes], left)
                    self._read_text(ready)
                    if self.child.messages in ready:
                        with suppress(EOFError, OSError):
                            self.child.messages.recv()  # it may be blocked while sending
                            continue
                        self.child.process.join(max(0.0, end - monotonic()))
        finally:
            if self.child.process.is_alive():
                self.child.process.kill()
            self.child.process.join()
            self._read_remaining_text()


@contextmanager
def start_child(
    runner: Runner,
    job: Job,
    plan: Plan | None,
    resume: Snapshot | None,
    timeouts: WorkerTimeouts,
) -> Generator[_Run, None, None]:
    """Give a job to the child that was started early, or to a new one.

    It lives as long as the `with`; its hidden files are removed after it.
    """
    run_name = secrets.token_hex(4)
    process = take_child()
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
    sender: Connection, receiver: Connection,
) -> None:  # fmt: skip
    """Run the job in the child and send its events, then an error or None."""
    stopped, finished = threading.Event(), threading.Event()

    def wait_for_parent() -> None:
        with suppress(EOFError, OSError):
            while receiver.recv() == SHOW_STACKS:
                show_stacks()
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
        error = raised
        if not isinstance(raised, MemoryError):  # whose traceback says where it happened
            error = explain_system_error(raised) or raised
        kind = type(error) if isinstance(error, FilmgateError) else None
        message = str(error) if kind else f"{type(error).__name__}: {error}"
        plain = {k: v for k, v in vars(error).items() if isinstance(v, int | float | str)}
        out_of_memory = isinstance(error, MemoryError)
        last = RemoteError(
            kind, message, traceback.format_exc(), out_of_memory, plain if kind else {}
        )
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
