"""How far the run in a directory is, and which job it runs."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from filmgate.core.job import Job
from filmgate.jobs.checkpoints import Checkpoints
from filmgate.jobs.run_directory import RunDirectory
from filmgate.jobs.stored_run import JOB, PLAN, read_stored_job
from filmgate.planning.limits import Limits
from filmgate.tasks.job_config import job_from
from filmgate.tasks.settings import fill, plain


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The status of an unfinished run: source frames done, of how many, and who works on it."""

    place: Path
    result: str
    read: int
    frames: int | None
    size_bytes: int
    holder: str

    def plain(self) -> dict[str, Any]:
        """Return the values for JSON."""
        return {item.name: plain(getattr(self, item.name)) for item in fields(self)}


def read_status(directory: RunDirectory) -> RunStatus:
    """Return the status of the run in a directory; what cannot be read counts as not done."""
    frames = directory.read_json(PLAN).get("frames")
    return RunStatus(
        directory.path,
        _find_result(directory.read_json(JOB)),
        Checkpoints(directory).frames,
        frames if isinstance(frames, int) else None,
        sum(entry.stat().st_size for entry in os.scandir(directory.path)),
        directory.read_holder(),
    )


def read_job(directory: RunDirectory) -> tuple[Job, Limits]:
    """Return the job of the run in a directory, and its limits. Raises BadSetting."""
    stored = read_stored_job(directory)
    job = job_from(stored.job, directory.path.parent)
    return job, fill(Limits, stored.limits, "the limits")


def _find_result(stored: Any) -> str:
    for key in ("job", "output", "path"):
        stored = stored.get(key) if isinstance(stored, dict) else None
    return stored if isinstance(stored, str) else "unknown"
