"""How far the run in a directory is, and which job it runs."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from filmgate.core.job import Job
from filmgate.errors import BadSetting
from filmgate.jobs.checkpoints import Checkpoints
from filmgate.jobs.run_directory import RunDirectory
from filmgate.planning.limits import Limits
from filmgate.tasks.job_config import fill, job_from, plain


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How a run stands that was begun: source frames done, of how many, and who is at it."""

    place: Path
    result: str
    read: int
    frames: int | None
    size_bytes: int
    holder: str

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {item.name: plain(getattr(self, item.name)) for item in fields(self)}


def run_status(folder: RunDirectory) -> RunStatus:
    """How the run in a folder stands; what can't be read there counts as not done."""
    told = _json(folder, "job.json")
    size_bytes = sum(entry.stat().st_size for entry in os.scandir(folder.path))
    return RunStatus(
        folder.path,
        str(told.get("job", {}).get("output", {}).get("path", "unknown")),
        Checkpoints(folder).frames,
        _json(folder, "plan.json").get("frames"),
        size_bytes,
        folder.holder(),
    )


def stored_job(folder: RunDirectory) -> tuple[Job, Limits]:
    """The job that was begun in a folder, and its limits. Raises BadSetting."""
    told = _json(folder, "job.json")
    if not {"job", "limits"} <= told.keys():
        raise BadSetting(f"{folder.path / 'job.json'} is not what was written: begin anew with "
                         "the command of then and --restart")  # fmt: skip
    return job_from(told["job"], folder.path.parent), fill(Limits, told["limits"], "the limits")


def _json(folder: RunDirectory, name: str) -> dict[str, Any]:
    try:
        return dict(json.loads(folder.read(name) or b"{}"))
    except (ValueError, TypeError, RecursionError):
        return {}
