"""The commands of `filmgate`, one file each; a file is imported when its command runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from filmgate.errors import BadSetting

if TYPE_CHECKING:
    from cyclopts import App

    from filmgate.backends.spawn import Workers

# Every command besides the tasks, with its line in `filmgate --help`.
SUMMARIES: Mapping[str, str] = MappingProxyType(
    {
        "convert": "Re-encode a video, or convert between a video and images.",
        "run": "Run a job file: several tasks in one pass.",
        "plan": "Show where memory and time would go, before anything runs.",
        "bench": "Run a few frames and compare predicted with measured time and memory.",
        "prepare": "Store what a task needs of a video, so that later runs start with it.",
        "resume": "Resume an unfinished run with its own settings.",
        "jobs": "Show unfinished runs, or remove them.",
        "models": "Show model families and their weights; download, verify, try and compile them.",
        "probe": "Show the streams, times, chapters and metadata of a file.",
        "check": "Check a result: times, audio sync, streams, tags, seams, combs.",
        "compare": "Compare two videos of the same size, frame by frame.",
        "cache": "Show or clear the cache of model results.",
        "demo": "Make a short video, interpolate it, check the result and draw a contact sheet.",
        "serve": "Run jobs for clients: over HTTP, and on a page for people.",
        "keys": "Show, add or remove API keys of a service.",
        "submit": "Run a task on a service; with a name for the result, wait for it.",
        "watch": "Show how far a job of a service is, or your latest jobs.",
        "get": "Download the result of a job of a service.",
        "cancel": "Cancel a job of a service.",
        "completion": "Print the completion script of a shell: bash, zsh or fish.",
        "doctor": "Show what this machine has, what is missing and how to get it.",
    }
)


# What some commands may be called by those who do not know their names yet.
_OTHER_NAMES: Mapping[str, str] = MappingProxyType(
    {"verify": "check", **dict.fromkeys(("pull", "download", "fetch"), "models pull")}
)


SERVICE_COMMANDS = ("serve", "keys", "submit", "watch", "get", "cancel")  # in their own folder
JOB_COMMANDS = ("convert", "run", "resume")  # run a job, as every task does


def list_commands() -> dict[str, str]:
    """Return every command with its summary, the tasks first."""
    from filmgate.tasks.registry import list_summaries

    return {**list_summaries(), **SUMMARIES}


def find_command(name: str, workers: Workers | None = None) -> Callable[[Sequence[str]], App]:
    """Return the builder of a command, which takes the words of the command line.

    A command that runs jobs lets `workers` run them. Raises BadSetting with the nearest name.
    """
    if name in SUMMARIES:
        place = f"service.{name}" if name in SERVICE_COMMANDS else name
        builder: Callable[..., App] = import_module(f"{__name__}.{place}").build_app
        return partial(builder, workers=workers) if name in JOB_COMMANDS else builder
    from filmgate.tasks.registry import list_summaries

    if name in list_summaries():
        from filmgate.cli.commands import task

        return partial(task.build_app, name, workers=workers)
    from difflib import get_close_matches

    other = _OTHER_NAMES.get(name)
    close = [other] if other else get_close_matches(name[:100], list_commands(), 1)
    hint = f'did you mean "{close[0]}"?' if close else "filmgate --help lists the commands"
    if name.startswith("-") or Path(name).suffix:
        hint = "the command comes first, as in filmgate convert in.mp4 out.mp4; " + hint
    raise BadSetting(f'unknown command "{name[:100]}": {hint}')
