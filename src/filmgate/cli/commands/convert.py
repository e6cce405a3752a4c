"""`filmgate convert`: re-encode a video, or convert between a video and images."""

from __future__ import annotations

from collections.abc import Sequence

from cyclopts import App

from filmgate.cli.task_flags import build_task_command

HELP = "Re-encode a video, or convert between a video and images."


def build_app(words: Sequence[str]) -> App:
    """Return the command."""
    from filmgate.cli.execution import run_request

    command = build_task_command(None, HELP, run_request, words)
    usage = "Usage: filmgate convert IN OUT [OPTIONS], or IN ... -o DIR [OPTIONS]\n"
    return App(name="convert", usage=usage, default_command=command)
