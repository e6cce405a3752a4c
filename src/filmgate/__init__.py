"""Filmgate runs any video AI model over a video of any length, inside a fixed memory budget.

import filmgate as fg
fg.run(fg.Interpolate(factor=2), "in.mp4", "out.mp4")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from os import PathLike
    from pathlib import Path

    from filmgate.backends.spawn import Workers
    from filmgate.core.events import (
        Committed,
        Died,
        Done,
        Event,
        Prepared,
        Profiled,
        Progress,
        Replanned,
        Started,
        Warned,
    )
    from filmgate.core.frame import Frame, StreamSpec
    from filmgate.core.job import Job, SinkFile, SourceFile, Task
    from filmgate.core.model_cache import ModelCache
    from filmgate.core.plan import Plan
    from filmgate.core.run import FrameWatch
    from filmgate.core.snapshot import Snapshot
    from filmgate.errors import FilmgateError
    from filmgate.jobs.options import ResumeOptions
    from filmgate.media.sinks import ImageOutput, VideoOutput
    from filmgate.media.sources import ImageSequence, VideoFile
    from filmgate.planning.limits import Limits
    from filmgate.tasks.interpolate import Interpolate
    from filmgate.tasks.upscale import Upscale

    PathText = str | PathLike[str]

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
    "ModelCache",
    "Plan",
    "Prepared",
    "Profiled",
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

# The module of each public name: it is imported when the name is first used, so that a script that
# only asks for the version does not wait for the rest.
_MODULES = {
    **dict.fromkeys(
        (
            "Committed",
            "Died",
            "Done",
            "Event",
            "Prepared",
            "Profiled",
            "Progress",
            "Replanned",
            "Started",
            "Warned",
        ),
        "core.events",
    ),
    **dict.fromkeys(("Frame", "StreamSpec"), "core.frame"),
    **dict.fromkeys(("Job", "Task"), "core.job"),
    **dict.fromkeys(("ImageOutput", "VideoOutput"), "media.sinks"),
    **dict.fromkeys(("ImageSequence", "VideoFile"), "media.sources"),
    "FilmgateError": "errors",
    "Interpolate": "tasks.interpolate",
    "Limits": "planning.limits",
    "ModelCache": "core.model_cache",
    "Plan": "core.plan",
    "ResumeOptions": "jobs.options",
    "Upscale": "tasks.upscale",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def run(
    tasks: Task | Sequence[Task],
    source: SourceFile | PathText,
    sink: SinkFile | PathText,
    *,
    plan: Plan | None = None,
    seed: int = 0,
    resume_options: ResumeOptions | None = None,
    limits: Limits | None = None,
    on_event: Callable[[Event], object] | None = None,
) -> Done:
    """Run the tasks (none: re-encode) in one pass and return when the result is complete.

    A path names a video, or images: a folder or frames/%06d.png. An unfinished run of an earlier
    call with the same result is resumed. `on_event` is called with every event. Raises
    FilmgateError; no half-written result is left.
    """
    from filmgate.core.events import Done
    from filmgate.core.job import Job

    job = Job(_to_source(source), _to_sink(sink), _to_tuple(tasks), seed)
    for event in events(job, plan, resume_options=resume_options, limits=limits):
        if on_event is not None:
            on_event(event)
        if isinstance(event, Done):
            done = event
    return done


def events(
    job: Job,
    plan: Plan | None = None,
    *,
    resume_options: ResumeOptions | None = None,
    limits: Limits | None = None,
    trace: Path | None = None,
    profile: bool = False,
    worker: bool | Workers = False,
    skip_bad: bool = False,
    models: ModelCache | None = None,
    watch: FrameWatch | None = None,
) -> Generator[Event, None, None]:
    """Run a job, or resume it, and yield its events; closing the generator stops the run cleanly.

    `limits` choose the plan if none is given. `trace` is a file for ui.perfetto.dev; `profile` adds
    Profiled. With `worker` the job runs in a child process, whose crash does not end the run
    (`Workers` can start it before the job is known); `skip_bad` replaces frames that crash it
    repeatedly. Networks are taken from `models`, except in a worker, and stay in it for the next
    job; `watch`, which sees the frames, is not called in a worker. Raises FilmgateError.
    """
    from functools import partial

    run_here = partial(_run_here, resume_options=resume_options, limits=limits, trace=trace,
                       profile=profile)  # fmt: skip
    if not worker:
        return run_here(job, plan, models=models, watch=watch)
    workers = None if worker is True else worker
    return _run_in_worker(job, plan, run_here, resume_options, skip_bad, workers)


def _run_in_worker(
    job: Job,
    plan: Plan | None,
    run_here: Any,
    resume_options: ResumeOptions | None,
    skip_bad: bool,
    workers: Workers | None,
) -> Generator[Event, None, None]:
    """Run a job in a child process; remove what one that dies after its run has left."""
    from contextlib import suppress
    from pathlib import Path

    from filmgate.backends import worker
    from filmgate.errors import Busy
    from filmgate.jobs.options import ResumeOptions, explain_not_resumable

    resumable = explain_not_resumable(job) is None
    run = worker.run(
        job, plan, runner=run_here, resumable=resumable, skip_bad=skip_bad, workers=workers
    )
    ended = yield from run
    if resumable and not ended:
        directory = (resume_options or ResumeOptions()).find_directory(Path(job.sink.path))
        if directory.path.is_dir():
            with suppress(Busy), directory.lock():
                directory.remove()


def _run_here(
    job: Job,
    plan: Plan | None = None,
    resume: Snapshot | None = None,
    /,
    *,
    profile: bool = False,
    **options: Any,
) -> Generator[Event, None, None]:
    """Run a job in this process; what that imports, the parent of a worker does not need."""
    from filmgate.jobs import resumable

    run = resumable.run_profiled if profile else resumable.run
    return run(job, plan, resume, **options)


def frames(
    tasks: Task | Sequence[Task], source: SourceFile | PathText, *, plan: Plan | None = None
) -> Generator[Frame, None, None]:
    """Yield the frames of the result as they are computed, without writing a file."""
    from filmgate.backends import inline
    from filmgate.core.job import require_task

    checked = _to_tuple(tasks)
    for task in checked:
        require_task(task)
    return inline.iter_frames(_to_source(source), checked, plan)


def _to_source(source: SourceFile | PathText) -> SourceFile:
    from os import PathLike
    from pathlib import Path

    if not isinstance(source, str | PathLike):
        return source
    from filmgate.tasks.job_config import source_from

    return source_from({"path": Path(source)})


def _to_sink(sink: SinkFile | PathText) -> SinkFile:
    from os import PathLike, fspath

    if not isinstance(sink, str | PathLike):
        return sink
    from filmgate.media.images.numbering import parse_output
    from filmgate.tasks.job_config import refuse_existing_folder, sink_from

    result = sink_from({"path": parse_output(fspath(sink))})
    refuse_existing_folder(result)
    return result


def _to_tuple(tasks: Task | Sequence[Task]) -> tuple[Task, ...]:
    from collections.abc import Sequence

    many = isinstance(tasks, Sequence) and not isinstance(tasks, str)
    return tuple(tasks) if many else (tasks,)  # type: ignore[arg-type, return-value]
