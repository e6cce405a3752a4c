"""Run a job so that it survives its process: a later run resumes from the last commit."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from filmgate.backends import inline
from filmgate.core.events import Committed, Event, Prepared, Replanned, Started, Warned
from filmgate.core.instrumentation.fault_injection import inject_fault
from filmgate.core.instrumentation.phases import phase, record_phases
from filmgate.core.job import Job
from filmgate.core.model_cache import ModelCache
from filmgate.core.outputs import select_output
from filmgate.core.plan import Plan, ReducedBatch
from filmgate.core.run import FrameWatch
from filmgate.core.snapshot import Snapshot
from filmgate.errors import FULL_DISK, DiskFull, FilmgateError, Paused
from filmgate.jobs.checkpoints import Checkpoints
from filmgate.jobs.event_log import EventLog
from filmgate.jobs.identity import check_same_run, describe_run, find_inputs, has_moved_inputs
from filmgate.jobs.inputs import InputWatch
from filmgate.jobs.journal import FrameJournal, has_journal
from filmgate.jobs.options import ResumeOptions, explain_not_resumable
from filmgate.jobs.run_directory import RunDirectory
from filmgate.jobs.stored_run import write_stored_job, write_stored_plan
from filmgate.media.sinks import ImageOutput
from filmgate.planning.disk import check_remaining_space, check_space
from filmgate.planning.limits import Limits
from filmgate.storage.atomic import replace_durably
from filmgate.storage.fingerprint import sample_fingerprint

if TYPE_CHECKING:
    from filmgate.backends.profile import Profile

_MOVED = (
    "an input is another file than when the run began, with the same size, time of change and "
    "samples: it is taken for a copy. If its content is another, pass --restart"
)


def run(
    job: Job,
    plan: Plan | None = None,
    resume: Snapshot | None = None,
    *,
    resume_options: ResumeOptions | None = None,
    limits: Limits | None = None,
    trace: Path | None = None,
    profile: Profile | None = None,
    models: ModelCache | None = None,
    run_name: str = "",
    watch: FrameWatch | None = None,
) -> Generator[Event, None, None]:
    """Run the job, or the rest of it if an earlier run of the same job was stopped.

    Default plan: the fastest within `limits`. The run's directory decides where to resume; a
    `resume` only prevents a restart. `watch` sees the frames, an entered `profile` measures them.
    Raises Busy; BadSetting if the directory is of another run; Interrupted for a pause.
    """
    options, limits = resume_options or ResumeOptions(), limits or Limits()
    models = models or ModelCache()
    if resume is None:  # else the process before this one said it
        yield from _warn_of_unused(job, limits)
    if reason := explain_not_resumable(job):
        yield Warned(reason)
        plan = plan or _find_plan(job, limits, models, profile)
        yield from inline.run(job, plan, resume, limits=limits, trace=trace, profile=profile,
                              models=models, run_name=run_name, watch=watch)  # fmt: skip
        return
    directory = options.find_directory(Path(job.sink.path))
    with directory.lock() as created, InputWatch(find_inputs(job)) as inputs:
        checkpoints = Checkpoints(directory, options.playable, len(job.sinks), inputs)
        is_new = created
        try:
            described = describe_run(job, limits)
            if options.restart and resume is None:
                _start_over(checkpoints, job)
            if directory.has_progress:
                checkpoints.check()
                plan = check_same_run(directory, described, plan)
                if has_moved_inputs(directory, described):
                    yield Warned(_MOVED)
            if checkpoints.has_commits:
                if ending := _finish_naming(checkpoints, job):
                    yield from ending
                    _remove(directory)
                    return
            elif not has_journal(directory):
                is_new = True
                _start_over(checkpoints, job)
                given = not created and options.work is not None
                write_stored_job(directory, described | {"given": given})
                plan = plan or _find_plan(job, limits, models, profile)
            yield from _run_logged(job, plan, checkpoints, options.pause_after,
                                   limits, trace, profile, models, watch)  # fmt: skip
            _remove(directory)
        finally:
            kept = checkpoints.has_commits or has_journal(directory)
            if is_new and not kept and directory.is_run:
                directory.remove()


def _warn_of_unused(job: Job, limits: Limits) -> Iterator[Warned]:
    """Yield that --vram or --device has no effect; what tells it is only imported for it."""
    if limits.vram:
        from filmgate.planning.device_memory import explain_unused_vram

        if notice := explain_unused_vram(limits):
            yield Warned(notice)
    if not job.tasks:
        return
    from filmgate.tasks.model_task import ModelTask

    for task in job.tasks:
        if isinstance(task, ModelTask) and (notice := task.explain_unused_device()):
            yield Warned(notice)


def run_profiled(
    job: Job, plan: Plan | None = None, resume: Snapshot | None = None, /, **options: Any
) -> Generator[Event, None, None]:
    """Run the same with its phases measured and reported; `options` are those of `run`."""
    from filmgate.backends.profile import Profile

    with (
        Profile() as profile,
        closing(run(job, plan, resume, profile=profile, **options)) as events,
    ):
        yield from profile.report(events)


def _find_plan(
    job: Job, limits: Limits, models: ModelCache, profile: Profile | None
) -> Plan | None:
    """Return the plan that keeps the budget in `limits`, None if they have none."""
    if not limits.needs_measuring:
        return None
    from filmgate.planning.fit import fit_within

    with record_phases(profile), phase("plan"):
        fitted = fit_within(job, limits, models)
    if fitted is None:
        return None
    if profile is not None:
        profile.predict(fitted.costs, fitted.plan)
    return fitted.plan


def _remove(directory: RunDirectory) -> None:
    """Remove the directory of a run that is done."""
    inject_fault("end.reported")
    directory.remove()
    inject_fault("end.removed")


def _run_logged(
    job: Job,
    plan: Plan | None,
    checkpoints: Checkpoints,
    pause_after: Fraction | None,
    limits: Limits,
    trace: Path | None,
    profile: Profile | None,
    models: ModelCache,
    watch: FrameWatch | None,
) -> Generator[Event, None, None]:
    """Run the job with its events in the directory's log; everything is closed at the end."""
    journal = FrameJournal(checkpoints.directory)
    events = inline.run(job, plan, limits=limits, checkpoints=checkpoints, trace=trace,
                        profile=profile, models=models, journal=journal, watch=watch)  # fmt: skip
    recorded = _record(events, job, plan, checkpoints, pause_after)
    with (
        closing(journal),
        EventLog(checkpoints.path / "events.jsonl") as log,
        closing(events),  # before the directory is removed: the sink deletes what is uncommitted
        closing(recorded),
    ):
        for event in recorded:
            log.write(event)
            yield event


