"""The server as a process: how it starts, what it refuses, and what survives its death."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from filmgate.cli.main import main
from filmgate.errors import BadSetting, Exit
from filmgate.service.api.settings import ServerSettings
from filmgate.service.keys import KeyStore, Scope
from filmgate.service.server import check_installed, check_keys, open_socket
from tests.processes import KILLED

# A server whose jobs finish at once, without worker processes.
PROGRAM = """
import sys
from pathlib import Path
from functools import partial
import filmgate.service.job_service as module
import filmgate.service.server as server
from filmgate.service.api.settings import ServerSettings
from filmgate.service.settings import ServiceSettings
from tests.service.api.helpers import check_quickly
from tests.service.fakes import FakeWorkers, FixedPlanner

server.build_service_app = partial(server.build_service_app, check=check_quickly)
module._make_workers = lambda *_: FakeWorkers()
module._make_planner = lambda *_: FixedPlanner()
{more}
server.run_server(ServiceSettings(folder=Path(sys.argv[1])), ServerSettings(port=0, stop_s=1),
                  lambda address: print(address, flush=True))
"""
# The answer to POST /v1/jobs never leaves: the process dies when the job is stored.
DIES_AFTER_COMMIT = """
import os, signal
submit = module.JobService.submit
def submit_and_die(self, *words, **more):
    submit(self, *words, **more)
    os.kill(os.getpid(), signal.SIGKILL)
