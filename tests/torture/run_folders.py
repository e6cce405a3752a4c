"""Damaged run folders, and two runs that start at the same moment on one output."""

import pickle
import random
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from filmgate.errors import Exit
from tests.jobs import test_damaged_directories as damaged
from tests.torture.commands import (
    check_end,
    require,
    run_filmgate,
    run_forked,
    start_forked,
    wait_for,
)
from tests.torture.outputs import IMAGE_OUTPUTS, VIDEO_OUTPUTS, make_references

OUTPUTS = VIDEO_OUTPUTS[:2] + IMAGE_OUTPUTS[:1]
WRONG = 99  # the exit code of a fork whose run gave another result than it must


def prepare_damage(folder: Path) -> Callable[[int], int]:
    """Return the attempt: one file of a stopped run is damaged, and the run resumes."""
    kept = folder / "stopped.pickle"

    def make() -> int:
        kept.write_bytes(pickle.dumps(damaged.make_stopped(folder)))
        return 0

    check_end(run_forked(make, folder, folder / "log"), (0,), "a run that is stopped")
    stopped: damaged.Stopped = pickle.loads(kept.read_bytes())
    kinds = [*((name, False) for name in damaged.FILES), ("000001.snapshot", True)]

    def attempt(number: int) -> int:
        name, fits = kinds[number % len(kinds)]
        place = folder / "damaged"
        shutil.rmtree(place, ignore_errors=True)

        def call() -> int:
            try:
                damaged.check_damaged(stopped, name, number, place, fits=fits)
            except AssertionError as error:
                print(error)
                return WRONG
            return 0

        ended = run_forked(call, folder, folder / "log")
        check_end(ended, (0,), f"{name}, damaged with seed {number}")
        return 1

    return attempt


def prepare_races(folder: Path) -> Callable[[int], int]:
    """Return the attempt: the same command twice; one is done, the other says that it is busy."""
    references = make_references(OUTPUTS, folder)
    place, logs = folder / "disk", (folder / "log", folder / "second log")

    def attempt(number: int) -> int:
        output, reference = OUTPUTS[number % len(OUTPUTS)], references[number % len(OUTPUTS)]
        what, random_ = f"{output.name} of race {number}", random.Random(number)
        output.fill(place)
        call = partial(run_filmgate, output.arguments("--in-process"))
        pids = []
        for log in logs:
            pids.append(start_forked(call, place, log))
            time.sleep(random_.choice((0.0, random_.uniform(0, 0.02), random_.uniform(0, 0.4))))
        both = [wait_for(pid, log) for pid, log in zip(pids, logs, strict=True)]
        require(any(one.code == Exit.DONE for one in both), "wrong", f"{what}: none is done")
        for one in both:
            # done: it came when the other had just finished; refused: the result exists
            check_end(one, (Exit.DONE, Exit.BUSY, Exit.USER), what)
            exists = one.code != Exit.USER or "exist" in one.output
            require(exists, "wrong", f"{what}: {one.output}")
        output.check_result(place, reference, what)
        return 1

    return attempt
