"""`filmgate convert`: re-encode a video, or convert between a video and images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from cyclopts import App

from filmgate.cli.task_flags import build_task_command

if TYPE_CHECKING:
    from filmgate.backends.spawn import Workers

HELP = "Re-encode a video, or convert between a video and images."


def build_app(words: Sequence[str], workers: Workers | None = None) -> App:
    """Return the command."""
    from filmgate.cli.execution import run_request

    command = build_task_command(None, HELP, partial(run_request, workers=workers), words)
    usage = "Usage: filmgate convert IN OUT [OPTIONS], or IN ... -o DIR [OPTIONS]\n"
    return App(name="convert", usage=usage, default_command=command)
