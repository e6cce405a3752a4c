"""The child process of a worker."""

import faulthandler
import multiprocessing
import os
import secrets
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic

from filmgate.core.events import Committed, CrashReport, Event, Progress, Started
from filmgate.core.job import Job
from filmgate.core.plan import Plan
from filmgate.core.snapshot import Snapshot
from filmgate.errors import FilmgateError

Run = Callable[[Job, Plan | None, Snapshot | None], Generator[Event, None, None]]
KEPT_LINES = 50


@dataclass(frozen=True, slots=True)
class WorkerTimeouts:
    """How long a child may say nothing, in seconds, before it is taken for hung.

    `loading` until the first progress (weights are loaded and compiled), then `running` or ten
    times its longest silence so far, whichever is more. `stopping`: from the wish to the shot.
    """

    loading: float = 1800.0
    running: float = 60.0
    stopping: float = 10.0


@dataclass(frozen=True, slots=True)
class Raised:
    """An error on its way to the parent; `ours` is its class if it is a FilmgateError."""

    ours: type[FilmgateError] | None
    message: str
    trace: str
    memory: bool
    details: Mapping[str, object]  # of our error's attributes those that are plain

    def error(self) -> FilmgateError:
        """The same error on this side."""
        if self.ours is None:
            hint = f"; {_OUT_OF_RAM}" if self.memory else ""
            return FilmgateError(f"{self.message}{hint}\n{self.trace}")
        error = self.ours.__new__(self.ours)  # its own __init__ may want other arguments
        error.args = (self.message,)
        vars(error).update(self.details)
        return error


_OUT_OF_RAM = "the machine ran out of memory: close other programs, or choose smaller settings"


def _oom_kills() -> int:
    """How many processes the kernel has shot in our control group for want of memory (Linux)."""
    try:
        group = Path("/proc/self/cgroup").read_text().rpartition("::/")[2].strip()
        events = (Path("/sys/fs/cgroup") / group / "memory.events").read_text().split()
        return int(events[events.index("oom_kill") + 1])
    except (OSError, ValueError):
        return 0


@dataclass
class _Child:
    """A run in its own process, as the parent sees it."""

    process: BaseProcess
    said: Connection
    control: Connection
    stderr: Connection
    stacks: Connection
    timeouts: WorkerTimeouts
    plan: Plan | None = None  # as it said when it began
    shot: str = ""  # why we killed it
    ended: bool = False
    loading: bool = True
    longest: float = 0.0
    read: int = 0
    segment: int = 0
    time: Fraction = Fraction(0)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    tail: bytes = b""
    stack: bytes = b""
    oom_kills: int = field(default_factory=_oom_kills)

    def events(self) -> Iterator[Event]:
        """What it says, until it ends or dies. Raises what was raised in it."""
        while (heard := self._next()) is not None:
            if isinstance(heard, Raised):
                raise heard.error()
            if isinstance(heard, Started):
                self.plan, self.read = heard.plan, heard.read
            elif isinstance(heard, Progress):
                self.read, self.time, self.loading = heard.read, heard.time, False
            elif isinstance(heard, Committed):
                self.segment = heard.snapshot.segment
            yield heard

    def _next(self) -> Event | Raised | None:
        """Waits, but not for ever; None: nothing more will come."""
        began = monotonic()
        p = self.timeouts
        limit = p.loading if self.loading else max(p.running, 10 * self.longest)
        while (left := began + limit - monotonic()) > 0:
            ready = wait([self.said, *self._open()], left)
            self._listen(ready)
            if self.said not in ready:
                continue
            try:
                heard = self.said.recv()
            except (EOFError, OSError):  # torn in the middle of a message, too
                self.process.join(p.stopping)
                return None
            if not self.loading:
                self.longest = max(self.longest, monotonic() - began)
            self.ended = heard is None
            return heard  # type: ignore[no-any-return]
        self.shot = f"nothing was heard of it for {limit:.1f} s, so it was killed"
        self._ask_for_stack()
        self.process.kill()
        self.process.join()
        return None

    def _open(self) -> list[Connection]:
        return [pipe for pipe in (self.stderr, self.stacks) if not pipe.closed]

    def _listen(self, ready: Sequence[object]) -> None:
        """Takes what lies in the two pipes of text; standard error is shown as well."""
        for pipe in self._open():
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
                *whole, self.tail = (self.tail + text).split(b"\n")
                self.lines += [line.decode(errors="replace") for line in whole]

    def _drain(self) -> None:
        while ready := wait(self._open(), 0.0):
            self._listen(ready)

    def _ask_for_stack(self) -> None:
        """The handler is C code: it answers even where Python hangs with its lock held."""
        if hasattr(signal, "SIGUSR1") and self.process.pid:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGUSR1)
            while not self.stacks.closed and self.stacks.poll(1.0):
                self._listen([self.stacks])
                if self.stack.count(b"\n") and not self.stacks.poll(0.1):
                    break

    def crash(self) -> CrashReport:
        """How it died; the process has ended."""
        self._drain()
        code = self.process.exitcode
        cause, hint = self.shot or f"exit code {code}", ""
        if not self.shot and code is not None and code < 0:
            cause = signal.Signals(-code).name
            if cause == "SIGKILL":
                sure = "" if _oom_kills() > self.oom_kills else "probably "
                hint = f"{sure}killed by the kernel: {_OUT_OF_RAM}"
        lines = (*self.lines, *([self.tail.decode(errors="replace")] if self.tail else []))
        return CrashReport(cause, self.read, self.time, self.segment, lines,
                           self.stack.decode(errors="replace"), hint)  # fmt: skip

    def stop(self) -> None:
        """Asks it to stop; it is shot if it does not, or if a second Ctrl-C comes."""
        try:
            if self.process.is_alive():
                with suppress(OSError):
                    self.control.send("stop")
                end = monotonic() + self.timeouts.stopping
                while self.process.is_alive() and (left := end - monotonic()) > 0:
                    ready = wait([self.process.sentinel, self.said, *self._open()], left)
                    self._listen(ready)
                    if self.said in ready:
                        with suppress(EOFError, OSError):
                            self.said.recv()  # it may be blocked, saying it
                            continue
                        self.process.join(max(0.0, end - monotonic()))
        finally:
            if self.process.is_alive():
                self.process.kill()
            self.process.join()
            self._drain()


