"""Laws 8 and 9 with processes that are killed: the result is that of an uninterrupted run."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from filmgate.core.instrumentation import fault_injection
from filmgate.errors import Exit
from tests import videos
from tests.processes import CRASHED, KILLED, NEW_GROUP, kill_group

pytestmark = pytest.mark.slow
STRIDE = int(os.environ.get("FILMGATE_STRIDE", "1"))  # a larger one takes less time
UNEVEN = tuple(Fraction(n, 25) for n in (0, 1, 2, 4, 5, 9, *range(10, 52)))
VIDEO = videos.Video(frames=48, times=UNEVEN, sounds=("aac",))
SEGMENT = 8  # source frames
FLAGS = ["--factor", "2", "--preset", "veryfast", "--segment", "0.3", "--json"]
ENDS = {"kill": KILLED, "crash": CRASHED, "exit": 9}


class Run:
    """One job that is started again until it is done."""

    def __init__(self, source: Path, out: Path, in_process: bool = True) -> None:
        self.source, self.out = source, out
        self.env = {**os.environ, "FILMGATE_IN_PROCESS": "yes" if in_process else "no"}
        self.read = self.deaths = 0

    def process(self, fault: str = "") -> subprocess.Popen[str]:
        """Start a process, the leader of a process group."""
        command = [sys.executable, "-m", "filmgate.cli.main", "interpolate", str(self.source),
                   str(self.out), *FLAGS]  # fmt: skip
        return subprocess.Popen(
            command, env=self.env | {"FILMGATE_FAULT": fault}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=NEW_GROUP,
        )  # fmt: skip

    def start(self, fault: str = "", after_s: float | None = None) -> int:
        """Run once, killed after `after_s` seconds if given; return the exit status."""
        process = self.process(fault)
        timer: threading.Timer | None = None
        assert process.stdout is not None
        for line in process.stdout:
            event = self._event(line)
            if event.get("event") == "Started":
                assert self.read - int(event["read"]) <= SEGMENT, "repeats more than one segment"
                self.read = int(event["read"])
                if after_s is not None:
                    timer = threading.Timer(after_s, kill_group, (process.pid,))
                    timer.start()
            elif event.get("event") == "Progress":
                self.read = int(event["read"])
            elif event.get("event") == "Died" and event.get("crash"):
                self.deaths += 1
        _, errors = process.communicate()
        if timer:
            timer.cancel()
        if process.returncode == 3:
            raise AssertionError(errors)
        return process.returncode

    def _event(self, line: str) -> dict[str, Any]:
        try:
            return dict(json.loads(line))
        except ValueError:  # half-written when it was killed
            return {}

    def is_done(self, reference: bytes) -> bool:
        """Return whether the result exists; then it must be complete."""
        if not self.out.exists():
            return False
        assert self.out.read_bytes() == reference
        return True


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return videos.make(VIDEO, tmp_path_factory.mktemp("source") / "in.mp4")


@pytest.fixture(scope="module")
def reference(source: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    run = Run(source, tmp_path_factory.mktemp("reference") / "out.mp4")
    assert run.start() == 0
    return run.out.read_bytes()


def finish(run: Run, reference: bytes) -> None:
    """Resume to the end."""
    assert run.start() == 0
    check_result(run, reference)


def check_result(run: Run, reference: bytes) -> None:
    """Nothing but the result is left."""
    assert run.is_done(reference)
    assert os.listdir(run.out.parent) == [run.out.name]


@pytest.mark.parametrize(("point", "kind"), [
    *((point, "kill") for point in fault_injection.POINTS
      if not point.startswith(("end.", "prepare."))),
    *product(("compute.step", "commit.listed", "join.complete"), ("crash", "exit")),
])  # fmt: skip
def test_run_killed_at_any_point_resumes(
    point: str, kind: str, source: Path, tmp_path: Path, reference: bytes
) -> None:
    """At the first time, and at the second of another start if the point is reached more often."""
    run = Run(source, tmp_path / "out.mp4")
    assert run.start(f"{point}={kind}@1") == ENDS[kind]
    run.is_done(reference)
    if not point.startswith("join."):
        assert run.start(f"{point}={kind}@2") == ENDS[kind]
    finish(run, reference)


def test_run_killed_after_its_end_has_its_result(
    source: Path, tmp_path: Path, reference: bytes
) -> None:
    """The same command then ends the run, or says that the result exists."""
    run = Run(source, tmp_path / "out.mp4")
    assert run.start("end.reported=kill@1") == ENDS["kill"]
    finish(run, reference)
    again = Run(source, tmp_path / "again.mp4")
    assert again.start("end.removed=kill@1") == ENDS["kill"]
    assert again.out.read_bytes() == reference


def test_run_killed_fifty_times_at_random_resumes(
    source: Path, tmp_path: Path, reference: bytes
) -> None:
    """At random points and random times, with the process group, video after video."""
    random_, kills, number = random.Random(8), 0, 0
    parts: set[str] = set()
    while kills < 50 // STRIDE:
        run = Run(source, tmp_path / f"{number}.mp4")
        number += 1
        while not run.is_done(reference):
            if kills % 2:
                code = run.start(after_s=random_.uniform(0.0, 0.35))
            else:
                point = random_.choice(fault_injection.POINTS)
                code = run.start(f"{point}=kill@{random_.randint(1, 4)}")
                if code:
                    parts.add(point.split(".")[0])
            kills += code == KILLED
        if os.listdir(tmp_path) != [run.out.name]:  # killed after the result got its name
            left = os.listdir(f"{run.out}.filmgate")
            assert run.start() == (0 if set(left) - {"lock"} else Exit.USER)  # the lock goes last
            check_result(run, reference)
        run.out.unlink()
    assert STRIDE > 1 or parts == {"decode", "compute", "encode", "commit", "join"}


@pytest.mark.parametrize("fault", ["encode.before_commit=kill@2", "compute.step=crash@3",
                                   "commit.snapshot=exit@2"])  # fmt: skip
def test_worker_that_keeps_dying_is_replaced(
    fault: str, source: Path, tmp_path: Path, reference: bytes
) -> None:
    run = Run(source, tmp_path / "out.mp4", in_process=False)
    assert run.start(fault) == 0
    assert run.deaths >= 3
    assert run.is_done(reference)
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_worker_writes_the_same_file(source: Path, tmp_path: Path, reference: bytes) -> None:
    run = Run(source, tmp_path / "out.mp4", in_process=False)
    assert run.start() == 0
    assert run.is_done(reference)


def test_run_gives_up_at_a_frame_that_always_kills_and_reports_its_time(
    source: Path, tmp_path: Path
) -> None:
    run = Run(source, tmp_path / "out.mp4", in_process=False)
    with pytest.raises(AssertionError, match=r"after source frame \d+ \([\d.]+ s\).*gave up"):
        run.start("compute.step=kill@2")
    assert run.deaths == 3


@pytest.mark.parametrize("fault", ["join.complete=kill@1", "join.named=crash@1",
                                   "encode.after_commit=exit@1"])  # fmt: skip
def test_worker_that_dies_after_an_unreported_commit_is_replaced(
    fault: str, source: Path, tmp_path: Path, reference: bytes
) -> None:
    """The last commit was saved, but the worker died before it reported it."""
    run = Run(source, tmp_path / "out.mp4", in_process=False)
    assert run.start(fault) == 0
    assert run.deaths == (VIDEO.frames // SEGMENT + 1 if fault.startswith("encode") else 1)
    assert run.is_done(reference)
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_second_process_is_refused_and_many_signals_pause_once(
    source: Path, tmp_path: Path, reference: bytes
) -> None:
    run, again = (Run(source, tmp_path / "out.mp4") for _ in range(2))
    with run.process("encode.before_write=hang@6") as first:
        assert first.stdout is not None
        while "Committed" not in first.stdout.readline():
            assert first.poll() is None
        assert again.start() == Exit.BUSY
        if sys.platform == "win32":
            first.kill()  # it hangs
            pytest.skip("Windows has no signals to a group")
        while first.poll() is None:  # also while the interpreter ends
            os.killpg(first.pid, signal.SIGINT)
            time.sleep(0.001)
        _, errors = first.communicate()
    assert first.returncode == Exit.INTERRUPTED
    assert "the same command, or filmgate resume" in errors
    finish(run, reference)
