"""Networks that workers have loaded for good: which jobs use them, and need less memory so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from filmgate.core.job import Task
from filmgate.errors import BadSetting, FilmgateError
from filmgate.jobs.queue.values import Demand
from filmgate.jobs.scheduler.capacity import Machine
from filmgate.service.schema import JobDefinition
from filmgate.service.views import JobPlan
from filmgate.tasks.job_config import resolve_model, task_from
from filmgate.tasks.model_task import ModelTask
from filmgate.tasks.registry import load_tasks
from filmgate.tasks.upscale import Upscale


def read_pin(pin: str) -> Task:
    """Return the task that a pin such as upscale or upscale:diffvsr names.

    Raises BadSetting; BadWeights for a file of weights that cannot be read.
    """
    name, _, model = pin.partition(":")
    cls, form = load_tasks().get(name), dict[str, object]({"task": name})
    if model and cls is not None and issubclass(cls, ModelTask):
        form[cls.model_field] = model
        form |= _choose_scale(cls, form)
    task = task_from(form)
    if not isinstance(task, ModelTask):
        raise BadSetting(f"{name} has no model: omit it, or name a task with one")
    return task


def _choose_scale(cls: type[ModelTask], form: dict[str, object]) -> dict[str, object]:
    """Return the first scale that the model of `upscale` has, if it has only some."""
    if not issubclass(cls, Upscale):
        return {}
    scales = cls.find_model(str(resolve_model(cls, form)[cls.model_field])).scales
    return {"scale": scales[0]} if scales else {}


def check_pins(pins: Iterable[str]) -> None:
    """Raise BadSetting for a pin that names no task with a model."""
    for pin in pins:
        try:
            read_pin(pin)
        except FilmgateError as error:
            raise BadSetting(f"pin is {pin!r:.100}, which cannot be loaded: {error}") from error


def find_pinned_bytes(definition: JobDefinition, machine: Machine) -> int:
    """Return the bytes of pinned networks that a job uses, which its prediction contains too."""
    return sum(
        size
        for pin, size in machine.pins.items()
        if size and (pinned := _find_pinned(pin)) is not None
        and any(_is_same_model(task, pinned) for task in definition.tasks)
    )  # fmt: skip


def reserve(plan: JobPlan, definition: JobDefinition, machine: Machine) -> Demand:
    """Return what the scheduler reserves for a job: its prediction, less what is pinned of it."""
    pinned, demand = find_pinned_bytes(definition, machine), plan.demand
    if demand.device_bytes:
        return replace(demand, device_bytes=max(1, demand.device_bytes - pinned))
    return replace(demand, host_bytes=max(0, demand.host_bytes - pinned))


def _find_pinned(pin: str) -> Task | None:
    """Return the task of a pin, None if it cannot be read any more, as a file that was removed."""
    try:
        return read_pin(pin)
    except FilmgateError:
        return None


def _is_same_model(task: Task, pinned: Task) -> bool:
    return (
        isinstance(task, ModelTask)
        and isinstance(pinned, ModelTask)
        and type(task) is type(pinned)
        and (task.model, task.options, task.device) == (pinned.model, pinned.options, pinned.device)
    )
