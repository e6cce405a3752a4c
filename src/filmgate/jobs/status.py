"""How far the run in a directory is, and which job it runs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from filmgate.core.job import Job
from filmgate.errors import BadSetting, UserError
from filmgate.jobs.checkpoints import Checkpoints
from filmgate.jobs.run_directory import COMMITS, RunDirectory
from filmgate.jobs.stored_run import (
    JOB,
    PLAN,
    explain_damage,
    read_stored_job,
    read_stored_plan,
)
from filmgate.planning.limits import Limits
from filmgate.tasks.job_config import job_from
from filmgate.tasks.settings import fill, plain


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The status of an unfinished run: source frames done, of how many, and who works on it.

    `damage`: why it cannot be resumed, "" if it can as far as its lists tell.
    """

    place: Path
    result: str
    read: int
    frames: int | None
    size_bytes: int
    holder: str
    damage: str = ""

    def plain(self) -> dict[str, Any]:
        """Return the values for JSON."""
        return {item.name: plain(getattr(self, item.name)) for item in fields(self)}


def read_status(directory: RunDirectory) -> RunStatus:
    """Return the status of the run in a directory; what cannot be read counts as not done."""
    frames = directory.read_json(PLAN).get("frames")
    checkpoints = Checkpoints(directory)
    return RunStatus(
        directory.path,
        _find_result(directory.read_json(JOB)),
        checkpoints.frames,
        frames if isinstance(frames, int) else None,
        directory.measure_bytes(),
        directory.read_holder(),
        _find_damage(checkpoints),
    )


def _find_damage(checkpoints: Checkpoints) -> str:
    """Return why the run cannot be resumed, "" if it can; segments and states are not read."""
    directory = checkpoints.directory
    if not (directory.path / COMMITS).exists():
        return ""  # it starts from the beginning
    try:
        checkpoints.check()
        read_job(directory)
        read_stored_plan(directory)
    except BadSetting as error:
        return str(error)
    return ""


def read_job(directory: RunDirectory) -> tuple[Job, Limits]:
    """Return the job of the run in a directory, and its limits. Raises BadSetting."""
    stored = read_stored_job(directory)
    try:
        job = job_from(stored.job, directory.path.parent)
        limits = fill(Limits, stored.limits, "the limits")
    except UserError as error:
        raise explain_damage(directory, JOB, str(error)) from error
    except (AttributeError, TypeError, ValueError, LookupError) as error:
        raise explain_damage(directory, JOB) from error
    if any(getattr(sink, "overwrite", False) for sink in job.sinks):  # no run stores that
        raise explain_damage(directory, JOB)
    return job, limits


def _find_result(stored: Any) -> str:
    for key in ("job", "output", "path"):
        stored = stored.get(key) if isinstance(stored, dict) else None
        if isinstance(stored, list):  # of several outputs, the run has the name of the first
            stored = next(iter(stored), None)
    return stored if isinstance(stored, str) else "unknown"
