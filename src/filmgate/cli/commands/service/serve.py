"""`filmgate serve`: run jobs for clients, over HTTP and on a page."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import Parameter as Argument
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from filmgate.cli.flags import Owner, build_flags, set_flags
from filmgate.errors import Exit
from filmgate.service.api.settings import ServerSettings
from filmgate.service.settings import ServiceSettings, find_default_folder

Folder = Annotated[
    Path | None,
    Parameter(
        name="FOLDER",
        help="Folder of the service. Default: what FILMGATE_SERVE names, else "
        "~/.local/share/filmgate/serve.",
    ),
]
_SERVER = Owner("Server", (ServerSettings,))
_SERVICE = Owner("Jobs", (ServiceSettings,), without=("folder",))


def build_app(words: Sequence[str]) -> App:
    """Return the command."""
    place = Argument("folder", Argument.POSITIONAL_ONLY, default=None, annotation=Folder)
    flags = build_flags((_SERVER, _SERVICE), "--help" in words or "-h" in words)
    return App(name="serve", default_command=set_flags(serve, [place, *flags]))


def serve(folder: Path | None = None, /, **values: Any) -> Exit:
    """Run jobs for clients: over HTTP, and on a page for people.

    The address is printed when it answers. Ctrl-C or SIGTERM stops it; jobs that have not ended
    continue at the next start.
    """
    from filmgate.service.server import run_server

    settings = ServiceSettings(folder=folder or find_default_folder(), **_SERVICE.select(values))
    server = ServerSettings(**_SERVER.select(values))
    run_server(settings, server, lambda address: print(f"filmgate serves at {address}", flush=True))
    return Exit.DONE
