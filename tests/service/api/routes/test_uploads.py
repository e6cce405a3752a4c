"""Uploads over HTTP, in one request and by tus 1.0."""

from __future__ import annotations

import base64
import hashlib
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from filmgate.service.api.settings import ServerSettings
from tests.service.api.helpers import open_app, read_problem, serve
from tests.service.fakes import make_service

TUS = {"Tus-Resumable": "1.0.0"}
PATCH = {**TUS, "Content-Type": "application/offset+octet-stream"}
DATA = bytes(range(256)) * 40


def create(client: TestClient, size: int = len(DATA), metadata: str = "") -> str:
    """Reserve an upload by tus and return its address."""
    headers = {**TUS, "Upload-Length": str(size), "Upload-Metadata": metadata}
    answer = client.post("/v1/tus", headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.headers["location"])


def test_a_file_is_uploaded_in_one_request_and_used(client: TestClient) -> None:
    answer = client.post("/v1/uploads", content=DATA, headers={"Upload-Name": "caf%C3%A9%2Fa.mp4"})
    upload = answer.json()
    assert answer.status_code == 201
    assert (upload["name"], upload["state"], upload["kind"]) == ("a.mp4", "complete", "video")
    assert upload["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert client.get(answer.headers["location"]).json() == upload
    assert upload in client.get("/v1/uploads").json()["uploads"]
    job = client.post("/v1/jobs", json={"source": {"upload": upload["id"], "start": "1/2"}}).json()
    definition = job["metadata"]["definition"]
    assert definition["source"] == {"upload": upload["id"], "start": "1/2"}
    assert client.delete(answer.headers["location"]).status_code == 204
    read_problem(client.get(answer.headers["location"]), "unknown-upload")


def test_a_file_is_stored_under_a_name_of_the_server(tmp_path: Path) -> None:
    folder = tmp_path / "service"
    with open_app(folder) as client:
        for name in ("../../x", "%00", "C:%5Ccon.mp4", "-i", "a" * 5000, "x%1B[31m", "%FF"):
            upload = client.post("/v1/uploads", content=DATA, headers={"Upload-Name": name}).json()
            assert len(upload["name"]) <= 200
            assert "\x1b" not in upload["name"]
        names = {path.name for path in (folder / "uploads").iterdir()}
        assert all(len(name.partition(".")[0]) == 32 for name in names)
        assert {path.name for path in tmp_path.iterdir()} == {"service"}


def test_what_is_no_video_is_refused_and_not_kept(tmp_path: Path) -> None:
    with open_app(tmp_path) as client:
        answer = client.post("/v1/uploads", content=b"bad", headers={"Upload-Name": "my.mp4"})
        assert "my.mp4 is not a video" in read_problem(answer, "bad-input")["detail"]
        assert list((tmp_path / "uploads").iterdir()) == []
        place = create(client, 3)
        answer = client.patch(place, content=b"bad", headers={**PATCH, "Upload-Offset": "0"})
        read_problem(answer, "bad-input")
        upload = client.get(place.replace("/tus/", "/uploads/")).json()
        assert (upload["state"], upload["sha256"]) == ("refused", None)
        job = client.post("/v1/jobs", json={"source": {"upload": upload["id"]}})
        assert read_problem(job, "bad-field")["pointer"] == "/source/upload"


def test_sizes_and_quotas_are_kept(tmp_path: Path) -> None:
    server = ServerSettings(max_upload="20kB", upload_quota="25kB")
    with open_app(tmp_path, server=server) as client:
        assert client.post("/v1/uploads", content=DATA).status_code == 201
        read_problem(client.post("/v1/uploads", content=b"x" * 20_001), "too-large")
        read_problem(client.post("/v1/uploads", content=b"x" * 16_000), "quota-exceeded")
        read_problem(client.post("/v1/uploads", content=b""), "bad-setting")
        parts = client.post("/v1/uploads", content=iter([b"a", b"b"]))
        read_problem(parts, "no-length")
        answer = client.post("/v1/tus", headers={**TUS, "Upload-Length": "20001"})
        read_problem(answer, "too-large")


def test_tus_says_what_it_can_do(client: TestClient) -> None:
    answer = client.options("/v1/tus")
    assert answer.status_code == 204
    assert set(answer.headers["tus-extension"].split(",")) == {
        "creation", "checksum", "termination", "expiration",
    }  # fmt: skip
    assert int(answer.headers["tus-max-size"]) == 50 * 10**9


def test_an_upload_goes_on_where_it_was_broken(client: TestClient) -> None:
    name = base64.b64encode("clip é.mp4".encode()).decode()
    place = create(client, metadata=f"filename {name},filetype dmlkZW8=")
    at = 0
    for size in (1000, 1, 5000, len(DATA)):
        headers = {**PATCH, "Upload-Offset": str(at)}
        answer = client.patch(place, content=DATA[at : at + size], headers=headers)
        assert answer.status_code == 204, answer.text
        at = min(at + size, len(DATA))
        assert answer.headers["upload-offset"] == str(at)
        head = client.head(place, headers=TUS)
        assert (head.headers["upload-offset"], head.headers["upload-length"]) == (
            str(at), str(len(DATA)),
        )  # fmt: skip
        assert ("upload-expires" in head.headers) == (at < len(DATA))
    upload = client.get(place.replace("/tus/", "/uploads/")).json()
    assert (upload["name"], upload["sha256"]) == ("clip é.mp4", hashlib.sha256(DATA).hexdigest())


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "md5"])
def test_bytes_with_another_checksum_do_not_count(client: TestClient, algorithm: str) -> None:
    place = create(client)
    part = DATA[:1000]
    right = base64.b64encode(hashlib.new(algorithm, part).digest()).decode()
    wrong = base64.b64encode(hashlib.new(algorithm, b"").digest()).decode()
    headers = {**PATCH, "Upload-Offset": "0"}
    answer = client.patch(
        place, content=part, headers={**headers, "Upload-Checksum": f"{algorithm} {wrong}"}
    )
    assert answer.status_code == 460
    assert client.head(place, headers=TUS).headers["upload-offset"] == "0"
    answer = client.patch(
        place, content=part, headers={**headers, "Upload-Checksum": f"{algorithm} {right}"}
    )
    assert answer.headers["upload-offset"] == "1000"
    rest = client.patch(place, content=DATA[1000:], headers={**PATCH, "Upload-Offset": "1000"})
    assert rest.status_code == 204
    upload = client.get(place.replace("/tus/", "/uploads/")).json()
    assert upload["sha256"] == hashlib.sha256(DATA).hexdigest()


