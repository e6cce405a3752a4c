"""What a run records about itself: job.json and plan.json, checked when they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from filmgate.core.plan import Plan
from filmgate.errors import BadSetting
from filmgate.jobs.run_directory import MAX_JOB_BYTES, RunDirectory
from filmgate.tasks.settings import plain
from filmgate.units import format_bytes

if TYPE_CHECKING:
    from filmgate.jobs.schemas import StoredJob, StoredPlan

JOB, PLAN = "job.json", "plan.json"
_DAMAGED = "it is damaged, or another version of filmgate wrote it"


def read_stored_job(directory: RunDirectory) -> StoredJob:
    """Return what job.json says. Raises BadSetting if it is damaged or of another version."""
    from pydantic import ValidationError

    from filmgate.jobs.schemas import StoredJob

    try:
        return StoredJob.model_validate(directory.read_json(JOB))
    except ValidationError as error:
        raise explain_damage(directory, JOB) from error


def read_stored_plan(directory: RunDirectory) -> StoredPlan:
    """Return what plan.json says. Raises BadSetting if it is missing, or as above."""
    from pydantic import ValidationError

    from filmgate.jobs.schemas import StoredPlan

    try:
        stored = StoredPlan.model_validate(directory.read_json(PLAN))
        stored.to_plan()
    except (ValidationError, BadSetting) as error:
        raise explain_damage(directory, PLAN) from error
    return stored


def write_stored_job(directory: RunDirectory, values: Mapping[str, Any]) -> None:
    """Write job.json. Raises DiskFull, and BadSetting for more files than it can describe."""
    data = json.dumps(values, separators=(",", ":")).encode()
    if len(data) > MAX_JOB_BYTES:
        count = sum(len(values[kind]) for kind in ("videos", "inputs", "files"))
        raise BadSetting(
            f"the run reads {count} files: {format_bytes(len(data))} of job.json describe them, "
            f"wanted at most {format_bytes(MAX_JOB_BYTES)}. Process them in parts, each with a "
            "folder or pattern of its own"
        )
    directory.write(JOB, data)


def write_stored_plan(directory: RunDirectory, plan: Plan, frames: int | None) -> None:
    """Write plan.json. Raises DiskFull."""
    directory.write(PLAN, json.dumps({"plan": plain(plan), "frames": frames}, indent=1).encode())


def explain_damage(directory: RunDirectory, name: str, reason: str = _DAMAGED) -> BadSetting:
    """Return the error for a file in a run's directory that no run of this version wrote."""
    return BadSetting(
        f"cannot read {directory.path / name}: {reason}. Run the same command with --restart to "
        "start again"
    )
