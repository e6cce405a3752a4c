"""A run killed by TerminateProcess at 24 moments makes what an undisturbed run makes on Linux.

`make windows` runs the same job of `tests.net` on Linux before, and passes the SHA-256 on. Without
it the result is compared with that of an undisturbed run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.net.decoded import hash_outputs
from tests.net.jobs import JOBS
from tests.net.sources import SOURCES
from tests.processes import KILLED

pytestmark = [
    pytest.mark.skipif(sys.platform != "win32", reason="is about Windows"),
    pytest.mark.timeout(900),  # under Wine on two busy cores
]
JOB = "resumed"
LINUX = os.environ.get("FILMGATE_LINUX_RESULT", "")  # the SHA-256 of what Linux makes of JOB
COMMAND = JOBS[JOB].commands[1].split()
# Each start is killed at one of them; it resumes from what those before have committed.
FAULTS = (
    ("decode.chunk", "compute.step", "encode.before_write", "encode.before_commit",
     "commit.snapshot", "commit.listed", "compute.step@3", "encode.after_commit",
     "commit.listed@2", "join.complete"),
    ("commit.listed@4", "join.named"),
    ("end.reported",),
)  # fmt: skip
LINES = (1, 2, 3, 4, 5, 6, 7, 8)  # of its report, after which the command is killed
WORKERS = 3  # that are killed in one run, each when it has reported a commit
FRAMES = 40  # of long.mkv


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    SOURCES["long.mkv"](tmp_path / "long.mkv")
    return tmp_path


def start(folder: Path, fault: str = "", worker: bool = False) -> subprocess.Popen[bytes]:
    """Start the job."""
    env = {**os.environ, "FILMGATE_IN_PROCESS": "no" if worker else "yes", "FILMGATE_FAULT": fault}
    return subprocess.Popen(
        [sys.executable, "-m", "filmgate", *COMMAND, "--json"],
        cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def read_event(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Return the next event that a command reports."""
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    assert line, process.stderr.read().decode()
    return dict(json.loads(line))


def finish(folder: Path) -> None:
    """Resume to the end."""
    with start(folder) as process:
        _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    check_result(folder)


def check_result(folder: Path) -> None:
    """The frames are those of Linux, and nothing else is left."""
    assert sorted(os.listdir(folder)) == ["long.mkv", "out.mkv"]
    found, wanted = hash_outputs(folder), LINUX
    if not LINUX:
        (folder / "out.mkv").unlink()
        with start(folder) as process:
            process.communicate()
        wanted = hash_outputs(folder)
    assert found == wanted


@pytest.mark.parametrize("faults", FAULTS, ids=lambda faults: faults[-1])
def test_killed_at_points_of_a_run(faults: Sequence[str], folder: Path) -> None:
    for fault in faults:
        point, _, time = fault.partition("@")
        with start(folder, f"{point}=kill@{time or 1}") as process:
            _, errors = process.communicate()
        assert process.returncode == KILLED, f"{fault}: {errors.decode()}"
    finish(folder)


def test_command_killed_while_its_worker_works(folder: Path) -> None:
    """The worker ends by itself, so the next start finds no one at work."""
    for lines in LINES:
        with start(folder, "join.complete=hang", worker=True) as process:
            for _ in range(lines):
                event = read_event(process)
                if event.get("ended") or event.get("read") == FRAMES:
                    break  # all is computed: it only reports when it has ended
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            _, alive = psutil.wait_procs(children, timeout=30)
            assert children
            assert not alive, "the worker outlives its parent"
    finish(folder)


def test_worker_killed(folder: Path) -> None:
    """Another worker resumes from the last commit, in the same command."""
    events = list[dict[str, Any]]()
    with start(folder, worker=True) as process:
        while not events or events[-1]["event"] != "Done":
            events.append(read_event(process))
            commits = [one for one in events if one["event"] == "Committed"]
            if commits[-1:] == events[-1:] and len(commits) <= WORKERS:
                for child in psutil.Process(process.pid).children():
                    child.kill()
        _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    assert sum(one["event"] == "Died" for one in events) == WORKERS
    check_result(folder)
