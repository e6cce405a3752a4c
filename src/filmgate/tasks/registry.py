"""Find every task by its name."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from filmgate import tasks
from filmgate.core.job import Task


@cache
def load_tasks() -> Mapping[str, type[Task]]:
    """Return every task by name: module `speed_up` holds the task `SpeedUp`."""
    found: dict[str, type[Task]] = {}
    for module in iter_modules(tasks.__path__):
        names = vars(import_module(f"{tasks.__name__}.{module.name}"))
        cls = names.get("".join(word.capitalize() for word in module.name.split("_")))
        if isinstance(cls, type) and hasattr(cls, "timeline"):
            found[module.name] = cls
    return MappingProxyType(found)
