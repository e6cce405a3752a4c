"""A run that outlives its process: what it committed lies in a folder, from where it goes on."""

from __future__ import annotations

import errno
import json
from collections.abc import Generator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from time import perf_counter

from filmgate.backends import inline
from filmgate.core.events import Committed, Done, Event, Replanned, Started, Warned
from filmgate.core.job import Job
from filmgate.core.plan import Plan, Shrunk
from filmgate.core.snapshot import Snapshot
from filmgate.errors import DiskFull, FilmgateError, Interrupted
from filmgate.jobs.checkpoints import Checkpoints
from filmgate.jobs.event_log import Log
from filmgate.jobs.identity import run_identity, same_run
from filmgate.jobs.options import ResumeOptions
from filmgate.jobs.run_directory import RunDirectory
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import ImageSequence, VideoFile
from filmgate.planning import disk
from filmgate.planning.fit import planned_within
from filmgate.planning.limits import Limits
from filmgate.storage.atomic import named
from filmgate.storage.fingerprint import fingerprint
from filmgate.tasks.job_config import plain


def passing(job: Job) -> str | None:
    """Why a run of this job can't be gone on with by another process; None: it can."""
    if not isinstance(job.source, VideoFile | ImageSequence):
        return "a pipe can't be read twice: if this run is stopped, it begins anew"
    if isinstance(job.sink, VideoOutput) and job.sink.piped:
        return "what has gone into a pipe is gone: if this run is stopped, it begins anew"
    return None


def run(
    job: Job,
    plan: Plan | None = None,
    resume: Snapshot | None = None,
    *,
    durable: ResumeOptions | None = None,
    limits: Limits | None = None,
    trace: Path | None = None,
) -> Generator[Event, None, None]:
    """Does the job, or the rest of it where an earlier run of the same job stopped.

    Without a plan, `limits` choose one; without those, a rule. What is in the folder decides where
    it goes on; a `resume` only says that it is not to start over. Raises FilmgateError: Busy,
    BadSetting if the folder is of a run with other settings, Interrupted for a pause.
    """
    durable, limits = durable or ResumeOptions(), limits or Limits()
    if passing(job) or not isinstance(job.sink, VideoOutput):
        if said := passing(job):
            yield Warned(said)
        yield from inline.run(job, plan or planned_within(job, limits), resume, trace=trace)
        return
    folder = durable.folder(Path(job.sink.path))
    with folder.held() as created:
        ledger = Checkpoints(folder, durable.playable)
        try:
            if durable.restart and resume is None:
                folder.clear()
            if ledger.begun:
                plan = same_run(folder, job, plan, limits)
                if done := _only_unnamed(ledger, job.sink):
                    yield done
                    folder.remove()
                    return
            else:
                folder.clear()
                asked = run_identity(job, limits) | {
                    "given": not created and durable.work is not None
                }
                folder.write("job.json", json.dumps(asked, indent=1).encode())
                plan = plan or planned_within(job, limits)
            with Log(folder.path / "events.jsonl") as log:
                for event in _logged(job, plan, ledger, trace, durable.pause_after):
                    log.tell(event)
                    yield event
            folder.remove()
        finally:
            if folder.begun and not ledger.begun:
                folder.remove()


def _logged(
    job: Job,
    plan: Plan | None,
    ledger: Checkpoints,
    trace: Path | None,
    pause_after: Fraction | None,
) -> Generator[Event, None, None]:
    """The run itself: its plan is written down before its first frame, and each time it shrinks."""
    folder, began = ledger.folder, perf_counter()
    names: tuple[str, ...] = ()
    frames: int | None = None
    settled = plan.bad if plan and ledger.begun else ()
    try:
        for event in inline.run(job, plan, keep=ledger, trace=trace):
            while ledger.told:
                yield Warned(ledger.told.pop(0))
            if isinstance(event, Started):
                plan, names, frames = event.plan, event.stages, event.source.frames
                if not ledger.begun:
                    _write_plan(folder, plan, frames)
                if not event.read:
                    disk.for_all(folder.path, job, event)
            elif isinstance(event, Replanned) and plan:
                shrunk = Shrunk(event.index, names.index(event.stage), event.batch)
                plan = replace(plan, shrunk=(*plan.shrunk, shrunk))
                _write_plan(folder, replace(plan, bad=settled), frames)
            if isinstance(event, Committed):
                if plan and plan.bad != settled:  # without those frames it got this far
                    settled = plan.bad
                    _write_plan(folder, plan, frames)
                snapshot = event.snapshot
                ended = snapshot.state is None
                yield Committed(snapshot if ended else replace(snapshot, state=()))  # it is on disk
                if not ended:
                    disk.for_the_rest(folder.path, snapshot.cursor.index, frames)
                    if pause_after is not None and perf_counter() - began >= pause_after:
                        raise Interrupted(f"paused at frame {snapshot.cursor.index}: the same "
                                          "command goes on from there")  # fmt: skip
            else:
                yield event
    except (FilmgateError, OSError) as error:
        if _of_a_full_disk(error) and not isinstance(error, DiskFull):
            raise DiskFull.full(folder.path, ledger.frames) from error
        raise


def _write_plan(folder: RunDirectory, plan: Plan, frames: int | None) -> None:
    form = {"plan": plain(plan), "frames": frames}
    folder.write("plan.json", json.dumps(form, indent=1).encode())


def _only_unnamed(ledger: Checkpoints, sink: VideoOutput) -> Done | None:
    """If all that was left to do is to give the result its name, does so."""
    found = ledger.result()
    if found is None:
        return None
    noted, done = found
    part, path = ledger.path / noted.pop("name"), Path(sink.path)
    if part.exists() and fingerprint(part) == noted:
        named(part, path)
    elif not (path.exists() and fingerprint(path) == noted):
        return None
    return done


def _of_a_full_disk(error: BaseException | None) -> bool:
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):  # FFmpeg's have it too
            return True
        error = error.__cause__
    return False
