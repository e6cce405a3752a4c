"""The smallest settings for a run that took all of the machine's memory. They change no result."""

from __future__ import annotations

from dataclasses import replace

from filmgate.core.plan import Plan
from filmgate.jobs.run_directory import RunDirectory
from filmgate.jobs.stored_run import PLAN, read_stored_plan, write_stored_plan


def reduce_plan(plan: Plan) -> Plan:
    """Return the plan with one frame in each step and in each queue."""
    return replace(plan, chunk=1, queue_bytes=1)


def reduce_run(directory: RunDirectory, plan: Plan | None, *, is_started: bool) -> Plan | None:
    """Return the smaller plan of a run, None if it has none yet; a started run keeps it.

    `plan`: what it would begin with. Raises BadSetting if the stored one cannot be read; DiskFull.
    """
    if plan is None and (directory.path / PLAN).exists():
        stored = read_stored_plan(directory)
        plan = stored.to_plan()
        if is_started:
            write_stored_plan(directory, reduce_plan(plan), stored.frames)
    return None if plan is None else reduce_plan(plan)