def test_a_request_that_is_not_tus_is_refused(client: TestClient) -> None:
    place = create(client)
    read_problem(client.post("/v1/tus", headers={"Upload-Length": "5"}), "bad-protocol")
    read_problem(client.post("/v1/tus", headers=TUS), "bad-request")
    for length in ("-1", "x", "1e5", "9" * 30, "٣"):
        headers = [(b"Tus-Resumable", b"1.0.0"), (b"Upload-Length", length.encode())]
        read_problem(client.post("/v1/tus", headers=headers), "bad-request")
    for value in ("filename x", "filename " + "A" * 9000, "a ====="):
        headers_ = {**TUS, "Upload-Length": "5", "Upload-Metadata": value}
        read_problem(client.post("/v1/tus", headers=headers_), "bad-request")
    read_problem(client.patch(place, content=b"x", headers={**TUS, "Upload-Offset": "0"}),
                 "bad-media-type")  # fmt: skip
    for wrong in ("md4 AAAA", "sha1 %", "sha1"):
        headers_ = {**PATCH, "Upload-Offset": "0", "Upload-Checksum": wrong}
        answer = client.patch(place, content=b"x", headers=headers_)
        assert answer.status_code in (400, 460)
    conflict = client.patch(place, content=b"x", headers={**PATCH, "Upload-Offset": "7"})
    read_problem(conflict, "upload-conflict")
    assert conflict.headers["upload-offset"] == "0"
    much = client.patch(place, content=DATA + b"x", headers={**PATCH, "Upload-Offset": "0"})
    read_problem(much, "bad-setting")
    assert client.delete(place, headers=TUS).status_code == 204
    assert client.head(place, headers=TUS).status_code == 404