def _record(
    events: Generator[Event, None, None],
    job: Job,
    plan: Plan | None,
    checkpoints: Checkpoints,
    pause_after: Fraction | None,
) -> Generator[Event, None, None]:
    """Yield the events of a run; store its plan before the first frame and at every change."""
    directory, start = checkpoints.directory, perf_counter()
    names: tuple[str, ...] = ()
    frames: int | None = None
    move = ""  # the last one before the first frame
    bad_frames = plan.bad_frames if plan and checkpoints.has_commits else ()  # that are stored
    try:
        for event in events:
            while checkpoints.warnings:
                yield Warned(checkpoints.warnings.pop(0))
            if isinstance(event, Started):
                plan, names, frames = event.plan, event.stages, event.source.frames
                if not checkpoints.has_commits:
                    write_stored_plan(directory, plan, frames)
                if not event.read:
                    check_space(directory.path, job, event)
            elif isinstance(event, Prepared):
                move = f"{event.what} {event.done} of {event.total}"
            elif isinstance(event, Replanned) and plan:
                reduced = ReducedBatch(event.index, names.index(event.stage), event.batch)
                plan = replace(plan, reduced_batches=(*plan.reduced_batches, reduced))
                write_stored_plan(directory, replace(plan, bad_frames=bad_frames), frames)
            if isinstance(event, Committed):
                if plan and plan.bad_frames != bad_frames:  # without them it reached this commit
                    bad_frames = plan.bad_frames
                    write_stored_plan(directory, plan, frames)
                snapshot = event.snapshot
                ended = snapshot.state is None
                yield Committed(snapshot if ended else replace(snapshot, state=()))  # it is on disk
                if not ended:
                    if plan and snapshot.cursor.index % plan.segment_frames == 0:
                        check_remaining_space(directory.path, snapshot.cursor.index, frames)
                    if pause_after is not None and perf_counter() - start >= pause_after:
                        index = snapshot.cursor.index
                        at = move if move and not index else f"frame {index}"
                        raise Paused(f"paused at {at}: the same command resumes from there")
            else:
                yield event
    except (FilmgateError, OSError) as error:
        directory.check_exists()
        if _is_disk_full(error) and not isinstance(error, DiskFull):
            folders = [directory.path, *(Path(sink.path).absolute().parent for sink in job.sinks)]
            raise DiskFull.full(_find_fullest(folders), checkpoints.frames) from error
        raise


def _start_over(checkpoints: Checkpoints, job: Job) -> None:
    """Delete what an earlier run wrote; its images are in the output folder."""
    for k, sink in enumerate(job.sinks):
        if isinstance(sink, ImageOutput):
            sink.discard(checkpoints.path, [select_output(c, k) for c in checkpoints.commits()])
    checkpoints.directory.clear()


def _finish_naming(checkpoints: Checkpoints, job: Job) -> list[Event]:
    """Give complete results their names, if that is all that is left to do; return its events."""
    completion = checkpoints.read_completion()
    if completion is None:
        return []
    parts = {}
    for result in completion.results:
        part, path = checkpoints.path / result.name, Path(job.sinks[result.output].path)
        if part.exists() and sample_fingerprint(part) == result.fingerprint:
            parts[part] = path
        elif not (path.exists() and sample_fingerprint(path) == result.fingerprint):
            return []
    for part, path in parts.items():
        replace_durably(part, path)
    notice = f"{job.sink.path} is complete: a run was stopped after its end"
    return [*map(Warned, (notice, *completion.dropped)), completion.done]


def _find_fullest(folders: list[Path]) -> Path:
    """Return the folder on the disk with the least free space."""
    return min((folder for folder in folders if folder.is_dir()),
               key=lambda folder: shutil.disk_usage(folder).free)  # fmt: skip


def _is_disk_full(error: BaseException | None) -> bool:
    while error is not None:
        if getattr(error, "errno", None) in FULL_DISK:  # OSError, or FFmpeg's
            return True
        error = error.__cause__
    return False
