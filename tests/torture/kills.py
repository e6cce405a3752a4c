"""Kill the worker, its parent or both with SIGKILL, at random moments and at fault points."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from filmgate.core.instrumentation import fault_injection
from filmgate.errors import Exit
from tests.torture.commands import (
    CPU_LIMIT_S,
    WALL_LIMIT_S,
    Ended,
    Failure,
    check_end,
    require,
)
from tests.torture.outputs import IMAGE_OUTPUTS, VIDEO_OUTPUTS, Output, make_references

assert sys.platform == "linux", "only Linux has the limits and signals of these checks"

KILLS_PER_CASE, STARTS_PER_CASE = 3, 12
OUTPUTS = VIDEO_OUTPUTS + IMAGE_OUTPUTS
MOMENT_S = 0.35  # after the start of the work; an undisturbed run of these jobs takes that long


class Run:
    """One command with its worker process, the leader of a process group."""

    def __init__(self, output: Output, folder: Path, fault: str = "") -> None:
        self.log = folder.parent / "errors"
        environment = os.environ | {"FILMGATE_IN_PROCESS": "no", fault_injection.VARIABLE: fault}
        with self.log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "filmgate", *output.arguments("--json")], cwd=folder,
                env=environment, stdout=subprocess.PIPE, stderr=errors, start_new_session=True,
            )  # fmt: skip
        resource.prlimit(self.process.pid, resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S + 1))
        self.deaths = 0

    def wait_until_started(self) -> None:
        """Read events until the work starts, or the run ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if self._note(line).get("event") == "Started":
                return

    def kill(self, who: str) -> None:
        """Kill the parent, the worker, or both at once."""
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if who == "group":
                os.killpg(self.process.pid, signal.SIGKILL)
            elif who == "parent":
                self.process.kill()
            else:
                for child in psutil.Process(self.process.pid).children():
                    if "spawn_main" in " ".join(child.cmdline()):
                        child.kill()

    def end(self) -> Ended:
        """Wait for the end of the command and of every process that it started."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            out, _ = self.process.communicate(timeout=WALL_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            self.kill("group")
            raise Failure("hang", f"no end after {WALL_LIMIT_S} s") from error
        for line in out.splitlines():
            self._note(line)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        deadline = time.monotonic() + 10
        while self._is_alive():
            if time.monotonic() > deadline:
                self.kill("group")
                raise Failure("hang", "a worker lives 10 s after its parent was killed")
            time.sleep(0.01)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Ended(self.process.returncode, cpu_s, self.log.read_text(errors="replace"))

    def _is_alive(self) -> bool:
        """Return whether a process of the group runs; a zombie does not."""
        for pid in psutil.pids():
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                in_group = os.getpgid(pid) == self.process.pid
                if in_group and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    return True
        return False

    def _note(self, line: bytes) -> dict[str, Any]:
        event: dict[str, Any] = {}
        with suppress(ValueError):  # half-written when it was killed
            event = json.loads(line)
        self.deaths += event.get("event") == "Died" and bool(event.get("crash"))
        return event


def run_and_kill(output: Output, folder: Path, random_: random.Random) -> int:
    """Run the command once and kill it somewhere; return how many processes were killed."""
    who = random_.choice(("fault", "parent", "worker", "group"))
    if who == "fault":
        point = random_.choice(fault_injection.POINTS)
        run = Run(output, folder, f"{point}=kill@{random_.randint(1, 4)}")
    else:
        run = Run(output, folder)
        if random_.random() < 0.8:
            run.wait_until_started()
        time.sleep(random_.uniform(0, MOMENT_S))
        run.kill(who)
    ended = run.end()
    allowed = {"fault": (Exit.DONE, Exit.OURS), "worker": (Exit.DONE,)}.get(
        who, (Exit.DONE, -signal.SIGKILL)
    )
    check_end(ended, allowed, f"{output.name}, {who} killed")
    gave_up = "gave up" in ended.output  # at a point where the worker dies each time
    require(ended.code != Exit.OURS or gave_up, "wrong", ended.output[-1500:])
    return run.deaths + (ended.code == -signal.SIGKILL)


def prepare(folder: Path) -> Callable[[int], int]:
    """Return the attempt: three kills of one job, each resumed, then an undisturbed end."""
    references = make_references(OUTPUTS, folder)
    disk = folder / "disk"

    def attempt(number: int) -> int:
        output, random_ = OUTPUTS[number % len(OUTPUTS)], random.Random(number)
        reference, kills, over = references[number % len(OUTPUTS)], 0, False
        what = f"{output.name} of case {number}"
        output.fill(disk)
        for _ in range(STARTS_PER_CASE):
            if over:
                output.check_result(disk, reference, what)
                output.fill(disk)
            kills += run_and_kill(output, disk, random_)
            over = output.check_moment(disk, reference, what)
            if kills >= KILLS_PER_CASE:
                break
        if not over:
            check_end(Run(output, disk).end(), (Exit.DONE,), f"{what}, resumed")
        output.check_result(disk, reference, what)
        return kills

    return attempt
