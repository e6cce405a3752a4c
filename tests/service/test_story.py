"""From upload to result by HTTP, with a worker that is killed in the middle."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from filmgate.jobs.queue.values import AttemptEnd
from filmgate.service.api.settings import ServerSettings
from filmgate.service.job_service import JobService
from filmgate.service.server import build_service_app, make_http_server
from tests.service.api.helpers import parse_events
from tests.service.real import IS_POSIX, find_undisturbed, make_clip, open_service, set_faults

LIMITS = {"segment": 1, "threads": 1, "chunk": 4}


@contextmanager
def connect(service: JobService) -> Iterator[httpx.Client]:
    """Yield a client of the service's HTTP server, which checks uploads as it really does."""
    listener = socket.create_server(("127.0.0.1", 0))
    started = threading.Event()
    server = make_http_server(build_service_app(service, ServerSettings()), started.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        assert started.wait(20)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(base_url=address, timeout=90) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.mark.slow
@pytest.mark.fault(1)
@pytest.mark.skipif(not IS_POSIX, reason="Windows has no SIGKILL")
def test_a_caller_reads_that_the_worker_was_killed_and_gets_the_result_all_the_same(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = find_undisturbed(tmp_path_factory)
    clip = make_clip(tmp_path)
    set_faults(monkeypatch, "compute.step=kill@15")  # steps of 4 frames: in the third segment
    with open_service(tmp_path / "service") as service, connect(service) as client:
        headers = {"Upload-Name": "clip.mp4"}
        upload = client.post("/v1/uploads", content=clip.read_bytes(), headers=headers).json()
        assert upload["info"]["frames"] == 96
        body = {"source": {"upload": upload["id"]}, "limits": LIMITS}
        stored = client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "order-17"})
        place, correlation_id = stored.headers["location"], stored.headers["x-correlation-id"]

        events = parse_events(client.get(f"{place}/events").text)  # until the job is done
        numbers = [number for number, _, _ in events if number is not None]
        assert numbers == list(range(1, len(numbers) + 1))
        steps = ("queued", "leased", "worker_died", "requeued", "done")
        kinds = [kind for _, kind, _ in events if kind in steps]
        assert kinds == ["queued", "leased", "worker_died", "requeued", "leased", "done"]
        segments = [data["data"]["number"] for _, kind, data in events if kind == "segment"]
        assert segments == [0, 1, 2, 3]
        death = next(data["data"] for _, kind, data in events if kind == "worker_died")
        assert "SIGKILL" in death["cause"]

        job: dict[str, Any] = client.get(place).json()
        first, second = job["metadata"]["attempts"]
        assert (first["end"], second["end"]) == (AttemptEnd.DIED, AttemptEnd.DONE)
        assert first["crash"]["correlation_id"] == correlation_id
        assert str(tmp_path) not in client.get(place).text
        result = client.get(job["response"]["result"])
        assert hashlib.sha256(result.content).hexdigest() == job["response"]["sha256"] == wanted
        assert client.get(f"{place}/preview").content[:2] == b"\xff\xd8"
        log = (tmp_path / "service" / "logs" / "service.jsonl").read_text()
        events_of_job = [line for line in log.splitlines() if correlation_id in line]
        assert len(events_of_job) >= 4  # the request, the job, the death of its worker, the end


@pytest.mark.slow
def test_an_independent_tus_client_uploads_in_parts(tmp_path: Path) -> None:
    from tusclient.client import TusClient

    clip = make_clip(tmp_path)
    with open_service(tmp_path / "service") as service, connect(service) as client:
        place = f"{client.base_url}/v1/tus".replace("//v1", "/v1")
        with clip.open("rb") as file:
            uploader: Any = TusClient(place).uploader(
                file_stream=file,
                chunk_size=2000,
                metadata={"filename": "clip.mp4"},
                upload_checksum=True,
            )
            uploader.upload_chunk()
            uploader.upload_chunk()
            # another client continues from the address alone
            TusClient(place).uploader(file_stream=file, chunk_size=3000, url=uploader.url).upload()
        upload = client.get(uploader.url.replace("/tus/", "/uploads/")).json()
        assert (upload["state"], upload["name"]) == ("complete", "clip.mp4")
        assert upload["sha256"] == hashlib.sha256(clip.read_bytes()).hexdigest()
