"""The command of a task: `filmgate interpolate`, `filmgate upscale` ..."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from cyclopts import App

from filmgate.cli.task_flags import TaskFlags, build_task_command
from filmgate.tasks.registry import load_tasks

if TYPE_CHECKING:
    from filmgate.backends.spawn import Workers


def build_app(name: str, words: Sequence[str], workers: Workers | None = None) -> App:
    """Return the command of the task `name`, with the flags of the model that `words` name."""
    from filmgate.cli.execution import run_request

    task = load_tasks()[name]
    run = partial(run_request, workers=workers)
    command = build_task_command(task, str(task.__doc__), run, words)
    return App(name=name, usage=TaskFlags(task).format_usage(name), default_command=command)
