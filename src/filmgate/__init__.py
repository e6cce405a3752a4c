"""Filmgate: any video AI model over a video of any length, inside a fixed memory budget.

import filmgate as fg
fg.run(fg.Interpolate(factor=2), "in.mp4", "out.mp4")
"""

from collections.abc import Callable, Generator, Sequence
from os import PathLike
from pathlib import Path

from filmgate.core.events import (
    Committed,
    Died,
    Done,
    Event,
    Progress,
    Replanned,
    Started,
    Warned,
)
from filmgate.core.frame import Frame, Spec
from filmgate.core.job import Job, SinkFile, SourceFile, Task
from filmgate.core.plan import Plan
from filmgate.errors import FilmgateError, UserError
from filmgate.media.file import File, ImageOutput, Images, Output
from filmgate.tasks.interpolate import Interpolate

__version__ = "0.1.0"

__all__ = [
    "Committed",
    "Died",
    "Done",
    "Event",
    "File",
    "FilmgateError",
    "Frame",
    "ImageOutput",
    "Images",
    "Interpolate",
    "Job",
    "Output",
    "Plan",
    "Progress",
    "Replanned",
    "Spec",
    "Started",
    "Task",
    "UserError",
    "Warned",
    "events",
    "frames",
    "run",
]

Path_ = str | PathLike[str]


def run(
    tasks: Task | Sequence[Task],
    source: SourceFile | Path_,
    sink: SinkFile | Path_,
    *,
    plan: Plan | None = None,
    seed: int = 0,
    on_event: Callable[[Event], object] | None = None,
) -> Done:
    """Does the tasks (none: identity) in one pass from a file to a file; returns when it is whole.

    A path may name a film, or images: a folder or frames/%06d.png. `on_event` hears everything
    that happens. Raises FilmgateError; nothing half-written is left.
    """
    job = Job(_file(source), _output(sink), _several(tasks), seed)
    for event in events(job, plan):
        if on_event is not None:
            on_event(event)
        if isinstance(event, Done):
            done = event
    return done


def events(job: Job, plan: Plan | None = None) -> Generator[Event, None, None]:
    """Does a job and says what happens, event by event; closing it stops the run cleanly."""
    from filmgate.backends import inline

    return inline.run(job, plan)


def frames(
    tasks: Task | Sequence[Task], source: SourceFile | Path_, *, plan: Plan | None = None
) -> Generator[Frame, None, None]:
    """The result's frames as they are made, for Python code in place of a file."""
    from filmgate.backends import inline

    return inline.frames(_file(source), _several(tasks), plan)


def _file(source: SourceFile | Path_) -> SourceFile:
    if not isinstance(source, str | PathLike):
        return source
    from filmgate.tasks.forms import source_from

    return source_from({"path": Path(source)})


def _output(sink: SinkFile | Path_) -> SinkFile:
    if not isinstance(sink, str | PathLike):
        return sink
    from filmgate.tasks.forms import sink_from

    return sink_from({"path": Path(sink)})


def _several(tasks: Task | Sequence[Task]) -> tuple[Task, ...]:
    return tuple(tasks) if isinstance(tasks, Sequence) else (tasks,)
