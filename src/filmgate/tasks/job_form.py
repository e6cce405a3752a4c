"""Definitions as forms of plain values: what job files, tags and run folders store."""

from __future__ import annotations

from typing import Any

from filmgate.core.job import Job, Task
from filmgate.tasks.registry import find_task_name
from filmgate.tasks.settings import list_settings


def task_to(task: Task, *, paths: bool = True) -> dict[str, object]:
    """Return the task as a form of plain values; settings at their defaults are left out.

    With `paths` False those that are paths too. A task that is not one of `load_tasks` has its
    class's name.
    """
    return {"task": find_task_name(type(task))} | list_settings(task, paths=paths)


def job_to(job: Job) -> dict[str, Any]:
    """Return the job as `job_from` takes it, without settings at their defaults."""
    outputs = [list_settings(sink) for sink in job.sinks]
    return {
        "input": list_settings(job.source),
        "output": outputs if job.more_sinks else outputs[0],
        "tasks": [task_to(task) for task in job.tasks],
        "seed": job.seed,
    }
