"""The child process of a worker, and how its parent talks to it."""

import faulthandler
import multiprocessing
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
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic
from typing import Protocol

from filmgate.core.events import Committed, CrashReport, Event, Progress, Started
from filmgate.core.job import Job
from filmgate.core.plan import Plan
from filmgate.core.snapshot import Snapshot
from filmgate.errors import FilmgateError
from filmgate.installation import explain_system_error

WORKER = "filmgate worker"  # the name of the child process
KEPT_LINES = 50  # of standard error, for crash reports
_OUT_OF_RAM = "the machine ran out of memory: close other programs, or choose smaller settings"


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
            hint = f"; {_OUT_OF_RAM}" if self.out_of_memory else ""
            return FilmgateError(f"{self.message}{hint}\n{self.trace}")
        error = self.kind.__new__(self.kind)  # its own __init__ may take other arguments
        error.args = (self.message,)
        vars(error).update(self.attributes)
        return error


def count_oom_kills(system: Path = Path("/")) -> int | None:
    """Return how many processes the kernel killed for lack of memory; None: it does not say.

    Those of our control group (version 2 or 1), else those of the machine.
    """
    counts = []
    with suppress(OSError):
        for line in (system / "proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers not in ("", "memory"):
                continue
            mount = system / "sys/fs/cgroup" / controllers
            name = "memory.oom_control" if controllers else "memory.events"
            # In a container its own group may be mounted in place of the root.
            found = [_read_counter(mount / place / name) for place in (group.lstrip("/"), "")]
            counts += [count for count in found if count is not None][:1]
    return sum(counts) if counts else _read_counter(system / "proc/vmstat")


def _read_counter(path: Path) -> int | None:
    """Return the number behind `oom_kill` in a file of the kernel, None if it has none."""
    try:
        words = path.read_text().split()
        return int(words[words.index("oom_kill") + 1])
    except (OSError, ValueError, IndexError):
        return None


def explain_signal(name: str, before: int | None, after: int | None) -> str:
    """Return who sent a signal, as far as it is known; "" for those a process causes itself.

    `before` and `after` count the kernel's out-of-memory kills.
    """
    if name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"):
        return "a user or another program stopped it"
    if name != "SIGKILL":
        return ""
    if before is None or after is None:
        return "who killed it is unknown: a user, another program, or the kernel for lack of memory"
    if after > before:
        return f"the kernel killed it: {_OUT_OF_RAM}"
    return "a user or another program killed it, not the kernel for lack of memory"


@dataclass
class _Child:
    """A run in its own process, seen from the parent."""

    process: BaseProcess
    messages: Connection
    control: Connection
    stderr: Connection
    stacks: Connection
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
            ready = wait([self.messages, *self._list_text_pipes()], left)
            self._read_text(ready)
            if self.messages not in ready:
                continue
            try:
                message = self.messages.recv()
            except (EOFError, OSError):  # also if it died in the middle of a message
                self.process.join(limits.stopping)
                return None
            if not self.loading:
                self.longest_silence = max(self.longest_silence, monotonic() - start)
            self.ended = message is None
            return message  # type: ignore[no-any-return]
        self.kill_reason = f"it was silent for {limit:.1f} s, so it was killed"
        self._request_stack()
        self.process.kill()
        self.process.join()
        return None

    def _list_text_pipes(self) -> list[Connection]:
        return [pipe for pipe in (self.stderr, self.stacks) if not pipe.closed]

    def _read_text(self, ready: Sequence[object]) -> None:
        """Read what is in the two pipes of text; standard error is shown as well."""
        for pipe in self._list_text_pipes():
            if pipe not in ready:
                continue
            text = os.read(pipe.fileno(), 1 << 16)
            if not text:
                pipe.close()
            elif pipe is self.stacks:
                self.stack += text
            else:
                sys.stderr.write(text.decode(errors="replace"))
                sys.stderr.flush()
                *complete, self.last_line = (self.last_line + text).split(b"\n")
                self.lines += [line.decode(errors="replace") for line in complete]

    def _read_remaining_text(self) -> None:
        while ready := wait(self._list_text_pipes(), 0.0):
            self._read_text(ready)

    def _request_stack(self) -> None:
        """Ask for the stack of every thread. The handler is C code: it works if Python hangs."""
        if hasattr(signal, "SIGUSR1") and self.process.pid:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGUSR1)
            while not self.stacks.closed and self.stacks.poll(1.0):
                self._read_text([self.stacks])
                if self.stack.count(b"\n") and not self.stacks.poll(0.1):
                    break

    def describe_crash(self) -> CrashReport:
        """Return how it died; the process has ended."""
        self._read_remaining_text()
        code = self.process.exitcode
        cause, hint = self.kill_reason or f"exit code {code}", ""
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
            if self.process.is_alive():
                with suppress(OSError):
                    self.control.send("stop")
                end = monotonic() + self.timeouts.stopping
                while self.process.is_alive() and (left := end - monotonic()) > 0:
                    pipes = (self.messages, *self._list_text_pipes())
                    ready = wait([self.process.sentinel, *pipes], left)
                    self._read_text(ready)
                    if self.messages in ready:
                        with suppress(EOFError, OSError):
                            self.messages.recv()  # it may be blocked while sending
                            continue
                        self.process.join(max(0.0, end - monotonic()))
        finally:
            if self.process.is_alive():
                self.process.kill()
            self.process.join()
            self._read_remaining_text()


@contextmanager
def start_child(
    runner: Runner,
    job: Job,
    plan: Plan | None,
    resume: Snapshot | None,
    timeouts: WorkerTimeouts,
) -> Generator[_Child, None, None]:
    """Start a child that lives as long as the `with`; its hidden files are removed after it."""
    spawn, run_name = multiprocessing.get_context("spawn"), secrets.token_hex(4)
    pipes = [spawn.Pipe(duplex=False) for _ in range(4)]
    (messages, sender), (receiver, control), (stderr, to_stderr), (stacks, to_stacks) = pipes
    child_ends = (sender, receiver, to_stderr, to_stacks)
    process = spawn.Process(
        target=_work,
        args=(runner, job, plan, resume, run_name, *child_ends),
        name=WORKER,
        daemon=True,
    )
    try:
        process.start()
        for end in child_ends:
            end.close()
        child = _Child(process, messages, control, stderr, stacks, timeouts)
        try:
            yield child
        finally:
            try:
                child.stop()
            finally:
                _remove_leftovers(job, run_name)
                process.close()
    finally:
        for ends in pipes:
            for end in ends:
                end.close()


def _work(
    runner: Runner, job: Job, plan: Plan | None, resume: Snapshot | None, run_name: str,
    sender: Connection, receiver: Connection, stderr: Connection, stacks: Connection,
) -> None:  # fmt: skip
    """Run the job in the child and send its events, then an error or None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles it, and stops us
    os.dup2(stderr.fileno(), 2)
    stderr.close()
    faulthandler.enable(stacks.fileno())
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1, stacks.fileno(), all_threads=True)
    stopped, finished = threading.Event(), threading.Event()

    def wait_for_parent() -> None:
        with suppress(EOFError, OSError):
            receiver.recv()
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
    os._exit(0)  # all files are closed, and unloading the libraries would take a while


def _remove_leftovers(job: Job, run_name: str) -> None:
    """Remove the hidden files of the run of this name."""
    for sink in job.sinks:
        for path in sink.find_leftovers(run_name):
            path.unlink(missing_ok=True)
