"""`filmgate bench`: run a few frames and compare predicted with measured time and memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cyclopts import App

from filmgate.cli.commands.plan import build_group
from filmgate.cli.request import Request
from filmgate.errors import Exit

HELP = "Run a few frames and compare predicted with measured time and memory."


def build_app(words: Sequence[str]) -> App:
    """Return `bench`, with a command for each task below it."""
    return build_group("bench", HELP, run, words)


def run(request: Request) -> Exit:
    """Run a few frames of each job in a temporary folder, and print what they took."""
    from rich.console import Console

    from filmgate.cli.trial import run_trial
    from filmgate.cli.views.trial_view import draw_trial

    paths = request.paths
    if len(paths) == 1 and request.out is None and not request.generates:
        paths = (paths[0], Path("bench.mp4"))
    jobs = replace(request, paths=paths).build_jobs()
    for name, job in jobs.items():
        if len(jobs) > 1 and not request.display.json:
            print(name)
        trial = run_trial(job, request.limits)
        if request.display.json:
            print(json.dumps(trial.plain()))
        else:
            Console(highlight=False).print(draw_trial(trial))
    return Exit.DONE
