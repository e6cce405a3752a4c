"""Start the service with its HTTP server, and stop both."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from filmgate.errors import BadSetting, FilmgateError, NotLoaded
from filmgate.installation import advise_install
from filmgate.service.api.settings import ServerSettings
from filmgate.service.keys import KeyStore
from filmgate.service.settings import ServiceSettings
from filmgate.service.uploads.check import Check, check_upload
from filmgate.service.worker.process_limits import allow_many_files
from filmgate.units import parse_bytes

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from filmgate.service.job_service import JobService
    from filmgate.service.logs import ServiceLog

LIBRARIES = ("fastapi", "uvicorn", "prometheus_client", "structlog")
_DRAIN_S = 5  # for requests that are being answered when the server is stopped
_BACKLOG = 2048
_SWITCH_S = 0.0005  # a request waits at most so long for the thread that decides what is next


def check_installed() -> None:
    """Raise NotLoaded, with what to install, if a library of the service is missing."""
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        raise NotLoaded(f"a service needs {', '.join(missing)}, which this Python does not have: "
                        f"run {advise_install('serve')}")  # fmt: skip


def run_server(
    settings: ServiceSettings, server: ServerSettings, announce: Callable[[str], object]
) -> None:
    """Serve until SIGINT or SIGTERM; `announce` gets the address when it answers.

    Raises NotLoaded; BadSetting if the address is taken, or others reach it and there is no key;
    Busy if another server owns the folder; what JobService raises.
    """
    check_installed()
    sys.setswitchinterval(_SWITCH_S)
    settings = replace(settings, folder=settings.folder.expanduser().absolute())
    check_keys(settings.folder, server)
    with suppress(OSError):  # the service says what is wrong; others need not read what is in it
        settings.folder.mkdir(mode=0o700, parents=True)
    from filmgate.service.job_service import JobService

    allow_many_files()
    service = JobService(settings)
    try:
        with open_socket(server.host, server.port) as listener:
            service.start()
            _serve(service, server, listener, announce)
    finally:
        service.stop(server.stop_s)


def check_keys(folder: Path, server: ServerSettings) -> None:
    """Raise BadSetting if other machines reach the server and it has no key, or damaged ones."""
    if not KeyStore(folder).read() and not server.is_local:
        raise BadSetting(
            f"host is {server.host}, which other machines reach, and {folder} has no API key: add "
            f"one with filmgate keys add NAME --folder {folder}, or omit --host"
        )


def open_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises BadSetting."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise BadSetting(f"host is {host}, which is no address of this machine: pass 127.0.0.1 or "
                         "another one") from error  # fmt: skip
    listener = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":  # there it would share a port that is in use
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise BadSetting(f"cannot listen on {host}, port {port}: {error.strerror}. Pass another "
                         "--port, or 0 for a free one") from error  # fmt: skip
    return listener


def _serve(
    service: JobService,
    settings: ServerSettings,
    listener: socket.socket,
    announce: Callable[[str], object],
) -> None:
    """Answer requests until a signal comes."""
    server = make_http_server(
        build_service_app(service, settings),
        lambda: announce(_format_address(settings.host, listener.getsockname()[1])),
    )
    with _log_to(service.log):
        server.run(sockets=[listener])
    if not server.started:
        raise FilmgateError(f"the HTTP server did not start: see {service.settings.logs}")


def make_http_server(app: FastAPI, on_start: Callable[[], object]) -> uvicorn.Server:
    """Return a server of the app; `on_start` is called when it answers.

    In the main thread SIGINT and SIGTERM end it. At the end streams end first, then requests that
    are being answered have a few seconds.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                on_start()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.api.changes.close()
            await super().shutdown(sockets)

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            is_main = threading.current_thread() is threading.main_thread()
            with _stop_on_signals(self) if is_main else nullcontext():
                yield

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_S,
    )
    return Server(config)


def build_service_app(
    service: JobService, settings: ServerSettings, check: Check = check_upload
) -> FastAPI:
    """Return the app of a service, with its folder of uploads and its keys.

    `check` says what an uploaded file is.
    """
    from filmgate.service.api.access import Gatekeeper
    from filmgate.service.api.app import build_app
    from filmgate.service.api.changes import JobChanges
    from filmgate.service.api.context import Api, Turns
    from filmgate.service.api.inputs import InputFiles
    from filmgate.service.api.middleware import list_hosts
    from filmgate.service.uploads.store import UploadLimits, UploadStore

    own = service.settings
    limits = UploadLimits(
        file_bytes=parse_bytes(settings.max_upload),
        tenant_bytes=parse_bytes(settings.upload_quota),
        complete_s=settings.keep_uploads_s,
    )
    uploads = UploadStore(own.uploads, time.time, limits, check)
    keys = KeyStore(own.folder)
    api = Api(
        service=service,
        uploads=uploads,
        inputs=InputFiles(uploads, settings.allow, own.folder),
        gate=Gatekeeper(keys, time.monotonic, needs_key=not settings.is_local),
        changes=JobChanges(service),
        turns=Turns(),
    )
    hosts = list_hosts(settings.host, settings.host_names, is_local=settings.is_local)
    return build_app(api, hosts)


@contextmanager
def _stop_on_signals(server: uvicorn.Server) -> Iterator[None]:
    """Let the server end at the first signal; a second one does not wait for its requests."""

    def stop(*_: object) -> None:
        server.force_exit = server.should_exit
        server.should_exit = True

    names = [signal.SIGINT, signal.SIGTERM]
    if sys.platform == "win32":
        names.append(signal.SIGBREAK)
    handlers = {name: signal.signal(name, stop) for name in names}
    try:
        yield
    finally:
        for name, handler in handlers.items():
            signal.signal(name, handler)


@contextmanager
def _log_to(log: ServiceLog) -> Iterator[None]:
    """Write what the HTTP server has to say to the log of the service."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log.warning("http_server", message=self.format(record))

    logger, handler = logging.getLogger("uvicorn"), Handler(logging.WARNING)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


def _format_address(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
