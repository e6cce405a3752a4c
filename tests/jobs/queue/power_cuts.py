"""Record a server at work on a queue, and cut its power at any moment of the record.

SQLite writes without Python, so the record is made below it.
"""

import random
import shutil
from pathlib import Path
from typing import NamedTuple

from filmgate.jobs.queue.job_queue import JobQueue
from tests.jobs.queue.disk import VFS, Operation, cut_power, get_disk
from tests.jobs.queue.workload import Acknowledged, find_lost, work


class Recorded(NamedTuple):
    """Files at the beginning, what was done to them, and what was acknowledged when."""

    files: dict[str, bytes]
    operations: list[Operation]
    acknowledged: list[tuple[int, Acknowledged]]  # after so many operations


def record(folder: Path, rounds: int, starts: int) -> Recorded:
    """Work on a queue and return what happened to its files from its first opening on."""
    disk, path = get_disk(), folder / "recorded.db"
    assert disk is not None, "Python's SQLite cannot be recorded here"
    disk.reset()
    recorded = Recorded({}, [], [])

    def note(each: Acknowledged) -> None:
        recorded.acknowledged.append((len(disk.operations), each))

    for start in range(starts):
        with JobQueue(path, vfs=VFS) as queue:
            if start == 0:  # all of it is synced
                disk.operations = recorded.operations
                for name in (path.name, f"{path.name}-wal"):
                    recorded.files[name] = path.with_name(name).read_bytes()
            work(queue, random.Random(start), note, rounds)
    disk.reset()
    return recorded


def find_lost_by_cut(recorded: Recorded, at: int, seed: int, folder: Path) -> list[str]:
    """Cut the power before operation `at`; return what of the acknowledged is lost."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    left = cut_power(recorded.files, recorded.operations[:at], random.Random(seed))
    for name, data in left.items():
        (folder / name).write_bytes(data)
    before = [each for position, each in recorded.acknowledged if position <= at]
    return find_lost(folder / "recorded.db", before)
