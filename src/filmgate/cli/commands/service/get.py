"""`filmgate get`: download the result of a job of a service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from filmgate.cli.flags import add_flags
from filmgate.cli.remote import (
    DISPLAY,
    SERVER,
    RemoteDisplay,
    ServerOptions,
    choose_exit,
    connect,
    fetch,
    follow,
)
from filmgate.errors import Exit

JobId = Annotated[str, Parameter(name="JOB", help="The job, as filmgate submit printed it.")]
Out = Annotated[
    Path | None, Parameter(name="OUT", help="Name for the result. Default: that of the service.")
]
Overwrite = Annotated[bool, Parameter(help="Replace the file if it exists.", negative=())]
PartialFlag = Annotated[
    bool, Parameter(help="Do not wait: download what can be played so far of a job that runs.")
]


def build_app(words: Sequence[str]) -> App:
    """Return the command."""
    documented = "--help" in words or "-h" in words
    return App(name="get", default_command=add_flags(get, SERVER, DISPLAY, documented=documented))


def get(
    job: JobId,
    out: Out = None,
    /,
    *,
    overwrite: Overwrite = False,
    partial: PartialFlag = False,
    server: ServerOptions,
    display: RemoteDisplay,
) -> Exit:
    """Download the result of a job of a service.

    A download that was stopped continues, and is compared with its SHA-256 at the end.
    """
    with connect(server) as client:
        now = client.get(job)
        if not now.done and not partial:
            now = follow(client, job, display)
        path = fetch(client, job, out, overwrite=overwrite, partial=partial, display=display)
        if not display.quiet:
            print(path)
        return choose_exit(now.result) if now.result else Exit.DONE
