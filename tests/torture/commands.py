"""Run commands under limits, and say what is wrong with how they end."""

import gc
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

assert sys.platform == "linux", "only Linux has the limits and signals of these checks"

KINDS = ("wrong", "lost", "hang", "traceback")
CPU_LIMIT_S, WALL_LIMIT_S = 10, 120
BYSTANDER = "notes.txt"  # a user's file next to every output
_CRASHES = (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL)


class Failure(Exception):
    """What a check must never see; `kind` is one of KINDS."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class Ended(NamedTuple):
    """How a process ended: its exit code (negative: a signal), CPU seconds and output."""

    code: int
    cpu_s: float
    output: str


@dataclass(frozen=True)
class Check:
    """One row of the table: `prepare(folder)` makes the inputs and returns `attempt(number)`.

    An attempt returns how many things it tried, and raises Failure. `cases` attempts are the
    complete check, `short` of them the part that runs with every change.
    """

    name: str
    cases: int
    short: int
    prepare: Callable[[Path], Callable[[int], int]]


def require(condition: bool, kind: str, text: str) -> None:
    """Raise Failure unless the condition holds."""
    if not condition:
        raise Failure(kind, text)


def run_forked(call: Callable[[], int], folder: Path, log: Path) -> Ended:
    """Run `call` in a fork of this process, in `folder`, and return how that process ended."""
    pid = start_forked(call, folder, log)
    return wait_for(pid, log)


def start_forked(call: Callable[[], int], folder: Path, log: Path) -> int:
    """Start a fork that exits with the result of `call`; its output goes to `log`."""
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    gc.freeze()  # a codec's threads do not exist in a fork: one that is collected here hangs
    code = 1
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout, sys.stderr = (os.fdopen(fd, "w", closefd=False) for fd in (1, 2))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S + 1))
        os.chdir(folder)
        code = call()
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait_for(pid: int, log: Path) -> Ended:
    """Wait for a fork; one that does not end is killed and ends with SIGXCPU, as a hang."""
    deadline, killed = time.monotonic() + WALL_LIMIT_S, False
    while True:
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            break
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            killed = True
        time.sleep(0.002)
    code = -signal.SIGXCPU if killed else os.waitstatus_to_exitcode(status)
    output = log.read_text(errors="replace") if log.exists() else ""
    return Ended(code, usage.ru_utime + usage.ru_stime, output)


def check_end(ended: Ended, allowed: tuple[int, ...], what: str) -> None:
    """Raise Failure if a command hung, crashed, printed a traceback or has another exit code."""
    shown = f"{what}: exit code {ended.code}, {ended.output[-1500:]}"
    hung = ended.code in (-signal.SIGXCPU, -signal.SIGKILL) and ended.code not in allowed
    require(not hung, "hang", shown)
    require(ended.code not in _CRASHES, "traceback", shown)
    require("Traceback (most recent call last)" not in ended.output, "traceback", shown)
    require(ended.code in allowed, "wrong", shown)


def run_filmgate(arguments: list[str]) -> int:
    """Run the command line in this process and return its exit code."""
    from filmgate.cli.main import main

    return int(main(arguments))


def read_files(folder: Path) -> dict[str, bytes]:
    """Return every file below `folder` by its relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
