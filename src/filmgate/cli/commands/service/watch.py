"""`filmgate watch`: show how far a job of a service is."""

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
    choose_exit,
    connect,
    follow,
    print_json,
    say,
)
from filmgate.errors import Exit

JobId = Annotated[str | None, Parameter(name="JOB", help="The job, as filmgate submit printed it.")]


def build_app(words: Sequence[str]) -> App:
    """Return the command."""
    documented = "--help" in words or "-h" in words
    return App(
        name="watch", default_command=add_flags(watch, SERVER, DISPLAY, documented=documented)
    )


def watch(job: JobId = None, /, *, server: ServerOptions, display: RemoteDisplay) -> Exit:
    """Show how far a job of a service is, or your latest jobs.

    Ctrl-C ends the watching, not the job.
    """
    with connect(server) as client:
        if job is None:
            jobs = client.list_jobs()
            if display.json:
                print_json(jobs)
            else:
                from filmgate.cli.views.remote_view import print_jobs

                print_jobs(jobs)
            return Exit.DONE
        ended = follow(client, job, display)
        if display.json:
            print_json(ended)
        say(display, f"to download the result: filmgate get {ended.id}")
        return choose_exit(ended.check())
