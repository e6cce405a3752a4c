"""A process that is started before its job: the first job gets it, and nothing is left of it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

import filmgate as fg
from filmgate.backends import worker
from filmgate.backends.spawn import Workers
from tests.backends.scripted_runs import JOB, collect, die_once, load, report_pid
from tests.house.tree import ROOT
from tests.processes import KILL, KILLED, NEW_GROUP


def fail() -> None:
    raise ImportError("no such library")


def run(workers: Workers) -> tuple[int, bool]:
    """Return the number of the process that ran a job, and whether it had called `load`."""
    events, error = collect(job=JOB, runner=report_pid, workers=workers)
    assert error is None
    (warned,) = [event for event in events if isinstance(event, fg.Warned)]
    pid, loaded = warned.message.split()
    return int(pid), loaded == "True"


def start(workers: Workers, preload: Callable[[], object]) -> int:
    """Start a process early and return its number."""
    workers.start_early(preload)
    assert workers._early is not None
    assert workers._early.process.pid is not None
    return workers._early.process.pid


def test_first_job_runs_in_it_and_the_next_in_another() -> None:
    with Workers() as workers:
        early = start(workers, load)
        assert run(workers) == (early, True)
        other, loaded = run(workers)
    assert other != early
    assert not loaded
    assert not psutil.pid_exists(early)


def test_without_a_job_it_is_killed() -> None:
    with Workers() as workers:
        early = start(workers, load)
    assert not psutil.pid_exists(early)


@pytest.mark.slow
def test_preload_that_fails_is_left_to_the_job() -> None:
    with Workers() as workers:
        early = start(workers, fail)
        assert run(workers) == (early, False)


@pytest.mark.slow
def test_killed_before_its_job_it_is_replaced() -> None:
    with Workers() as workers:
        early = start(workers, load)
        os.kill(early, KILL)
        events, error = collect(job=JOB, runner=die_once, resumable=True, workers=workers)
    assert error is None
    assert isinstance(events[0], fg.Died)
    assert isinstance(events[-1], fg.Done)


@pytest.mark.slow
def test_job_that_cannot_be_sent_leaves_no_process() -> None:
    with Workers() as workers:
        early = start(workers, load)
        with pytest.raises(Exception, match=r"pickle|local object"):
            list(worker.run(JOB, runner=lambda *_, **__: None, workers=workers))  # type: ignore[arg-type]
        assert not psutil.pid_exists(early)


# What the parent does; it prints the number of its child first.
DEATHS = {
    "before its child knows what to do": """
    before = silent_process._start
    def start_and_die(*arguments):
        print(before(*arguments), flush=True)
        os.kill(os.getpid(), 9)
    silent_process._start = start_and_die
    Workers().start_early(load)
""",
    "while its child starts": "die(load, 0)",
    "while its child imports": "die(wait_long, 0.3)",
    "while its child waits": "die(load, 0.5)",
}


@pytest.mark.slow
@pytest.mark.parametrize("death", DEATHS)
def test_killed_parent_leaves_neither_a_process_nor_a_traceback(death: str, tmp_path: Path) -> None:
    result = run_parent(DEATHS[death], tmp_path)
    assert result.returncode == KILLED
    assert result.stderr == ""
    check_end(int(result.stdout))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no signal for a group of processes")
@pytest.mark.parametrize("delay", [0, 0.01, 0.03, 0.1, 0.3])
def test_ctrl_c_while_a_child_starts_is_left_to_its_parent(delay: float, tmp_path: Path) -> None:
    code = f"""
    signal.signal(signal.SIGINT, lambda *_: None)  # a child does not inherit it
    workers = Workers()
    print(start(workers, load))
    time.sleep({delay})
    os.killpg(0, signal.SIGINT)
    collect(job=JOB, runner=report_pid, workers=workers)
"""
    result = run_parent(code, tmp_path)
    assert result.returncode == 0
    assert result.stderr == ""
    check_end(int(result.stdout))


def run_parent(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that starts a child; it and its child have their own group of processes."""
    script = folder / "parent.py"
    script.write_text(
        "import os, signal, time\n"
        "from filmgate.backends import silent_process\n"
        "from filmgate.backends.spawn import Workers\n"
        "from tests.backends.test_spawn import *\n"
        f'if __name__ == "__main__":\n    {code.strip()}\n'
    )
    return subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=NEW_GROUP,
    )  # fmt: skip


def die(preload: Callable[[], object], delay: float) -> None:
    """Start a child, and be killed some seconds later."""
    print(start(Workers(), preload), flush=True)
    time.sleep(delay)
    os.kill(os.getpid(), KILL)


def check_end(child: int) -> None:
    """Fail if a process does not end."""
    with suppress(psutil.NoSuchProcess):
        psutil.Process(child).wait(timeout=20)
    assert not psutil.pid_exists(child)


def wait_long() -> None:
    """Import for a second."""
    time.sleep(1)
