"""`filmgate prepare`: store what a task needs of a video, before it is known what for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from cyclopts import App

from filmgate.cli.request import Request
from filmgate.cli.task_flags import SHARED, build_task_command
from filmgate.errors import BadSetting, Exit
from filmgate.tasks.lipsync import PrepareLipSync

if TYPE_CHECKING:
    from collections.abc import Mapping

    from filmgate.core.job import Task

HELP = "Store what a task needs of a video, so that later runs start with it."
_TASKS: Mapping[str, type[Task]] = {"lipsync": PrepareLipSync}


def build_app(words: Sequence[str]) -> App:
    """Return `prepare`, with a command for each task that can be prepared."""
    app = App(name="prepare", help=HELP)
    owners = [owner for owner in SHARED if owner.title in ("Input", "Resources")]
    for name, task in _TASKS.items():
        usage = f"Usage: filmgate prepare {name} VIDEO ... [OPTIONS]\n"
        command = build_task_command(task, str(task.__doc__), run, words, owners)
        app.command(command, name=name, usage=usage)
    return app


def run(request: Request) -> Exit:
    """Fill the cache with what the task needs of each video."""
    if not request.paths or request.out is not None:
        raise BadSetting("prepare takes videos and makes no result: pass VIDEO ...")
    for path in request.paths:
        _prepare(path, request)
    return Exit.DONE


def _prepare(path: Path, request: Request) -> None:
    from filmgate.storage.file_kind import check_input_file
    from filmgate.tasks.job_config import make_source
    from filmgate.tasks.model_task import ModelTask

    check_input_file(path, "a video file")
    for task in request.tasks:
        if isinstance(task, ModelTask):
            task.check_weights()
    from rich.console import Console

    from filmgate.core.run import iter_frames
    from filmgate.pipeline.build import build_parts, open_source
    from filmgate.pipeline.threads import pin_threads
    from filmgate.storage.result_cache import open_cache

    started, count, before = perf_counter(), 0, open_cache().total()
    source = make_source(path.absolute(), request.input)
    with open_source(source, request.tasks) as video, Console(stderr=True).status("") as status:
        pipeline = build_parts(source, request.tasks, None, video.spec)
        plan = request.limits.make_plan(video.spec, pipeline.output, len(pipeline.chain.stages))
        plan = replace(plan, cache=True)
        with pin_threads(plan):
            for _ in iter_frames(video, pipeline.apply(plan), plan):
                count += 1
                status.update(f"{count} frames")
    after, seconds = open_cache().total(), perf_counter() - started
    stored, found = (after[name] - before[name] for name in ("kept", "hits"))
    print(f"{path}: {count} frames in {seconds:.1f} s, {stored} results stored, {found} were there",
          file=sys.stderr)  # fmt: skip
