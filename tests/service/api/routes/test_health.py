"""Alive, ready, figures, and what problems mean."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from filmgate.service.api.problems import TYPES, choose_retry_after
from tests.house.tree import ROOT
from tests.service.api.helpers import JOB, open_app, read_problem
from tests.service.fakes import FakeWorkers


class NoWorkers(FakeWorkers):
    """Workers that do not start."""

    def list_workers(self) -> tuple[()]:
        return ()


def test_a_service_is_ready_when_a_worker_is(tmp_path: Path) -> None:
    with open_app(tmp_path / "a") as client:
        assert client.get("/livez").text == "ok\n"
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["is_ready"]) == (200, True)
    with open_app(tmp_path / "b", NoWorkers()) as client:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["is_ready"]) == (503, False)
        assert answer.json()["reasons"]
        assert client.get("/livez").status_code == 200


def test_figures_can_be_read_and_name_no_job_and_no_tenant(tmp_path: Path) -> None:
    with open_app(tmp_path) as client:
        place = client.post("/v1/jobs", json=JOB).headers["location"]
        client.get(place, params={"wait": 20})
        client.get("/v1/jobs/other")
        client.request("BREW", "/x")
        text = client.get("/metrics").text
        families = {family.name: family for family in text_string_to_metric_families(text)}
        wanted = {
            "filmgate_jobs", "filmgate_jobs_finished", "filmgate_jobs_submitted",
            "filmgate_workers", "filmgate_http_requests", "filmgate_queue_wait_seconds",
            "filmgate_upload_bytes",
        }  # fmt: skip
        assert wanted <= families.keys()
        [done] = families["filmgate_jobs_finished"].samples
        assert (done.labels["state"], done.value) == ("done", 1)
        for family in families.values():
            for sample in family.samples:
                assert place.rpartition("/")[2] not in sample.labels.values()
                assert not {"job", "tenant", "key"} & sample.labels.keys()
        routes = {s.labels["route"] for s in families["filmgate_http_requests"].samples}
        assert routes <= {"/v1/jobs", "/v1/jobs/{job_id}", "none"}


def test_each_problem_has_a_page_and_is_documented(client: TestClient) -> None:
    page = (ROOT / "docs" / "serve.md").read_text()
    for kind, known in TYPES.items():
        assert known.title in client.get(f"/v1/problems/{kind}").text
        assert f"`{kind}`" in page, f"docs/serve.md does not have {kind}"
    read_problem(client.get("/v1/problems/other"), "not-found")


def test_clients_come_back_at_different_times() -> None:
    times = [choose_retry_after(30) for _ in range(200)]
    assert min(times) >= 30
    assert max(times) <= 60
    assert len(set(times)) > 10
    assert choose_retry_after(0.001) == 1
