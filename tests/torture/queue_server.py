"""Kill the server of a queue, or cut its power; count acknowledged jobs and segments that are lost.

SQLite writes without Python: a power cut is replayed from what its access to files recorded.
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from filmgate.jobs.queue.job_queue import JobQueue
from tests.jobs.queue.power_cuts import find_lost_by_cut, record
from tests.jobs.queue.workload import Acknowledged, find_lost, work
from tests.torture.commands import Failure, check_end, require, start_forked, wait_for

KILLS_PER_CASE = 5
MOMENT_S = 0.15  # of the work after the queue is open
ROUNDS, STARTS = 400, 3  # changes of a recorded server at each of its starts


def serve(path: Path, log: Path, seed: int) -> int:
    """Open the queue and work until killed; each acknowledged change is a line of the log."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(each: Acknowledged) -> None:
        os.write(handle, f"{each.format()}\n".encode())

    with JobQueue(path) as queue:
        os.write(handle, b"open\n")
        work(queue, random.Random(seed), note, rounds=10**9)
    return 0


def prepare_kills(folder: Path) -> Callable[[int], int]:
    """Return the attempt: a queue whose server is killed five times, at random moments."""

    def attempt(number: int) -> int:
        random_, place = random.Random(number), folder / "queue"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        path, log = place / "queue.db", place / "acknowledged"
        for kill in range(KILLS_PER_CASE):
            opened = count_openings(log)
            pid = start_forked(lambda: serve(path, log, random_.getrandbits(32)), place,
                               place / "output")  # fmt: skip
            if random_.random() < 0.8:
                wait_until_open(log, opened + 1)
            time.sleep(random_.uniform(0, MOMENT_S))
            os.kill(pid, signal.SIGKILL)
            check_end(wait_for(pid, place / "output"), (-signal.SIGKILL,), f"server {kill}")
            lines = log.read_text().splitlines() if log.exists() else []
            if path.exists():
                lost = find_lost(path, Acknowledged.parse(lines))
                require(not lost, "lost", f"after kill {kill + 1}: {lost[:3]}")
        return KILLS_PER_CASE

    return attempt


def count_openings(log: Path) -> int:
    """Return how often a server has opened the queue."""
    return log.read_bytes().count(b"open\n") if log.exists() else 0


def wait_until_open(log: Path, openings: int) -> None:
    """Wait until the queue was opened so often."""
    deadline = time.monotonic() + 30
    while count_openings(log) < openings:
        if time.monotonic() > deadline:
            raise Failure("hang", "the queue does not open")
        time.sleep(0.002)


def prepare_power_cuts(cases: int, folder: Path) -> Callable[[int], int]:
    """Record a server once and return the attempt: one moment at which the power is cut."""
    recorded = record(folder, ROUNDS, STARTS)
    most = len(recorded.operations)

    def attempt(number: int) -> int:
        at = number * most // max(1, cases - 1)
        lost = find_lost_by_cut(recorded, at, number, folder / "after")
        require(not lost, "lost", f"before operation {at} of {most}: {lost[:3]}")
        return 1

    return attempt
