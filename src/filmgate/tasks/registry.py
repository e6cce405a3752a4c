"""Find every task by its name.

A module of `filmgate.tasks` that holds a task says so: `TASK: type[Task] = Upscale`. Its name is
the name of the task; nothing else has to be edited.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from filmgate import tasks
from filmgate.core.job import Task


@cache
def load_tasks() -> Mapping[str, type[Task]]:
    """Return every task by the name of its module."""
    found: dict[str, type[Task]] = {}
    for module in iter_modules(tasks.__path__):
        task: type[Task] | None = getattr(
            import_module(f"{tasks.__name__}.{module.name}"), "TASK", None
        )
        if task is not None:
            found[module.name] = task
    return MappingProxyType(found)


def find_task_name(task: type[Task]) -> str:
    """Return the name of a task, that of its class if it is not one of `load_tasks`."""
    names = {cls: name for name, cls in load_tasks().items()}
    return names.get(task, task.__name__)
