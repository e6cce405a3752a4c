"""Downloads: ranges, what the client has already, partial results, names."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.service.api.helpers import JOB, open_app, read_problem
from tests.service.fakes import FakeRun, FakeWorkers

DATA = bytes(range(256)) * 400
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, str]]:
    """A client, and the address of a result of DATA."""
    workers = FakeWorkers(lambda run: FakeRun.finish(run, DATA))
    with open_app(tmp_path_factory.mktemp("service"), workers) as client:
        place = client.post("/v1/jobs", json=JOB).headers["location"]
        client.get(place, params={"wait": 20})
        yield client, f"{place}/result"


def test_a_result_is_complete_and_says_what_it_is(done: tuple[TestClient, str]) -> None:
    client, place = done
    answer = client.get(place)
    assert answer.content == DATA
    assert answer.headers["etag"] == f'"{SHA256}"'
    digest = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    assert answer.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["x-content-type-options"] == "nosniff"
    head = client.head(place)
    assert head.content == b""
    assert int(head.headers["content-length"]) == len(DATA)
    shown = client.get(place, params={"inline": "true"})
    assert shown.headers["content-disposition"].startswith("inline;")


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("bytes=0-9", DATA[:10]),
        ("bytes=100-", DATA[100:]),
        ("bytes=-7", DATA[-7:]),
        ("bytes=99999-999999999", DATA[99999:]),
        ("bytes=5-5", DATA[5:6]),
    ],
)
def test_a_part_is_what_was_asked_for(
    done: tuple[TestClient, str], header: str, wanted: bytes
) -> None:
    client, place = done
    answer = client.get(place, headers={"Range": header, "If-Range": f'"{SHA256}"'})
    assert (answer.status_code, answer.content) == (206, wanted)
    other = client.get(place, headers={"Range": header, "If-Range": '"older"'})
    assert (other.status_code, other.content) == (200, DATA)


@pytest.mark.parametrize("header", ["bytes=102400-", "bytes=999999999-", "bytes=-0"])
def test_a_range_outside_is_refused(done: tuple[TestClient, str], header: str) -> None:
    client, place = done
    answer = client.get(place, headers={"Range": header})
    read_problem(answer, "bad-range")
    assert answer.headers["content-range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize("header", ["bytes", "bytes=", "bytes=9-1", "lines=1-2", "bytes=a-b", ""])
def test_a_range_that_is_none_is_ignored(done: tuple[TestClient, str], header: str) -> None:
    client, place = done
    answer = client.get(place, headers={"Range": header})
    assert (answer.status_code, answer.content) == (200, DATA)


def test_what_the_client_has_is_not_sent_again(done: tuple[TestClient, str]) -> None:
    client, place = done
    for tags in (f'"{SHA256}"', f'"x", W/"{SHA256}"'):
        answer = client.get(place, headers={"If-None-Match": tags})
        assert (answer.status_code, answer.content) == (304, b"")
    assert client.get(place, headers={"If-None-Match": '"x"'}).status_code == 200


def test_a_result_that_is_not_there_is_a_conflict(tmp_path: Path) -> None:
    workers = FakeWorkers(act=None)
    with open_app(tmp_path, workers) as client:
        place = client.post("/v1/jobs", json=JOB).headers["location"]
        read_problem(client.get(f"{place}/result"), "job-conflict")
        preview = client.get(f"{place}/preview")
        read_problem(preview, "no-preview")
        assert "retry-after" in preview.headers
