"""Jobs over HTTP: predict, submit, watch, list and cancel."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from filmgate.errors import BadInput, DoesNotFit, NotPlanned
from filmgate.jobs.queue.values import AttemptEnd
from tests.service.api.helpers import JOB, open_app, read_problem
from tests.service.fakes import FakeRun, FakeWorkers, FixedPlanner


def test_a_job_is_stored_watched_and_done(client: TestClient) -> None:
    stored = client.post("/v1/jobs", json=JOB)
    assert stored.status_code == 202
    place = stored.headers["location"]
    assert place == f"/v1/{stored.json()['name']}"
    job = client.get(place, params={"wait": 20}).json()
    assert job["done"]
    assert "error" not in job
    assert job["response"]["result"] == f"{place}/result"
    assert job["metadata"]["definition"]["source"] == {"frames": 48}
    assert job["metadata"]["correlation_id"] == stored.headers["x-correlation-id"]
    assert client.get(job["response"]["result"]).content == b"a result"


def test_a_plan_is_predicted_and_nothing_is_stored(client: TestClient) -> None:
    before = client.get("/v1/jobs").json()
    plan = client.post("/v1/plan", json=JOB).json()
    assert (plan["host_bytes"], plan["frames"], plan["width"]) == (1 << 30, 48, 64)
    assert client.get("/v1/jobs").json() == before
    urgent = client.post("/v1/plan", json={**JOB, "class": "live"})
    assert read_problem(urgent, "bad-field")["pointer"] == "/class"


def test_the_same_key_is_the_same_job(client: TestClient) -> None:
    headers = {"Idempotency-Key": "order-17"}
    first = client.post("/v1/jobs", json=JOB, headers=headers)
    again = client.post("/v1/jobs", json=JOB, headers=headers)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["name"] == first.json()["name"]
    other = client.post("/v1/jobs", json={**JOB, "seed": 5}, headers=headers)
    read_problem(other, "key-reused")
    bad = client.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "a b"})
    read_problem(bad, "bad-request")


@pytest.mark.fault(24)
def test_fifty_requests_with_one_key_at_once_are_one_job(tmp_path: Path) -> None:
    with open_app(tmp_path) as client, ThreadPoolExecutor(16) as pool:
        headers = {"Idempotency-Key": "one"}
        jobs = [pool.submit(client.post, "/v1/jobs", json=JOB, headers=headers) for _ in range(50)]
        answers = [job.result() for job in jobs]
        assert len({answer.json()["name"] for answer in answers}) == 1
        assert sorted(answer.status_code for answer in answers) == [200] * 49 + [202]
        assert len(client.get("/v1/jobs").json()["jobs"]) == 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/source"),
        ({**JOB, "tusks": []}, "/tusks"),
        ({"source": {"upload": "0" * 32}}, "/source/upload"),
        ({"source": {"path": "/etc/passwd"}}, "/source/path"),
        ({"source": {"upload": "a", "path": "b"}}, "/source"),
        ({"source": {"frames": 0}}, "/source/frames"),
        ({"source": []}, "/source"),
        ({**JOB, "tasks": {}}, "/tasks"),
        ({**JOB, "tasks": ["upscale"]}, "/tasks/0"),
        ({**JOB, "tasks": [{"task": "upscal"}]}, "/tasks/0/task"),
        (
            {**JOB, "tasks": [{"task": "upscale"}, {"task": "upscale", "scale": 3}]},
            "/tasks/1/scale",
        ),
        ({**JOB, "tasks": [{"task": "upscale", "model": "/etc/x.pt"}]}, "/tasks/0/model"),
        ({**JOB, "tasks": [{"task": "upscale", "weights": "/etc/x"}]}, "/tasks/0/weights"),
        ({**JOB, "tasks": [{"task": "track", "boxes": 5}]}, "/tasks/0/boxes"),
        ({**JOB, "output": {"suffix": ".exe"}}, "/output/suffix"),
        ({**JOB, "output": {"suffix": ".jsonl"}}, "/output/suffix"),
        ({**JOB, "output": {"path": "/etc/x.mp4"}}, "/output/path"),
        ({**JOB, "output": {"crf": 99}}, "/output/crf"),
        ({**JOB, "output": {"overwrite": True}}, "/output/overwrite"),
        ({**JOB, "limits": {"ram": "much"}}, "/limits"),
        ({**JOB, "limits": {"batch": 3}}, "/limits/batch"),
        ({**JOB, "seed": 1.5}, "/seed"),
        ({**JOB, "class": "urgent"}, "/class"),
        ({**JOB, "priority": 101}, "/priority"),
        ({**JOB, "expires_after_s": 0}, "/expires_after_s"),
    ],
)
def test_a_wrong_field_is_named_by_its_pointer(
    client: TestClient, body: dict[str, Any], pointer: str
) -> None:
    document = read_problem(client.post("/v1/jobs", json=body), "bad-field")
    assert document["pointer"] == pointer, document["detail"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b"[]", "pass an object"),
        (b'{"a":' * 10, "not JSON"),
        (b"[" * 9 + b"]" * 9, "9 levels"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"a\\u0000": 1}', "zero byte"),
        (b'{"a": 99999999999999999999}', "67 bits"),
        (b'{"a": "\xff"}', "not JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not JSON"),
        (b"[" * 5000, "levels"),
        (b'{"a": "' + b"x" * 5000 + b'"}', "5000 characters"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_document_that_is_none_is_refused(client: TestClient, data: bytes, words: str) -> None:
    answer = client.post("/v1/jobs", content=data, headers={"content-type": "application/json"})
    assert words in read_problem(answer, "bad-json")["detail"].replace("than 8", "9")


def test_a_body_of_another_type_or_size_is_refused(client: TestClient) -> None:
    read_problem(client.post("/v1/jobs", content=b"{}"), "bad-media-type")
    headers = {"content-type": "application/json; charset=utf-8"}
    large = client.post("/v1/jobs", content=b" " * 300_000, headers=headers)
    read_problem(large, "too-large")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DoesNotFit("the job needs 40 GB, wanted at most 8: pass limits", 40), "never-fits"),
        (BadInput("the video is damaged: upload it again"), "bad-input"),
        (NotPlanned("it took too long: try again"), "not-planned"),
        (RuntimeError("a bug with /secret/place"), "internal"),
    ],
)
def test_an_error_of_a_prediction_is_a_problem(tmp_path: Path, error: Exception, kind: str) -> None:
    with open_app(tmp_path, planner=FixedPlanner(error=error)) as client:
        answer = client.post("/v1/plan", json=JOB)
        document = read_problem(answer, kind)
        assert "secret" not in answer.text
        assert document["retryable"] == ("retry-after" in answer.headers)
        if kind == "never-fits":
            assert document["needed_bytes"] == 40
        if kind == "internal":
            log = (tmp_path / "logs" / "service.jsonl").read_text()
            assert document["correlation_id"] in log
            assert "a bug with" in log


@pytest.mark.fault(34)
def test_a_full_queue_says_when_to_come_back(tmp_path: Path) -> None:
    workers = FakeWorkers(act=None)
    with open_app(tmp_path, workers, max_waiting=3, max_waiting_per_key=2) as client:
        answers = [client.post("/v1/jobs", json=JOB) for _ in range(6)]
        refused = [answer for answer in answers if answer.status_code != 202]
        assert refused
        for answer in refused:
            assert read_problem(answer, "too-many-jobs")["retryable"]
            assert int(answer.headers["retry-after"]) >= 1


def test_jobs_are_listed_in_pages(tmp_path: Path) -> None:
    with open_app(tmp_path) as client:
        names = [client.post("/v1/jobs", json=JOB).json()["name"] for _ in range(5)]
        found = list[str]()
        after: str | None = "1000000"
        for _ in range(3):
            page = client.get("/v1/jobs", params={"limit": 2, "after": after}).json()
            found += [job["name"] for job in page["jobs"]]
            after = page["next"]
        assert after is None
        assert found == names[::-1]
        read_problem(client.get("/v1/jobs", params={"after": "x"}), "bad-setting")
        read_problem(client.get("/v1/jobs", params={"limit": 5000}), "bad-request")


def test_a_job_is_cancelled_once_and_not_when_it_is_done(tmp_path: Path) -> None:
    workers = FakeWorkers(act=None)
    with open_app(tmp_path, workers) as client:
        place = client.post("/v1/jobs", json=JOB).headers["location"]
        assert client.post(f"{place}:cancel").status_code == 200
        job = client.get(place, params={"wait": 20}).json()
        assert job["metadata"]["state"] == "cancelled"
        assert job["error"]["type"] == "/v1/problems/job-cancelled"
        assert client.post(f"{place}:cancel").status_code == 200
    with open_app(tmp_path / "other") as client:
        place = client.post("/v1/jobs", json=JOB).headers["location"]
        client.get(place, params={"wait": 20})
        read_problem(client.post(f"{place}:cancel"), "job-conflict")
        read_problem(client.post("/v1/jobs/nope:cancel"), "unknown-job")


@pytest.mark.slow
def test_a_job_that_kills_its_workers_says_why_it_failed(tmp_path: Path) -> None:
    with open_app(tmp_path, FakeWorkers(act=FakeRun.die)) as client:
        place = client.post("/v1/jobs", json=JOB).headers["location"]
        job = client.get(place, params={"wait": 30}).json()
        assert job["error"]["reason"] == "poison"
        attempts = job["metadata"]["attempts"]
        assert [attempt["end"] for attempt in attempts] == [AttemptEnd.DIED] * 3
        assert attempts[0]["crash"]["cause"] == "SIGKILL"
        assert attempts[0]["crash"]["correlation_id"] == job["metadata"]["correlation_id"]


def test_an_unknown_job_is_no_job(client: TestClient) -> None:
    for name in ("nope", "0" * 32, "..", "%00", "a" * 200):
        answer = client.get(f"/v1/jobs/{name}")
        assert answer.status_code == 404
    read_problem(client.get("/v1/jobs/nope/events"), "unknown-job")
    read_problem(client.get("/v1/jobs/nope/result"), "unknown-job")
    read_problem(client.get("/v1/jobs/nope/preview"), "unknown-job")
    read_problem(client.get("/nowhere"), "not-found")
    read_problem(client.put("/v1/jobs"), "bad-method")
