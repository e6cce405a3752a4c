"""`filmgate plan`: show where memory and time would go, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from filmgate.cli.commands.convert import HELP as CONVERT
from filmgate.cli.request import Request
from filmgate.cli.task_flags import SHARED, TaskFlags, build_task_command
from filmgate.errors import BadWeights, Exit
from filmgate.tasks.registry import load_tasks

if TYPE_CHECKING:
    from filmgate.core.job import Job

HELP = "Show where memory and time would go, before anything runs."


def build_app(words: Sequence[str]) -> App:
    """Return `plan`, with a command for each task below it."""
    return build_group("plan", HELP, run, words)


def build_group(name: str, help: str, run: Callable[[Request], Exit], words: Sequence[str]) -> App:
    """Return a command with one below it for each task, or only for the task that `words` name."""
    app, tasks = App(name=name, help=help), {**load_tasks(), "convert": None}
    for task_name in set(words[1:2]) & set(tasks) or tasks:
        task = tasks[task_name]
        text = str(task.__doc__) if task else CONVERT
        owners = [owner for owner in SHARED if "sample" not in owner.names]
        flags = TaskFlags(task)
        usage = flags.format_usage(f"{name} {task_name}", "[OUT]")
        result = None if flags.takes_several else Path("result.mp4")
        command = build_task_command(task, text, run, words, owners, result)
        app.command(command, name=task_name, usage=usage)
    return app


def run(request: Request) -> Exit:
    """Show the plan of each job of a request."""
    from filmgate.core.instrumentation.memory import make_memory_meter

    parent_bytes = 0 if request.display.in_process else make_memory_meter()()
    from filmgate.cli.views.plan_view import print_plan
    from filmgate.planning import device_memory
    from filmgate.planning.disk import predict_disk_use
    from filmgate.planning.fit import fit

    paths = request.paths
    if len(paths) == 1 and request.out is None and not request.generates:
        paths = (paths[0], paths[0].with_name(f"{paths[0].stem}.result.mp4"))
    jobs = replace(request, paths=paths).build_jobs()
    for name, job in jobs.items():
        if len(jobs) > 1 and not request.display.json:
            print(name)
        if _plan_generation(job, request):
            continue
        if device_memory.is_for_other_machine(job, request.limits) and _print_prediction(
            job, request, "this machine has no GPU"
        ):
            continue
        try:
            fitted = fit(job, request.limits, parent_bytes=parent_bytes)
        except BadWeights as error:
            if not _print_prediction(job, request, str(error)):
                raise
            continue
        print_plan(fitted, request.display.json, predict_disk_use(fitted))
    return Exit.DONE


def _plan_generation(job: Job, request: Request) -> bool:
    """Print the plan of a job that generates; return whether it does."""
    from filmgate.planning.generation import find_generation, plan_generation

    task, plan = find_generation(job), plan_generation(job, request.limits)
    if task is None or plan is None:
        return False
    from rich.console import Console

    from filmgate.cli.views import generation_view

    missing = ""
    try:
        list(task.find_weight_files())
    except BadWeights as error:
        missing = str(error)
    if request.display.json:
        import json

        print(json.dumps(generation_view.to_json(plan, missing)))
    else:
        Console(highlight=False).print(generation_view.draw(plan, missing))
    return True


def _print_prediction(job: Job, request: Request, reason: str) -> bool:
    """Print the memory that the model would need on a GPU; return whether it can be predicted."""
    import json

    from rich.console import Console

    from filmgate.cli.views import memory_view
    from filmgate.planning import device_memory
    from filmgate.units import parse_bytes

    with Console(stderr=True).status("predicting from shapes alone"):
        prediction = device_memory.predict_memory(job)
    if prediction is None:
        return False
    gpu = parse_bytes(request.limits.vram) if request.limits.vram else None
    if request.display.json:
        print(json.dumps(memory_view.to_json(*prediction, gpu, reason)))
    else:
        Console(highlight=False).print(memory_view.draw(*prediction, gpu, reason))
    return True
