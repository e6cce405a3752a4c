"""Find every task by its name.

A module of `filmgate.tasks` that holds a task says so: `TASK: type[Task] = Upscale`. Its name is
the name of the task; nothing else has to be edited.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec
from pkgutil import iter_modules
from types import MappingProxyType
from typing import TYPE_CHECKING

from filmgate import tasks

if TYPE_CHECKING:
    from filmgate.core.job import Task

_TASK = re.compile(r"^TASK\b(?:: type\[Task\] = (\w+)$)?", re.MULTILINE)


@cache
def load_tasks() -> Mapping[str, type[Task]]:
    """Return every task by the name of its module."""
    found = {name: _load_task(name) for name in _list_modules()}
    return MappingProxyType({name: task for name, task in found.items() if task is not None})


@cache
def list_summaries() -> Mapping[str, str]:
    """Return every task's first line of documentation by its name.

    They are read from the source: importing all tasks takes longer than starting a command does.
    """
    found = dict[str, str]()
    for name in _list_modules():
        source = _read_source(name)
        declared = _TASK.search(source)
        if source and declared is None:
            continue
        cls = re.escape(str(declared and declared[1]))
        documented = re.search(rf'^class {cls}\b.*?:\n +"""(.+?)(?:\n|""")', source, re.M)
        if documented is None and (task := _load_task(name)) is not None:
            found[name] = str(task.__doc__).partition("\n")[0]
        elif documented is not None:
            found[name] = documented[1]
    return MappingProxyType(found)


def _list_modules() -> list[str]:
    return [module.name for module in iter_modules(tasks.__path__)]


def _load_task(name: str) -> type[Task] | None:
    task: type[Task] | None = getattr(import_module(f"{tasks.__name__}.{name}"), "TASK", None)
    return task


def _read_source(name: str) -> str:
    """Return the source of a module, "" if it is not in a file of its own."""
    spec = find_spec(f"{tasks.__name__}.{name}")
    loader = spec.loader if spec else None
    return loader.get_source(loader.name) or "" if isinstance(loader, SourceFileLoader) else ""


def find_task_name(task: type[Task]) -> str:
    """Return the name of a task, that of its class if it is not one of `load_tasks`."""
    names = {cls: name for name, cls in load_tasks().items()}
    return names.get(task, task.__name__)
