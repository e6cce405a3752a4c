"""A process that is started before its job: the first job gets it, and nothing is left of it."""

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

import filmgate as fg
from filmgate.backends import spawn, worker
from filmgate.core.job import Job
from tests.backends.test_worker import JOB, collect, die_once, scripted
from tests.house.tree import ROOT
from tests.processes import KILL, KILLED


def report_pid(
    job: Job, plan: Any, resume: Any, *, run_name: str
) -> Generator[fg.Event, None, None]:
    yield fg.Warned(f"{os.getpid()} {'colorsys' in sys.modules}")
    yield from scripted((), resume)


def load() -> None:
    import colorsys  # noqa: F401 - a module that nothing else imports


def fail() -> None:
    raise ImportError("no such library")


def run() -> tuple[int, bool]:
    """Run a job; return the number of its process, and whether that had called `load`."""
    events, error = collect(job=JOB, runner=report_pid)
    assert error is None
    (warned,) = [event for event in events if isinstance(event, fg.Warned)]
    pid, loaded = warned.message.split()
    return int(pid), loaded == "True"


def started_pid() -> int:
    (child,) = spawn._started_early
    assert child.process.pid is not None
    return child.process.pid


def test_first_job_runs_in_it_and_the_next_in_another() -> None:
    with spawn.start_early(load):
        early = started_pid()
        assert run() == (early, True)
        other, loaded = run()
    assert other != early
    assert not loaded
    assert not psutil.pid_exists(early)


def test_without_a_job_it_is_killed() -> None:
    with spawn.start_early(load):
        early = started_pid()
    assert not psutil.pid_exists(early)
    assert spawn._started_early == []


@pytest.mark.slow
def test_preload_that_fails_is_left_to_the_job() -> None:
    with spawn.start_early(fail):
        early = started_pid()
        assert run() == (early, False)


@pytest.mark.slow
def test_killed_before_its_job_it_is_replaced() -> None:
    with spawn.start_early(load):
        os.kill(started_pid(), KILL)
        spawn._started_early[0].process.join(10)
        events, error = collect(job=JOB, runner=die_once, resumable=True)
    assert error is None
    assert isinstance(events[0], fg.Died)
    assert isinstance(events[-1], fg.Done)


@pytest.mark.slow
def test_job_that_cannot_be_sent_leaves_no_process() -> None:
    with spawn.start_early(load):
        early = started_pid()
        with pytest.raises(Exception, match=r"pickle|local object"):
            list(worker.run(JOB, runner=lambda *_, **__: None))  # type: ignore[arg-type]
        assert not psutil.pid_exists(early)


@pytest.mark.slow
@pytest.mark.parametrize("preload", ["load", "wait_long"])
def test_it_ends_with_a_killed_parent(preload: str, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(f"""
import os
from filmgate.backends import spawn
from tests.backends.test_spawn import {preload}
if __name__ == "__main__":
    with spawn.start_early({preload}):
        print(spawn._started_early[0].process.pid, flush=True)
        os.kill(os.getpid(), 9)
""")
    result = subprocess.run(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert result.returncode == KILLED
    child = int(result.stdout)
    with suppress(psutil.NoSuchProcess):
        psutil.Process(child).wait(timeout=20)
    assert not psutil.pid_exists(child)


def wait_long() -> None:
    """Import for a second."""
    import time

    time.sleep(1)
