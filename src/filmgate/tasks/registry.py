"""Finds every task by its name."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from filmgate import tasks
from filmgate.core.job import Task


@cache
def registry() -> Mapping[str, type[Task]]:
    """Every task by name: the modules beside this one that hold a task, and are named for it."""
    found: dict[str, type[Task]] = {}
    for module in iter_modules(tasks.__path__):
        place = f"{tasks.__name__}.{module.name}"
        for held in vars(import_module(place)).values():
            if isinstance(held, type) and held.__module__ == place and hasattr(held, "timeline"):
                found[module.name] = held
    return MappingProxyType(found)
