"""Runs that follow a script, for tests of processes.

Each child imports this module, so it imports neither pytest nor NumPy: that takes longer than all
else that a child does.
"""

import os
import sys
import threading
from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import filmgate as fg
from filmgate.backends import worker
from filmgate.backends.worker_process import WorkerTimeouts
from filmgate.core.frame import StreamSpec
from filmgate.core.job import Job
from filmgate.core.snapshot import Cursor, Snapshot
from filmgate.errors import FilmgateError, OutOfMemory
from tests import processes
from tests.processes import KILL

SPEC = StreamSpec(width=2, height=2, rate=None, time_base=Fraction(1, 25), pixels="rgb")
FAST = WorkerTimeouts(loading=20.0, running=0.5, stopping=0.5)


@dataclass(frozen=True)
class Nowhere:
    """The definition of a source and a sink that are never opened."""

    path: Path = Path("nowhere")

    def find_leftovers(self, run_name: str) -> list[Path]:
        return []


JOB: Any = Job(Nowhere(), Nowhere())  # type: ignore[arg-type]


def progress(read: int) -> fg.Progress:
    return fg.Progress(read, read, Fraction(read, 25), 0.0, 0)


def scripted(acts: tuple[str, ...], resume: Snapshot | None) -> Generator[fg.Event, None, None]:
    """A run that follows a script: a number is a commit after so many frames."""
    yield fg.Started(SPEC, SPEC, (), read=resume.cursor.index if resume else 0)
    for act in acts:
        if act.isdecimal():
            yield progress(int(act))
            yield fg.Committed(Snapshot(Cursor(int(act), 0), None, (), int(act)))
        elif act == "kill":
            print("its last line", file=sys.stderr, flush=True)
            os.kill(os.getpid(), KILL)
        elif act == "crash":
            processes.crash()
        elif act == "exit":
            os._exit(9)
        elif act == "hang":
            threading.Event().wait()
        elif act == "memory":
            raise MemoryError("4 GB wanted")
        elif act == "ours":
            raise OutOfMemory(2, 8, "why")
    yield fg.Done(8, 8, 0.0)


def die(
    job: Job, plan: Any, resume: Snapshot | None, *, run_name: str
) -> Generator[fg.Event, None, None]:
    """Die after a commit in the way that `job.seed` selects."""
    act = ("kill", "crash", "exit", "hang", "memory", "ours")[job.seed]
    return scripted(("4", act), resume)


def die_once(
    job: Job, plan: Any, resume: Snapshot | None, *, run_name: str
) -> Generator[fg.Event, None, None]:
    return scripted(("8",) if resume else ("4", "exit"), resume)


def collect(**arguments: Any) -> tuple[list[fg.Event], FilmgateError | None]:
    """Return the events of a run in a worker, and its error."""
    events: list[fg.Event] = []
    try:
        events.extend(worker.run(timeouts=FAST, **arguments))
    except FilmgateError as error:
        return events, error
    return events, None


def die_after_the_end(
    job: Job, plan: Any, resume: Snapshot | None, *, run_name: str
) -> Generator[fg.Event, None, None]:
    yield from scripted((), resume)
    os._exit(9)


def die_at_once(
    job: Job, plan: Any, resume: Snapshot | None, *, run_name: str
) -> Generator[fg.Event, None, None]:
    return scripted(("exit",), resume)


def hang(
    job: Job, plan: Any, resume: Snapshot | None, *, run_name: str
) -> Generator[fg.Event, None, None]:
    """Write a hidden file, report the process, and hang."""
    name = f".out.{run_name}.part.mp4"
    (Path(job.sink.path).parent / name).write_text("half")
    yield fg.Warned(str(os.getpid()))
    threading.Event().wait()


def report_pid(
    job: Job, plan: Any, resume: Any, *, run_name: str
) -> Generator[fg.Event, None, None]:
    yield fg.Warned(f"{os.getpid()} {'colorsys' in sys.modules}")
    yield from scripted((), resume)


def load() -> None:
    import colorsys  # noqa: F401 - a module that nothing else imports
