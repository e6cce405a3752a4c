"""The stream of a job's events: complete and in order, after any number of breaks too."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from filmgate.service.api.routes import events
from filmgate.service.job_service import JobService
from tests.service.api.helpers import JOB, open_app, parse_events, read_problem, serve
from tests.service.fakes import FakeRun, FakeWorkers, make_service


def run_segments(count: int, pause_s: float = 0.0) -> Any:
    """Return what a fake worker does: so many segments, each with progress."""

    def act(run: FakeRun) -> None:
        for number in range(count):
            run.progress(number + 1)
            run.segment(number)
            time.sleep(pause_s)
        run.finish(segments=count)

    return act


def test_the_events_of_a_finished_job_are_all_there(tmp_path: Path) -> None:
    with open_app(tmp_path, FakeWorkers(run_segments(3))) as client:
        place = client.post("/v1/jobs", json=JOB).headers["location"]
        answer = client.get(f"{place}/events")
        assert answer.headers["content-type"].startswith("text/event-stream")
        found = [event for event in parse_events(answer.text) if event[0] is not None]
        assert [number for number, _, _ in found] == list(range(1, len(found) + 1))
        kinds = [kind for _, kind, _ in found]
        assert (kinds[0], kinds[-1], kinds.count("segment")) == ("queued", "done", 3)
        assert all(data["number"] == number for number, _, data in found)
        rest = client.get(f"{place}/events", headers={"Last-Event-ID": "2"})
        assert [e for e in parse_events(rest.text) if e[0]] == found[2:]
        assert parse_events(client.get(f"{place}/events?after=3").text) == found[3:]
        last = {"Last-Event-ID": str(len(found))}
        assert client.get(f"{place}/events", headers=last).status_code == 204
        bad = client.get(f"{place}/events", headers={"Last-Event-ID": "x"})
        read_problem(bad, "bad-request")


def test_a_job_that_runs_shows_its_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "TICK_S", 0.02)
    workers = FakeWorkers(act=None)
    with make_service(tmp_path, workers) as service, serve(service) as address:
        # verify=False: reading the certificates of the system takes 30 ms each time
        place = httpx.post(f"{address}/v1/jobs", json=JOB, verify=False).headers["location"]
        with httpx.stream("GET", f"{address}{place}/events", verify=False) as answer:
            lines = answer.iter_lines()
            wait_for(lines, "event: leased")
            while not workers.runs:
                time.sleep(0.01)
            workers.runs[0].progress(12)
            assert '"fraction": 0.25' in wait_for(lines, 'data: {"phase"')
            workers.runs[0].preview()
            workers.runs[0].finish()
            wait_for(lines, "event: done")
            assert "data" in next(lines)
            assert [line for line in lines if line] == []
        assert httpx.get(f"{address}{place}/preview", verify=False).content == b"jpeg"


@pytest.mark.slow
def test_streams_end_when_the_server_stops(tmp_path: Path) -> None:
    with make_service(tmp_path, FakeWorkers(act=None)) as service:
        with serve(service) as address:
            place = httpx.post(f"{address}/v1/jobs", json=JOB, verify=False).headers["location"]
            is_read, has_ended = threading.Event(), threading.Event()

            def read() -> None:
                with httpx.stream("GET", f"{address}{place}/events", timeout=60) as answer:
                    lines = answer.iter_lines()
                    wait_for(lines, "event: leased")
                    is_read.set()
                    assert "event: done" not in list(lines)
                has_ended.set()

            reader = threading.Thread(target=read)
            reader.start()
            assert is_read.wait(20)
            began = time.monotonic()
        assert time.monotonic() - began < 10, "it waits for the client"
        assert has_ended.wait(20)
        reader.join()


@pytest.mark.fault(25)
@pytest.mark.parametrize(
    "disconnects", [pytest.param(20), pytest.param(1000, marks=pytest.mark.slow)]
)
def test_no_event_is_missing_or_doubled_after_breaks(tmp_path: Path, disconnects: int) -> None:
    """A client that loses its connection anywhere, also in the middle of an event."""
    workers = FakeWorkers(run_segments(disconnects, 0.002))
    with make_service(tmp_path, workers) as service, serve(service) as address:
        place = httpx.post(f"{address}/v1/jobs", json=JOB, verify=False).headers["location"]
        found = read_with_breaks(f"{address}{place}/events", disconnects, random.Random(7))
        stored = read_all(service, place.rpartition("/")[2])
    assert found == stored


def read_with_breaks(address: str, breaks: int, chance: random.Random) -> list[tuple[int, str]]:
    """Return the events of a stream that is broken after a random number of bytes."""
    found: list[tuple[int, str]] = []
    with httpx.Client(timeout=20, verify=False) as client:
        while True:
            headers = {"Last-Event-ID": str(found[-1][0])} if found else {}
            # from nothing to a few events, so that a break is often within one
            left = chance.randrange(0, 400) if breaks > 0 else 1 << 30
            text = b""
            with client.stream("GET", address, headers=headers) as answer:
                if answer.status_code == 204:
                    assert breaks <= 0, "the job ended before the connection broke often enough"
                    return found
                for part in answer.iter_raw(64):
                    text += part[:left]
                    left -= len(part)
                    if left <= 0:
                        breaks -= 1
                        break
            complete = text[: text.rfind(b"\n\n") + 2].decode()
            found += [(n, kind) for n, kind, _ in parse_events(complete) if n is not None]


def read_all(service: JobService, job_id: str) -> list[tuple[int, str]]:
    """Return all events that are stored, numbered without a gap."""
    found: list[tuple[int, str]] = []
    while page := service.read_events(job_id, len(found), 100):
        found += [(event.number, event.kind) for event in page]
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    return found


def wait_for(lines: Iterator[str], start: str) -> str:
    """Return the next line that begins so."""
    return next(line for line in lines if line.startswith(start))
