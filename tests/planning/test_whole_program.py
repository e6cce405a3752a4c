"""--ram is for all processes of a program, and a budget that a refusal names is enough."""

import multiprocessing
import re
import subprocess
import sys
from pathlib import Path
from time import sleep
from types import SimpleNamespace

import psutil
import pytest

import filmgate as fg
from filmgate.core.instrumentation.memory import (
    make_memory_meter,
    measure_parent_memory,
)
from filmgate.planning.fit import fit
from filmgate.planning.limits import Budget
from tests import videos

MB = 10**6


def test_a_process_without_a_parent_of_multiprocessing_is_the_entire_program() -> None:
    assert measure_parent_memory() == 0


def test_the_parent_of_a_worker_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent of the process that runs the tests is taken for it."""
    parent = psutil.Process().parent()
    if parent is None:
        pytest.skip("the first process under Wine has no parent")
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: SimpleNamespace(pid=parent.pid))
    assert measure_parent_memory() == pytest.approx(parent.memory_info().rss, rel=0.2)
    gone = SimpleNamespace(pid=2**22 + 1)
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: gone)
    assert measure_parent_memory() == 0


def measure_in_worker(path: Path) -> None:
    path.write_text(str(measure_parent_memory()))


@pytest.mark.slow
def test_a_worker_measures_its_parent(tmp_path: Path) -> None:
    worker = multiprocessing.get_context("spawn").Process(
        target=measure_in_worker, args=(tmp_path / "bytes",)
    )
    worker.start()
    worker.join()
    own = make_memory_meter()()
    assert own * 0.9 < int((tmp_path / "bytes").read_text()) < own * 1.1


def test_the_parent_counts_against_the_budget(tmp_path: Path) -> None:
    source = videos.make(videos.Video(frames=20), tmp_path / "in.mp4")
    job = fg.Job(fg.VideoFile(source), fg.VideoOutput(tmp_path / "out.mp4"))
    alone = fit(job, budget=Budget(10**12))
    child = fit(job, budget=Budget(10**12), parent_bytes=50 * MB)
    assert "parent" not in alone.host
    assert 50 * MB < child.host["parent"] < 70 * MB


@pytest.mark.slow
@pytest.mark.parametrize("task", ["interpolate", "upscale"])
def test_a_budget_that_is_named_is_kept_by_all_processes(task: str, tmp_path: Path) -> None:
    """Refused, taken at its word by the plan and by the run, and measured from outside."""
    source = videos.make(videos.Video(frames=40, size=(320, 240)), tmp_path / "in.mp4")
    command = [sys.executable, "-m", "filmgate"]
    run = [*command, task, str(source), str(tmp_path / "out.mp4"), "--ram"]
    refused = subprocess.run([*run, "1MB"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    named = re.search(r"pass --ram (\d+)MB", refused.stderr)
    assert named, refused.stderr
    budget = int(named[1]) * MB
    assert 100 * MB < budget < 1000 * MB
    plan = [*command, "plan", task, str(source), "--ram", f"{named[1]}MB"]
    peak, log = 0, tmp_path / "log"
    with log.open("w") as errors:
        process = psutil.Popen([*run, f"{named[1]}MB"], stderr=errors)
        while process.poll() is None:
            peak = max(peak, measure_tree(process))
            sleep(0.01)
    assert process.returncode == 0, log.read_text()
    assert 0.5 * budget < peak <= budget
    planned = subprocess.run(plan, capture_output=True, text=True, check=False)
    assert planned.returncode == 0, planned.stderr


def measure_tree(process: psutil.Process) -> int:
    """Return the resident memory of a process and all below it."""
    try:
        return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
    except psutil.Error:  # one of them ended meanwhile
        return 0
