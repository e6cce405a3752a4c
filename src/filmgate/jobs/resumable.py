"""Run a job so that it survives its process: a later run resumes from the last commit."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from time import perf_counter

from filmgate.backends import inline
from filmgate.core.events import Committed, Done, Event, Replanned, Started, Warned
from filmgate.core.job import Job
from filmgate.core.model_cache import ModelCache
from filmgate.core.plan import Plan, ReducedBatch
from filmgate.core.snapshot import Snapshot
from filmgate.errors import DiskFull, FilmgateError, Interrupted
from filmgate.jobs.checkpoints import Checkpoints
from filmgate.jobs.event_log import EventLog
from filmgate.jobs.identity import check_same_run, describe_run
from filmgate.jobs.options import ResumeOptions, explain_not_resumable
from filmgate.jobs.run_directory import COMMITS
from filmgate.jobs.stored_run import write_stored_job, write_stored_plan
from filmgate.media.sinks import ImageOutput, RecordOutput, VideoOutput
from filmgate.planning.disk import check_remaining_space, check_space
from filmgate.planning.fit import plan_within
from filmgate.planning.limits import Limits
from filmgate.storage.atomic import replace_durably
from filmgate.storage.fingerprint import sample_fingerprint


def run(
    job: Job,
    plan: Plan | None = None,
    resume: Snapshot | None = None,
    *,
    durable: ResumeOptions | None = None,
    limits: Limits | None = None,
    trace: Path | None = None,
    models: ModelCache | None = None,
    run_name: str = "",
) -> Generator[Event, None, None]:
    """Run the job, or the rest of it if an earlier run of the same job was stopped.

    Default plan: the fastest within `limits`. The run's directory decides where to resume; a
    `resume` only prevents a restart. Raises FilmgateError: Busy; BadSetting if the directory is of
    a run with other settings; Interrupted for a pause.
    """
    options, limits, models = durable or ResumeOptions(), limits or Limits(), models or ModelCache()
    if (reason := explain_not_resumable(job)) or not isinstance(
        job.sink, VideoOutput | ImageOutput | RecordOutput
    ):
        if reason:
            yield Warned(reason)
        plan = plan or plan_within(job, limits, models)
        yield from inline.run(job, plan, resume, limits=limits, trace=trace, models=models,
                              run_name=run_name)  # fmt: skip
        return
    directory = options.find_directory(Path(job.sink.path))
    with directory.lock() as created:
        checkpoints = Checkpoints(directory, options.playable)
        try:
            if options.restart and resume is None:
                _start_over(checkpoints, job.sink)
            if directory.read(COMMITS) is not None:
                plan = check_same_run(directory, job, plan, limits)
                if not checkpoints.has_commits:
                    yield Warned(f"{directory.path / COMMITS} is damaged: starting again")
            if checkpoints.has_commits:
                if done := _finish_naming(checkpoints, job.sink):
                    yield done
                    directory.remove()
                    return
            else:
                _start_over(checkpoints, job.sink)
                given = not created and options.work is not None
                write_stored_job(directory, describe_run(job, limits) | {"given": given})
                plan = plan or plan_within(job, limits, models)
            yield from _run_logged(job, plan, checkpoints, options.pause_after, limits, trace,
                                   models)  # fmt: skip
            directory.remove()
        finally:
            if directory.is_run and not checkpoints.has_commits:
                directory.remove()


def _run_logged(
    job: Job,
    plan: Plan | None,
    checkpoints: Checkpoints,
    pause_after: Fraction | None,
    limits: Limits,
    trace: Path | None,
    models: ModelCache,
) -> Generator[Event, None, None]:
    """Run the job with its events in the directory's log; everything is closed at the end."""
    events = inline.run(job, plan, limits=limits, checkpoints=checkpoints, trace=trace,
                        models=models)  # fmt: skip
    recorded = _record(events, job, plan, checkpoints, pause_after)
    with (
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
                    check_remaining_space(directory.path, snapshot.cursor.index, frames)
                    if pause_after is not None and perf_counter() - start >= pause_after:
                        raise Interrupted(f"paused at frame {snapshot.cursor.index}: the same "
                                          "command resumes from there")  # fmt: skip
            else:
                yield event
    except (FilmgateError, OSError) as error:
        if _is_disk_full(error) and not isinstance(error, DiskFull):
            raise DiskFull.full(directory.path, checkpoints.frames) from error
        raise


def _start_over(checkpoints: Checkpoints, sink: VideoOutput | ImageOutput | RecordOutput) -> None:
    """Delete what an earlier run wrote; its images are in the output folder."""
    if isinstance(sink, ImageOutput):
        sink.discard(checkpoints)
    checkpoints.directory.clear()


def _finish_naming(
    checkpoints: Checkpoints, sink: VideoOutput | ImageOutput | RecordOutput
) -> Done | None:
    """Give a complete result its name, if that is all that is left to do."""
    complete = checkpoints.read_complete()
    if complete is None:
        return None
    result, done = complete
    part, path = checkpoints.path / result.name, Path(sink.path)
    if part.exists() and sample_fingerprint(part) == result.fingerprint:
        replace_durably(part, path)
    elif not (path.exists() and sample_fingerprint(path) == result.fingerprint):
        return None
    return done


def _is_disk_full(error: BaseException | None) -> bool:
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):  # OSError, or FFmpeg's
            return True
        error = error.__cause__
    return False
