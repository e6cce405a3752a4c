"""Laws 8 and 9 with processes that are really shot: the film is that of an undisturbed run."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from filmgate.core.instrumentation import fault_injection
from filmgate.errors import Exit
from tests import videos

pytestmark = pytest.mark.slow
STRIDE = int(os.environ.get("FILMGATE_STRIDE", "1"))  # who has less time shoots less often
UNEVEN = tuple(Fraction(n, 25) for n in (0, 1, 2, 4, 5, 9, *range(10, 52)))
VIDEO = videos.Video(frames=48, times=UNEVEN, sounds=("aac",))
SEGMENT = 8  # source frames
SAID = ["--factor", "2", "--preset", "veryfast", "--segment", "0.3", "--json"]
ENDS = {"kill": -signal.SIGKILL, "crash": -signal.SIGSEGV, "exit": 9}


class Run:
    """One job that is started again and again until it is done."""

    def __init__(self, source: Path, out: Path, in_process: bool = True) -> None:
        self.source, self.out = source, out
        self.env = {**os.environ, "FILMGATE_IN_PROCESS": "yes" if in_process else "no"}
        self.read = self.deaths = 0

    def process(self, fault: str = "") -> subprocess.Popen[str]:
        """One start, leader of a group of its own."""
        command = [sys.executable, "-m", "filmgate.cli.main", "interpolate", str(self.source),
                   str(self.out), *SAID]  # fmt: skip
        return subprocess.Popen(
            command, env=self.env | {"FILMGATE_FAULT": fault}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def start(self, fault: str = "", after_s: float | None = None) -> int:
        """The exit status of one start; with `after_s` it is shot so long after it began."""
        process = self.process(fault)
        timer: threading.Timer | None = None
        assert process.stdout is not None
        for line in process.stdout:
            event = self._event(line)
            if event.get("event") == "Started":
                assert self.read - int(event["read"]) <= SEGMENT, "more than one segment twice"
                self.read = int(event["read"])
                if after_s is not None:
                    timer = threading.Timer(after_s, shoot, (process.pid,))
                    timer.start()
            elif event.get("event") == "Progress":
                self.read = int(event["read"])
            elif event.get("event") == "Died" and event.get("crash"):
                self.deaths += 1
        _, said = process.communicate()
        if timer:
            timer.cancel()
        if process.returncode == 3:
            raise AssertionError(said)
        return process.returncode

    def _event(self, line: str) -> dict[str, Any]:
        try:
            return dict(json.loads(line))
        except ValueError:  # torn by the shot
            return {}

    def whole(self, reference: bytes) -> bool:
        """The film if it is there, and nothing else then."""
        if not self.out.exists():
            return False
        assert self.out.read_bytes() == reference
        return True


def shoot(pid: int) -> None:
    """The process and all its children, at once."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return videos.make(VIDEO, tmp_path_factory.mktemp("source") / "in.mp4")


@pytest.fixture(scope="module")
def reference(source: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    run = Run(source, tmp_path_factory.mktemp("whole") / "out.mp4")
    assert run.start() == 0
    return run.out.read_bytes()


def ended(run: Run, reference: bytes) -> None:
    """Goes on to the end; nothing but the film is left."""
    assert run.start() == 0
    assert run.whole(reference)
    assert os.listdir(run.out.parent) == [run.out.name]


@pytest.mark.parametrize(("point", "kind"), [
    *((point, "kill") for point in fault_injection.POINTS),
    *product(("compute.step", "commit.listed", "join.whole"), ("crash", "exit")),
])  # fmt: skip
def test_shot_at_every_point_it_goes_on(
    point: str, kind: str, source: Path, tmp_path: Path, reference: bytes
) -> None:
    """At the first time and, where it comes more than once, at the second of another start."""
    run = Run(source, tmp_path / "out.mp4")
    assert run.start(f"{point}={kind}@1") == ENDS[kind]
    run.whole(reference)
    if not point.startswith("join."):
        assert run.start(f"{point}={kind}@2") == ENDS[kind]
    ended(run, reference)


def test_shot_fifty_times_at_random_it_goes_on(
    source: Path, tmp_path: Path, reference: bytes
) -> None:
    """At random points and at random times, process group and all, film after film."""
    chance, shots, number = random.Random(8), 0, 0
    parts: set[str] = set()
    while shots < 50 // STRIDE:
        run = Run(source, tmp_path / f"{number}.mp4")
        number += 1
        while not run.whole(reference):
            if shots % 2:
                code = run.start(after_s=chance.uniform(0.0, 0.35))
            else:
                point = chance.choice(fault_injection.POINTS)
                code = run.start(f"{point}=kill@{chance.randint(1, 4)}")
                if code:
                    parts.add(point.split(".")[0])
            shots += code == -signal.SIGKILL
        if os.listdir(tmp_path) != [run.out.name]:  # shot between the film's name and the end
            ended(run, reference)
        run.out.unlink()
    assert STRIDE > 1 or parts == {"decode", "compute", "encode", "commit", "join"}


@pytest.mark.parametrize("fault", ["encode.before_commit=kill@2", "compute.step=crash@3",
                                   "commit.snapshot=exit@2"])  # fmt: skip
def test_a_worker_that_dies_again_and_again_is_replaced(
    fault: str, source: Path, tmp_path: Path, reference: bytes
) -> None:
    run = Run(source, tmp_path / "out.mp4", in_process=False)
    assert run.start(fault) == 0
    assert run.deaths >= 3
    assert run.whole(reference)
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_law_9_in_a_worker_it_is_the_same_file(
    source: Path, tmp_path: Path, reference: bytes
) -> None:
    run = Run(source, tmp_path / "out.mp4", in_process=False)
    assert run.start() == 0
    assert run.whole(reference)


def test_a_place_that_always_kills_is_given_up_with_its_time(source: Path, tmp_path: Path) -> None:
    run = Run(source, tmp_path / "out.mp4", in_process=False)
    with pytest.raises(AssertionError, match=r"after source frame \d+ \([\d.]+ s\).*given up"):
        run.start("compute.step=kill@2")
    assert run.deaths == 3


@pytest.mark.parametrize("fault", ["join.whole=kill@1", "join.named=crash@1",
                                   "encode.after_commit=exit@1"])  # fmt: skip
def test_a_worker_that_dies_when_what_counts_is_done_is_replaced(
    fault: str, source: Path, tmp_path: Path, reference: bytes
) -> None:
    """Its last commit was made, though it died before it could tell."""
    run = Run(source, tmp_path / "out.mp4", in_process=False)
    assert run.start(fault) == 0
    assert run.deaths == (VIDEO.frames // SEGMENT + 1 if fault.startswith("encode") else 1)
    assert run.whole(reference)
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_a_second_starter_is_turned_away_and_two_signals_pause(
    source: Path, tmp_path: Path, reference: bytes
) -> None:
    run, again = (Run(source, tmp_path / "out.mp4") for _ in range(2))
    with run.process("encode.before_write=hang@4") as first:
        assert first.stdout is not None
        while "Committed" not in first.stdout.readline():
            assert first.poll() is None
        assert again.start() == Exit.BUSY
        for _ in range(2):
            os.killpg(first.pid, signal.SIGINT)
        _, said = first.communicate()
    assert first.returncode == Exit.INTERRUPTED
    assert "the same command goes on from frame" in said
    ended(run, reference)
