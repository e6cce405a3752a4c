"""Filmgate: any video AI model over a video of any length, inside a fixed memory budget.

import filmgate as fg
fg.run(fg.Interpolate(factor=2), "in.mp4", "out.mp4")
"""

from collections.abc import Callable, Generator, Sequence
from os import PathLike
from pathlib import Path

from filmgate.core.events import Committed, Died, Done, Event, Progress, Replanned, Started, Warned
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.job import Job, SinkFile, SourceFile, Task
from filmgate.core.plan import Plan
from filmgate.errors import FilmgateError
from filmgate.jobs.options import ResumeOptions
from filmgate.media.sinks import ImageOutput, VideoOutput
from filmgate.media.sources import ImageSequence, VideoFile
from filmgate.planning.limits import Limits
from filmgate.tasks.interpolate import Interpolate
from filmgate.tasks.upscale import Upscale

__version__ = "0.2.0"

__all__ = [
    "Committed",
    "Died",
    "Done",
    "Event",
    "FilmgateError",
    "Frame",
    "ImageOutput",
    "ImageSequence",
    "Interpolate",
    "Job",
    "Limits",
    "Plan",
    "Progress",
    "Replanned",
    "ResumeOptions",
    "Started",
    "StreamSpec",
    "Task",
    "Upscale",
    "VideoFile",
    "VideoOutput",
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
    durable: ResumeOptions | None = None,
    limits: Limits | None = None,
    on_event: Callable[[Event], object] | None = None,
) -> Done:
    """Does the tasks (none: identity) in one pass from a file to a file; returns when it is whole.

    A path may name a film, or images: a folder or frames/%06d.png. What an earlier call for the
    same result left undone is gone on with. `on_event` hears everything that happens. Raises
    FilmgateError; nothing half-written is left.
    """
    job = Job(_file(source), _output(sink), _several(tasks), seed)
    for event in events(job, plan, durable=durable, limits=limits):
        if on_event is not None:
            on_event(event)
        if isinstance(event, Done):
            done = event
    return done


def events(
    job: Job,
    plan: Plan | None = None,
    *,
    durable: ResumeOptions | None = None,
    limits: Limits | None = None,
    trace: Path | None = None,
    worker: bool = False,
    skip_bad: bool = False,
) -> Generator[Event, None, None]:
    """Does a job, or the rest of it, and says what happens; closing it stops the run cleanly.

    `limits` choose the plan if none is given. `trace` is written for ui.perfetto.dev. With
    `worker` it runs in a child process, and what kills that does not end the run; `skip_bad`
    frames that kill it again and again are stood in for.
    """
    from functools import partial

    from filmgate.backends import worker as worker_
    from filmgate.jobs.resumable import passing
    from filmgate.jobs.resumable import run as run_durable

    here = partial(run_durable, durable=durable, limits=limits, trace=trace)
    if not worker:
        return here(job, plan)
    return worker_.run(job, plan, within=here, durable=passing(job) is None, skip_bad=skip_bad)


def frames(
    tasks: Task | Sequence[Task], source: SourceFile | Path_, *, plan: Plan | None = None
) -> Generator[Frame, None, None]:
    """The result's frames as they are made, for Python code in place of a file."""
    from filmgate.backends import inline

    return inline.frames(_file(source), _several(tasks), plan)


def _file(source: SourceFile | Path_) -> SourceFile:
    if not isinstance(source, str | PathLike):
        return source
    from filmgate.tasks.job_config import source_from

    return source_from({"path": Path(source)})


def _output(sink: SinkFile | Path_) -> SinkFile:
    if not isinstance(sink, str | PathLike):
        return sink
    from filmgate.tasks.job_config import sink_from

    return sink_from({"path": Path(sink)})


def _several(tasks: Task | Sequence[Task]) -> tuple[Task, ...]:
    return tuple(tasks) if isinstance(tasks, Sequence) else (tasks,)