module.JobService.submit = submit_and_die
"""
JOB = {"source": {"frames": 48, "fps": 24}}


@contextmanager
def start(folder: Path, more: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a server; yield the process and its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(more=more), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def test_a_public_address_needs_a_key(tmp_path: Path) -> None:
    public = ServerSettings(host="0.0.0.0")
    with pytest.raises(BadSetting, match="no API key: add one with filmgate keys add"):
        check_keys(tmp_path, public)
    check_keys(tmp_path, ServerSettings())
    for host in ("127.1.2.3", "::1", "localhost"):
        check_keys(tmp_path, ServerSettings(host=host))
    KeyStore(tmp_path).add("ann", (Scope.READ,))
    check_keys(tmp_path, public)
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(BadSetting, match="damaged"):
        check_keys(tmp_path, ServerSettings())


def test_an_address_that_cannot_be_used_is_explained() -> None:
    with open_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadSetting, match=f"cannot listen on 127.0.0.1, port {port}: .*--port"):
            open_socket("127.0.0.1", port)
    with pytest.raises(BadSetting, match="no address of this machine"):
        open_socket("no.such.host.invalid", 0)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"port": 70_000}, "port is 70000"),
        ({"max_upload": "much"}, "amount of memory"),
        ({"allow": (Path("/no/such"),)}, "which is no folder"),
        ({"stop_s": -1.0}, "stop_s is -1"),
    ],
)
def test_a_setting_out_of_bounds_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(BadSetting, match=words):
        ServerSettings(**fields)


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filmgate.service.server.find_spec", lambda name: None)
    with pytest.raises(Exception, match=r"fastapi, uvicorn, .*run .*\[serve\]"):
        check_installed()


def test_keys_are_added_listed_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILMGATE_SERVE", str(tmp_path))
    assert main(["keys"]) == Exit.DONE
    assert "no keys" in capsys.readouterr().out
    assert main(["keys", "add", "ann", "--scope", "read", "--scope", "metrics", "--json"]) == 0
    added = json.loads(capsys.readouterr().out)
    assert (added["tenant"], added["scopes"]) == ("ann", ["read", "metrics"])
    assert main(["keys", "add", "bob"]) == Exit.DONE
    text = capsys.readouterr().out.strip()
    found = KeyStore(tmp_path).find(text)
    assert found is not None
    assert main(["keys", "--json"]) == Exit.DONE
    out = capsys.readouterr().out
    assert [key["tenant"] for key in json.loads(out)] == ["ann", "bob"]
    assert added["key"] not in out
    assert main(["keys", "remove", found.id]) == Exit.DONE
    assert main(["keys", "remove", found.id]) == Exit.USER
    assert main(["keys", "add", "a b"]) == Exit.USER


@pytest.mark.slow
def test_the_help_loads_no_library_of_the_server(tmp_path: Path) -> None:
    program = (
        "import sys; from filmgate.cli.main import main; main(['--help']); "
        "main(['serve', '--help']); print([m for m in ('fastapi', 'starlette', 'uvicorn', "
        "'prometheus_client', 'structlog', 'torch', 'av') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith("[]")


@pytest.mark.slow
@pytest.mark.fault(27)
def test_a_second_server_says_whose_the_folder_is(tmp_path: Path) -> None:
    with start(tmp_path) as (process, _):
        command = [sys.executable, "-m", "filmgate", "serve", str(tmp_path), "--port", "0"]
        second = subprocess.run(command, capture_output=True, text=True, check=False)
        assert second.returncode == Exit.BUSY
        assert f"process {process.pid}" in second.stderr
        assert "Traceback" not in second.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to handle")
def test_a_server_that_is_stopped_ends_with_0_also_while_clients_wait(tmp_path: Path) -> None:
    with start(tmp_path, "module._make_workers = lambda *_: FakeWorkers(None)") as (process, place):
        job = httpx.post(f"{place}/v1/jobs", json=JOB).json()
        with httpx.stream("GET", f"{place}/v1/{job['name']}/events", timeout=20) as answer:
            lines = answer.iter_lines()
            assert "event: queued" in lines
            process.send_signal(signal.SIGTERM)
            assert "event: done" not in list(lines)  # the stream ends, and the job does not
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, "")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.fault(5)
def test_a_job_whose_answer_was_lost_is_found_by_its_key(tmp_path: Path) -> None:
    """The server is killed between the commit and the answer; the client asks again."""
    headers = {"Idempotency-Key": "order-17"}
    with start(tmp_path, DIES_AFTER_COMMIT) as (process, address):
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{address}/v1/jobs", json=JOB, headers=headers)
        assert process.wait(10) == KILLED
    with start(tmp_path) as (_, address):
        answer = httpx.post(f"{address}/v1/jobs", json=JOB, headers=headers)
        assert (answer.status_code, answer.headers["idempotency-replayed"]) == (200, "true")
        jobs = httpx.get(f"{address}/v1/jobs").json()["jobs"]
        assert [job["name"] for job in jobs] == [answer.json()["name"]]
        done = httpx.get(f"{address}{answer.headers['location']}", params={"wait": 20}, timeout=30)
        assert done.json()["metadata"]["state"] == "done"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.fault(38)
@pytest.mark.parametrize("has_checksum", [False, True])
def test_an_upload_continues_after_the_server_was_killed_in_it(
    tmp_path: Path, has_checksum: bool
) -> None:
    """Killed in the middle of a PATCH: the offset is right, and at the end so are the bytes."""
    tus = {"Tus-Resumable": "1.0.0"}
    data = os.urandom(2_000_000)
    place, reported = "", 0
    for kill in range(2):
        with start(tmp_path) as (process, address):
            if not place:
                reserved = {**tus, "Upload-Length": str(len(data))}
                place = httpx.post(f"{address}/v1/tus", headers=reserved).headers["location"]
            head = httpx.head(f"{address}{place}", headers=tus)
            offset = int(head.headers["upload-offset"])
            assert offset >= reported  # what was reported once is there
            stored = next((tmp_path / "uploads").glob("*.data")).read_bytes()
            assert stored[:offset] == data[:offset]
            part = data[offset : offset + 200_000]
            headers = {**tus, "Content-Type": "application/offset+octet-stream"}
            done = httpx.patch(
                f"{address}{place}", content=part, headers=headers | {"Upload-Offset": str(offset)}
            )
            reported = int(done.headers["upload-offset"])
            assert reported == offset + len(part)
            send_until_killed(
                process, f"{address}{place}", data[reported:], reported, kill, has_checksum
            )
    with start(tmp_path) as (_, address):
        offset = int(httpx.head(f"{address}{place}", headers=tus).headers["upload-offset"])
        assert offset >= reported
        assert not has_checksum or offset == reported  # a part that was not compared does not count
        headers = {**tus, "Content-Type": "application/offset+octet-stream"}
        httpx.patch(
            f"{address}{place}", content=data[offset:],
            headers=headers | {"Upload-Offset": str(offset)}, timeout=60,
        )  # fmt: skip
        upload = httpx.get(f"{address}{place.replace('/tus/', '/uploads/')}").json()
        assert upload["sha256"] == hashlib.sha256(data).hexdigest()


def send_until_killed(
    process: subprocess.Popen[str], place: str, data: bytes, offset: int, kill: int, checked: bool
) -> None:
    """Send the rest slowly, and kill the server in the middle of it."""

    def iter_parts() -> Iterator[bytes]:
        for at in range(0, len(data), 50_000):
            if at >= (kill + 1) * 300_000:
                process.kill()
            yield data[at : at + 50_000]
            time.sleep(0.002)

    headers = {
        "Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream",
        "Upload-Offset": str(offset),
    }  # fmt: skip
    if checked:
        headers["Upload-Checksum"] = "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk="
    with pytest.raises(httpx.TransportError):
        httpx.patch(place, content=iter_parts(), headers=headers)
    process.wait(10)
