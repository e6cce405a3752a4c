"""`filmgate probe`: show what is in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from filmgate.errors import Exit

In = Annotated[Path, Parameter(name="IN", help="The video.")]
Json = Annotated[bool, Parameter(help="Print JSON on standard output.")]


def build_app(words: Sequence[str]) -> App:
    """Return the command."""
    return App(name="probe", default_command=show)


def show(video: In, /, *, json: Json = False) -> Exit:
    """Show the streams, times, chapters and metadata of a file."""
    from filmgate.cli.views.reports import print_contents
    from filmgate.media.probe import probe

    print_contents(probe(video), json)
    return Exit.DONE
