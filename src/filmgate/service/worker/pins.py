"""Networks that workers have loaded for good: which jobs use them, and need less memory so."""

from __future__ import annotations

from dataclasses import replace

from filmgate.core.job import Task
from filmgate.errors import BadSetting
from filmgate.jobs.queue.values import Demand
from filmgate.jobs.scheduler.capacity import Machine
from filmgate.service.schema import JobDefinition
from filmgate.service.views import JobPlan
from filmgate.tasks.job_config import task_from
from filmgate.tasks.model_task import ModelTask


def read_pin(pin: str) -> Task:
    """Return the task that a pin such as upscale or upscale:diffvsr names. Raises BadSetting."""
    name, _, model = pin.partition(":")
    task = task_from({"task": name, **({"model": model} if model else {})})
    if not isinstance(task, ModelTask):
        raise BadSetting(f"{name} has no model: omit it, or name a task with one")
    return task


def find_pinned_bytes(definition: JobDefinition, machine: Machine) -> int:
    """Return the bytes of pinned networks that a job uses, which its prediction contains too."""
    return sum(
        size
        for pin, size in machine.pins.items()
        if any(_is_same_model(task, read_pin(pin)) for task in definition.tasks)
    )


def reserve(plan: JobPlan, definition: JobDefinition, machine: Machine) -> Demand:
    """Return what the scheduler reserves for a job: its prediction, less what is pinned of it."""
    pinned, demand = find_pinned_bytes(definition, machine), plan.demand
    if demand.device_bytes:
        return replace(demand, device_bytes=max(1, demand.device_bytes - pinned))
    return replace(demand, host_bytes=max(0, demand.host_bytes - pinned))


def _is_same_model(task: Task, pinned: Task) -> bool:
    return (
        isinstance(task, ModelTask)
        and isinstance(pinned, ModelTask)
        and type(task) is type(pinned)
        and (task.model, task.options, task.device) == (pinned.model, pinned.options, pinned.device)
    )