def test_a_job_of_an_upload_that_is_not_complete_is_refused(client: TestClient) -> None:
    place = create(client)
    upload_id = place.rpartition("/")[2]
    answer = client.post("/v1/jobs", json={"source": {"upload": upload_id}})
    assert "send the rest" in read_problem(answer, "bad-field")["detail"]
    assert client.get(f"/v1/uploads/{upload_id}").json()["state"] == "partial"


def test_a_file_of_the_server_is_read_only_below_an_allowed_folder(tmp_path: Path) -> None:
    allowed, secret = tmp_path / "allowed", tmp_path / "secret.mp4"
    allowed.mkdir()
    (allowed / "in.mp4").write_bytes(b"x")
    (allowed / "link.mp4").symlink_to(secret)
    (allowed / "own.mp4").symlink_to(allowed / "in.mp4")
    secret.write_bytes(b"x")
    server = ServerSettings(allow=(allowed,))
    with open_app(tmp_path / "service", server=server) as client:

        def submit(path: str) -> tuple[int, str]:
            answer = client.post("/v1/jobs", json={"source": {"path": path}})
            return answer.status_code, str(answer.json().get("detail"))

        assert submit(f"{allowed}/in.mp4")[0] == 202
        assert submit(f"{allowed}/own.mp4")[0] == 202
        refused = [
            submit(path) for path in (
                str(secret), f"{allowed}/link.mp4", f"{allowed}/../secret.mp4", "in.mp4", "-",
                f"{tmp_path}/no.mp4", f"{allowed}2/in.mp4", "/etc/passwd", "/" + "x" * 3000,
                str(allowed), "~/in.mp4", "http://example.org/in.mp4", f"file:{allowed}/in.mp4",
            )
        ]  # fmt: skip
        assert {code for code, _ in refused} == {422}
        assert len({words for _, words in refused}) == 1  # no client learns what exists elsewhere
        assert "nothing that exists" in submit(f"{allowed}/no.mp4")[1]


@pytest.mark.slow
@pytest.mark.fault(38)
def test_a_client_whose_connection_hangs_continues_on_another_one(tmp_path: Path) -> None:
    """The old request still waits for bytes when the client comes back: it ends, and what came is
    stored."""
    with make_service(tmp_path) as service, serve(service) as address:
        reserved = httpx.post(f"{address}/v1/tus", headers={**TUS, "Upload-Length": str(len(DATA))})
        place = reserved.headers["location"]
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as hanging:
            head = (
                f"PATCH {place} HTTP/1.1\r\nHost: {host}\r\nTus-Resumable: 1.0.0\r\n"
                "Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\n"
                f"Content-Length: {len(DATA)}\r\n\r\n"
            )
            hanging.sendall(head.encode() + DATA[:4000])
            wait_until(lambda: read_offset(f"{address}{place}") > 0)  # the request has arrived
            assert b"409" in hanging.recv(200)
        offset = read_offset(f"{address}{place}")
        done = httpx.patch(
            f"{address}{place}", content=DATA[offset:],
            headers={**PATCH, "Upload-Offset": str(offset)},
        )  # fmt: skip
        assert done.headers["upload-offset"] == str(len(DATA))
        upload = httpx.get(f"{address}{place.replace('/tus/', '/uploads/')}").json()
        assert upload["sha256"] == hashlib.sha256(DATA).hexdigest()


@pytest.mark.slow
@pytest.mark.fault(38)
def test_an_upload_in_one_request_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    with make_service(tmp_path) as service, serve(service) as address:
        host, port = address.removeprefix("http://").split(":")
        for _ in range(3):
            with socket.create_connection((host, int(port))) as broken:
                head = f"POST /v1/uploads HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9000\r\n\r\n"
                broken.sendall(head.encode() + DATA[:4000])
                wait_until(lambda: any((tmp_path / "uploads").iterdir()))
            wait_until(lambda: not any((tmp_path / "uploads").iterdir()))


def read_offset(place: str) -> int:
    """Ask how many bytes of an upload there are; a request that still sends some ends."""
    return int(httpx.head(place, headers=TUS, timeout=20).headers["upload-offset"])


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so. Fails after 20 s."""
    end_s = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end_s
        time.sleep(0.01)
