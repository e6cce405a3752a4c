"""`filmgate cancel`: cancel a job of a service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, Parameter

from filmgate.cli.flags import add_flags
from filmgate.cli.remote import (
    DISPLAY,
    SERVER,
    RemoteDisplay,
    ServerOptions,
    connect,
    print_json,
    say,
)
from filmgate.errors import Exit

JobId = Annotated[str, Parameter(name="JOB", help="The job, as filmgate submit printed it.")]


def build_app(words: Sequence[str]) -> App:
    """Return the command."""
    documented = "--help" in words or "-h" in words
    return App(
        name="cancel", default_command=add_flags(cancel, SERVER, DISPLAY, documented=documented)
    )


def cancel(job: JobId, /, *, server: ServerOptions, display: RemoteDisplay) -> Exit:
    """Cancel a job of a service."""
    with connect(server) as client:
        found = client.cancel(job)
    if display.json:
        print_json(found)
    say(display, f"job {found.id} is cancelled" if found.done else f"job {found.id} is stopping")
    return Exit.DONE
