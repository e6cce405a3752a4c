"""The command of a task: `filmgate interpolate`, `filmgate upscale` ..."""

from __future__ import annotations

from collections.abc import Sequence

from cyclopts import App

from filmgate.cli.task_flags import build_task_command
from filmgate.tasks.registry import load_tasks


def build_app(name: str, words: Sequence[str]) -> App:
    """Return the command of the task `name`, with the flags of the model that `words` name."""
    from filmgate.cli.execution import run_request

    task = load_tasks()[name]
    command = build_task_command(task, str(task.__doc__), run_request, words)
    usage = f"Usage: filmgate {name} IN OUT [OPTIONS], or IN ... -o DIR [OPTIONS]\n"
    return App(name=name, usage=usage, default_command=command)
