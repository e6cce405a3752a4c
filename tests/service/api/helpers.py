"""The app in this process, with workers and checks that do what a test says."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from filmgate.errors import BadInput
from filmgate.service.api.settings import ServerSettings
from filmgate.service.job_service import JobService
from filmgate.service.server import build_service_app, make_http_server, open_socket
from filmgate.service.uploads.check import CheckedFile
from tests.service.fakes import FakeWorkers, FixedPlanner, make_service

JOB: dict[str, Any] = {"source": {"frames": 48, "fps": 24}}


def check_quickly(path: Path, name: str) -> CheckedFile:
    """Take every file for a video, but one that says it is bad."""
    data = path.read_bytes()
    if data.startswith(b"bad"):
        raise BadInput(f"{name} is not a video: upload one")
    return CheckedFile("video", hashlib.sha256(data).hexdigest(), {"width": 64, "height": 48})


@contextmanager
def open_app(
    folder: Path,
    workers: FakeWorkers | None = None,
    planner: FixedPlanner | None = None,
    server: ServerSettings | None = None,
    **settings: Any,
) -> Iterator[TestClient]:
    """Yield a client of a new service in `folder`; `client.app.state.api` are its parts."""
    with make_service(folder, workers, planner, **settings) as service:
        app = build_service_app(service, server or ServerSettings(), check_quickly)
        with TestClient(app, base_url="http://127.0.0.1") as client:
            yield client


@contextmanager
def serve(service: JobService, server: ServerSettings | None = None) -> Iterator[str]:
    """Answer real requests in a thread; yield the address."""
    app = build_service_app(service, server or ServerSettings(), check_quickly)
    listener = open_socket("127.0.0.1", 0)
    started = threading.Event()
    running = make_http_server(app, started.set)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        assert started.wait(20)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def read_problem(response: Any, kind: str) -> dict[str, Any]:
    """Return the problem that an answer is, after checking its kind and its form."""
    document: dict[str, Any] = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert document["type"] == f"/v1/problems/{kind}", document
    assert document["status"] == response.status_code
    assert document["correlation_id"] == response.headers["x-correlation-id"]
    assert "Traceback" not in response.text
    return document


def parse_events(text: str) -> list[tuple[int | None, str, Any]]:
    """Return (id, kind, data) of each complete event of a stream."""
    found = []
    for block in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in fields:
            number = int(fields["id"]) if "id" in fields else None
            found.append((number, fields["event"], json.loads(fields["data"])))
    return found
