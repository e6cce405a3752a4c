"""A run that outlives its process: what it committed lies in a folder, from where it goes on."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

from pydantic import TypeAdapter

from filmgate.backends import inline
from filmgate.backends.fit import planned_within
from filmgate.backends.limits import Limits
from filmgate.core.events import Committed, Done, Event, Replanned, Started, Warned
from filmgate.core.job import Job
from filmgate.core.meter import cuda_in_use
from filmgate.core.plan import Plan, Shrunk
from filmgate.core.snapshot import Snapshot
from filmgate.device.prints import fingerprint
from filmgate.errors import BadSetting, BadWeights, FilmgateError, Interrupted
from filmgate.jobs import room
from filmgate.jobs.folder import DiskTrouble, Durable, Folder, differences
from filmgate.jobs.ledger import Ledger
from filmgate.jobs.log import Log
from filmgate.media.file import File, Images, Output
from filmgate.media.write import named
from filmgate.models import files
from filmgate.tasks.forms import WEIGHTS, job_to, plain, settings

# What else moves bits, if it is installed.
LIBRARIES = ("filmgate", "av", "numpy", "opencv-contrib-python-headless", "torch", "diffusers",
             "spandrel")  # fmt: skip


def passing(job: Job) -> str | None:
    """Why a run of this job can't be gone on with by another process; None: it can."""
    if not isinstance(job.source, File | Images):
        return "a pipe can't be read twice: if this run is stopped, it begins anew"
    if isinstance(job.sink, Output) and job.sink.piped:
        return "what has gone into a pipe is gone: if this run is stopped, it begins anew"
    return None


def run(
    job: Job,
    plan: Plan | None = None,
    resume: Snapshot | None = None,
    *,
    durable: Durable | None = None,
    limits: Limits | None = None,
    trace: Path | None = None,
) -> Generator[Event, None, None]:
    """Does the job, or the rest of it where an earlier run of the same job stopped.

    Without a plan, `limits` choose one; without those, a rule. What is in the folder decides where
    it goes on; a `resume` only says that it is not to start over. Raises FilmgateError: Busy,
    BadSetting if the folder is of a run with other settings, Interrupted for a pause.
    """
    durable, limits = durable or Durable(), limits or Limits()
    if passing(job) or not isinstance(job.sink, Output):
        if said := passing(job):
            yield Warned(said)
        yield from inline.run(job, plan or planned_within(job, limits), resume, trace=trace)
        return
    folder = durable.folder(Path(job.sink.path))
    with folder.held() as created:
        ledger = Ledger(folder, durable.playable)
        try:
            if durable.restart and resume is None:
                folder.clear()
            if ledger.begun:
                plan = _same(folder, job, plan, limits)
                if done := _only_unnamed(ledger, job.sink):
                    yield done
                    folder.remove()
                    return
            else:
                folder.clear()
                asked = _told(job, limits) | {"given": not created and durable.work is not None}
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
    job: Job, plan: Plan | None, ledger: Ledger, trace: Path | None, pause_after: Fraction | None
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
                    room.for_all(folder.path, job, event)
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
                    room.for_the_rest(folder.path, snapshot.cursor.index, frames)
                    if pause_after is not None and perf_counter() - began >= pause_after:
                        raise Interrupted(f"paused at frame {snapshot.cursor.index}: the same "
                                          "command goes on from there")  # fmt: skip
            else:
                yield event
    except (FilmgateError, OSError) as error:
        if _of_a_full_disk(error) and not isinstance(error, DiskTrouble):
            raise DiskTrouble.full(folder.path, ledger.frames) from error
        raise


def _same(folder: Folder, job: Job, plan: Plan | None, limits: Limits) -> Plan | None:
    """The plan of the run that was begun here. Raises BadSetting if that was another run."""
    told = json.loads(folder.read("job.json") or b"{}")
    told.pop("given", None)
    changed = differences(told, json.loads(json.dumps(_told(job, limits))))
    stored = json.loads(folder.read("plan.json") or b"{}").get("plan")
    if plan and stored:
        learnt = {"shrunk": [], "bad": [], "queue_bytes": 0}  # on the way; it moves no bits before
        changed += differences(stored | learnt, plain(plan) | learnt, "plan.")
    if changed:
        raise BadSetting(
            f"{folder.path} holds a run that was begun otherwise: {'; '.join(changed)}. Say the "
            "same as then and it goes on, or --restart to start over"
        )
    if not stored:
        return plan
    old: Plan = TypeAdapter(Plan).validate_python(stored)
    if plan is None:
        return old
    return replace(old, bad=plan.bad or old.bad, queue_bytes=plan.queue_bytes)


def _write_plan(folder: Folder, plan: Plan, frames: int | None) -> None:
    form = {"plan": plain(plan), "frames": frames}
    folder.write("plan.json", json.dumps(form, indent=1).encode())


def _told(job: Job, limits: Limits) -> dict[str, Any]:
    """All that the result depends on, as JSON."""
    source = job.source
    assert isinstance(source, File | Images)
    form = _numbers(job_to(job))
    for end in ("input", "output"):
        form[end]["path"] = os.path.abspath(form[end]["path"])
        form[end].pop("overwrite", None)
    for task in form["tasks"]:
        for name in WEIGHTS & task.keys():
            task[name] = os.path.abspath(task[name])
    return {
        "job": form,
        "films": [fingerprint(path) for path in source.files if path.exists()],
        "weights": [fingerprint(path) for path in _weights(job)],
        "limits": settings(limits),
        "versions": dict(_versions()),
    }


def _weights(job: Job) -> Iterator[Path]:
    """The files of weights that its tasks open, where they are here."""
    for task in job.tasks:
        if hasattr(task, "model") and hasattr(task, "knobs"):
            with suppress(BadWeights):
                yield from files(task.model, task.knobs)


def _numbers(form: Any) -> Any:
    """The form with whole numbers as such: the flag's "2" and Python's 2 ask for the same."""
    if isinstance(form, dict):
        return {key: _numbers(value) for key, value in form.items()}
    if isinstance(form, list):
        return [_numbers(value) for value in form]
    return int(form) if isinstance(form, str) and form.isdecimal() else form


def _versions() -> Mapping[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if cuda := cuda_in_use():  # loaded by now where a network wants it
        found["device"] = cuda.get_device_name()
    return found


def _only_unnamed(ledger: Ledger, sink: Output) -> Done | None:
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
