"""What the commands for clients of a service share: where it is, and how a job there is shown."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filmgate.cli.flags import Owner
from filmgate.errors import Exit, Interrupted, NotLoaded
from filmgate.storage.fingerprint import ignore_progress

if TYPE_CHECKING:
    from filmgate.service.client import Client
    from filmgate.service.client.answers import RemoteJob, RemoteResult


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Which service; each field is a flag."""

    server: str = "http://127.0.0.1:8000"
    """Address of the service."""

    key: str | None = None
    """API key of the service. Other users of the machine see flags, but not the environment."""


@dataclass(frozen=True, slots=True)
class RemoteDisplay:
    """What a command prints; each field is a flag."""

    json: bool = False
    """Print JSON on standard output: a line for each event, at last the job."""

    quiet: bool = False
    """Print nothing but warnings and errors."""

    @property
    def is_silent(self) -> bool:
        """Whether nothing is shown to people."""
        return self.json or self.quiet


SERVER = Owner("Service", (ServerOptions,))
DISPLAY = Owner("Display", (RemoteDisplay,))


@contextmanager
def connect(options: ServerOptions) -> Iterator[Client]:
    """Yield a client of the service. Raises NotLoaded if its library is missing."""
    if find_spec("httpx2") is None:
        from filmgate.installation import advise_install

        raise NotLoaded("a client of a service needs httpx2, which this Python does not have: run "
                        f"{advise_install('client')}")  # fmt: skip
    from filmgate.service.client import Client, RetryPolicy

    policy = RetryPolicy(report=lambda why: print(f"warning: {why}", file=sys.stderr))
    with Client(options.server, key=options.key, policy=policy) as client:
        yield client


def follow(client: Client, job_id: str, display: RemoteDisplay) -> RemoteJob:
    """Show a job until it is done, and return it. Raises JobFailed, Interrupted.

    Ctrl-C ends the watching, not the job.
    """
    from filmgate.cli.signals import stop_on_signals
    from filmgate.cli.views.remote_view import RemoteView

    try:
        with stop_on_signals(), RemoteView(display.is_silent) as view:
            return client.wait(job_id, print_json if display.json else view.show)
    except KeyboardInterrupt as error:
        raise Interrupted(f"stopped watching; job {job_id} continues. To see it: filmgate watch "
                          f"{job_id}") from error  # fmt: skip


def fetch(
    client: Client, job_id: str, path: Path | None, *, overwrite: bool, partial: bool = False,
    display: RemoteDisplay,
) -> Path:  # fmt: skip
    """Download the result of a job, show how far that is, and return its path."""
    from filmgate.cli.views.transfer import show_transfer

    with nullcontext(ignore_progress) if display.is_silent else show_transfer() as show:
        return client.download(
            job_id, path, overwrite=overwrite, partial=partial, on_progress=show
        )  # fmt: skip


def choose_exit(result: RemoteResult) -> Exit:
    """Return the exit code of a job that is done."""
    return Exit.REPAIRED if result.concealed or not result.is_complete else Exit.DONE


def say(display: RemoteDisplay, text: str) -> None:
    """Print a line for the user."""
    if not display.is_silent:
        print(text, file=sys.stderr)


def print_json(value: Any) -> None:
    """Print a value of a service as a line of JSON on standard output."""
    import json

    from filmgate.tasks.settings import plain

    print(json.dumps(plain(value)), flush=True)