@contextmanager
def start_child(
    within: Run, job: Job, plan: Plan | None, resume: Snapshot | None, timeouts: WorkerTimeouts
) -> Generator[_Child, None, None]:
    """A child for as long as the `with` lasts; neither it nor its hidden files outlive it."""
    spawn, name = multiprocessing.get_context("spawn"), secrets.token_hex(4)
    pipes = [spawn.Pipe(duplex=False) for _ in range(4)]
    (said, says), (hears, control), (stderr, to_stderr), (stacks, to_stacks) = pipes
    child_ends = (says, hears, to_stderr, to_stacks)
    process = spawn.Process(
        target=_work,
        args=(within, job, plan, resume, name, *child_ends),
        name="filmgate worker",
        daemon=True,
    )
    try:
        process.start()
        for end in child_ends:
            end.close()
        child = _Child(process, said, control, stderr, stacks, timeouts)
        try:
            yield child
        finally:
            try:
                child.stop()
            finally:
                _clear(job, name)
                process.close()
    finally:
        for ends in pipes:
            for end in ends:
                end.close()


def _work(
    within: Run, job: Job, plan: Plan | None, resume: Snapshot | None, name: str,
    says: Connection, hears: Connection, stderr: Connection, stacks: Connection,
) -> None:  # fmt: skip
    """The child's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and tells us
    os.dup2(stderr.fileno(), 2)
    stderr.close()
    faulthandler.enable(stacks.fileno())
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1, stacks.fileno(), all_threads=True)
    os.environ["FILMGATE_RUN"] = name
    stopped, parent_gone = threading.Event(), threading.Event()

    def obey() -> None:
        with suppress(EOFError, OSError):
            hears.recv()
            stopped.set()
            hears.recv()
        parent_gone.set()
        stopped.set()
        if not finished.wait(0.5):  # the run may be deep in a step, or blocked saying something
            _clear(job, name)
            os._exit(1)

    finished = threading.Event()
    threading.Thread(target=obey, name="control", daemon=True).start()
    last: Raised | None = None
    try:
        with closing(within(job, plan, resume)) as happenings:
            for event in happenings:
                says.send(event)
                if stopped.is_set():
                    break
    except BaseException as error:  # noqa: BLE001 - it is raised again on the other side
        ours = type(error) if isinstance(error, FilmgateError) else None
        said = str(error) if ours else f"{type(error).__name__}: {error}"
        plain = {k: v for k, v in vars(error).items() if isinstance(v, int | float | str)}
        trace, memory = traceback.format_exc(), isinstance(error, MemoryError)
        last = Raised(ours, said, trace, memory, plain if ours else {})
    with suppress(OSError):
        says.send(last)
    finished.set()


def _clear(job: Job, name: str) -> None:
    """Removes the hidden files that the run of this name left."""
    leftovers: Callable[[str], list[Path]] = getattr(job.sink, "leftovers", lambda _: [])
    for path in leftovers(name):
        path.unlink(missing_ok=True)
