"""The trace of a job: one tree from the request to its end, whatever happens to its workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from starlette.testclient import TestClient

from filmgate.errors import NotPlanned
from filmgate.jobs.queue.job_queue import JobQueue
from filmgate.jobs.queue.values import AttemptEnd, JobRequest
from filmgate.service.api.settings import ServerSettings
from filmgate.service.job_service import JobService
from filmgate.service.server import build_service_app
from filmgate.service.settings import ServiceSettings
from filmgate.service.telemetry.job_spans import list_spans
from filmgate.service.telemetry.open_telemetry import OpenTelemetry
from filmgate.service.telemetry.traces import Span, make_place, measure_span
from tests.service.api.helpers import JOB, check_quickly
from tests.service.fakes import FakeRun, FakeWorkers, FixedPlanner
from tests.service.real import pause
from tests.service.telemetry.collector import check_tree, find_spans, make_traces

CALLER = f"00-{'ab' * 16}-{'cd' * 8}-01"  # a traceparent of a client
SUBMIT = "POST /v1/jobs"
ERROR = StatusCode.ERROR


@contextmanager
def open_traced(folder: Path, workers: FakeWorkers, traces: OpenTelemetry) -> Iterator[TestClient]:
    """Yield a client of a service with traces in memory."""
    planner = FixedPlanner()
    planner.is_known = False  # or there is nothing to measure
    service = JobService(
        ServiceSettings(folder=folder), workers=workers, planner=planner, traces=traces,
    )  # fmt: skip
    with service:
        app = build_service_app(service, ServerSettings(), check_quickly)
        with TestClient(app, base_url="http://127.0.0.1") as client:
            yield client


def act(run: FakeRun) -> None:
    """Do what the source's length says: fail, or finish a job of one segment."""
    if run.request["definition"]["source"]["frames"] == 13:
        run.fail("bad_input", "/secret/name.mp4 is damaged")
        return
    run.segment(0)
    run.reports.timed(run.lease, Span(name="segment", start_ns=1, end_ns=2,
                                      attributes={"filmgate.frames": 24}))  # fmt: skip
    run.finish()


@dataclass
class Traced:
    """A client of a service with traces in memory, and its workers."""

    client: TestClient
    memory: InMemorySpanExporter
    workers: FakeWorkers


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """One service for the tests that do not stop it."""
    traces, memory = make_traces()
    workers = FakeWorkers(act)
    with open_traced(tmp_path_factory.mktemp("traced"), workers, traces) as client:
        yield Traced(client, memory, workers)


def finish(client: TestClient, submitted: Any, memory: InMemorySpanExporter | None = None) -> None:
    """Wait until a job has ended, and until that is in the `memory`: it is recorded just after."""
    job = client.get(f"/v1/{submitted.json()['name']}?wait=20").json()
    assert job["done"], job
    trace_id, end_s = submitted.headers["x-correlation-id"], monotonic() + 20
    while memory and "job" not in {span.name for span in find_spans(memory, trace_id)}:
        assert monotonic() < end_s, "the job is not in the trace"
        pause(0.005)


def read_attributes(memory: InMemorySpanExporter, trace_id: str, name: str) -> list[dict[str, Any]]:
    return [dict(s.attributes or {}) for s in find_spans(memory, trace_id) if s.name == name]


def test_one_trace_has_the_request_the_queue_the_worker_and_what_it_measured(
    traced: Traced,
) -> None:
    memory = traced.memory
    submitted = traced.client.post("/v1/jobs", json=JOB)
    finish(traced.client, submitted, memory)
    trace_id = submitted.headers["x-correlation-id"]
    spans = find_spans(memory, trace_id)
    below = check_tree(spans, SUBMIT)
    assert sorted(below.pop(SUBMIT)) == ["job", "store"]
    assert sorted(below["job"]) == ["plan", "queue", "run"]
    assert below["run"] == ["segment"]
    (job,) = read_attributes(memory, trace_id, "job")
    assert (job["filmgate.state"], job["filmgate.attempts"]) == ("done", 1)
    (segment,) = read_attributes(memory, trace_id, "segment")
    assert segment == {"filmgate.attempt": 1, "filmgate.worker": "w1", "filmgate.frames": 24}
    request = next(span for span in spans if span.name == SUBMIT)
    assert dict(request.attributes or {}) == {
        "http.request.method": "POST", "http.route": "/v1/jobs", "url.path": "/v1/jobs",
        "http.response.status_code": 202, "filmgate.correlation_id": trace_id,
    }  # fmt: skip
    assert all(span.status.status_code is StatusCode.UNSET for span in spans)


def test_trace_goes_on_in_the_next_server(tmp_path: Path) -> None:
    """The server ends as the job runs; the next one records both attempts, from the rows."""
    traces, memory = make_traces()
    workers = FakeWorkers(None)
    with open_traced(tmp_path, workers, traces) as client:
        submitted = client.post("/v1/jobs", json=JOB)
        workers.wait_for_run()
    trace_id = submitted.headers["x-correlation-id"]
    before = {span.name for span in find_spans(memory, trace_id)}
    assert before == {SUBMIT, "store", "plan"}, "the job has not ended"
    later, later_memory = make_traces()
    following = FakeWorkers()
    following.wake()
    with open_traced(tmp_path, following, later) as client:
        finish(client, submitted, later_memory)
    spans = find_spans(memory, trace_id) + find_spans(later_memory, trace_id)
    below = check_tree(spans, SUBMIT)
    assert sorted(below["job"]) == ["plan", "queue", "queue", "run", "run"]
    runs = read_attributes(later_memory, trace_id, "run")
    assert [(run["filmgate.attempt"], run["filmgate.end"]) for run in runs] == [
        (1, "stopped"), (2, "done"),
    ]  # fmt: skip


def test_death_of_a_worker_is_an_error_of_its_attempt_alone(tmp_path: Path) -> None:
    crash = {"cause": "SIGKILL", "lines": ["/secret/name.mp4"]}
    with JobQueue(tmp_path / "queue.db") as queue:
        queue.leases.connect("w1", "cpu")
        job = queue.submit(JobRequest(tenant="ann", job={})).job
        queue.leases.claim(job.id, "w1")
        queue.leases.disconnect("w1", AttemptEnd.DIED, crash)
        attempts = queue.read_attempts(job.id)
        job = queue.cancel(job.id)
    spans = [span for span, _ in list_spans(job, attempts)]
    assert [span.name for span in spans][:2] == ["queue", "run"]
    assert [span.error for span in spans][:2] == ["", "died"]
    assert spans[1].attributes["filmgate.cause"] == "SIGKILL"
    assert "secret" not in str(spans)
    for one, following in pairwise(spans):
        assert one.end_ns == following.start_ns, "the time between them would be missing"


def test_a_job_that_fails_is_an_error_without_names_of_files(traced: Traced) -> None:
    failed = traced.client.post("/v1/jobs", json={"source": {"frames": 13, "fps": 24}})
    finish(traced.client, failed, traced.memory)
    spans = find_spans(traced.memory, failed.headers["x-correlation-id"])
    wrong = {s.name: s.status.description for s in spans if s.status.status_code is ERROR}
    assert wrong == {"job": "bad_input", "run": "failed"}
    assert "secret" not in "".join(span.to_json() for span in spans)


def test_a_job_that_is_cancelled_as_it_waits_has_a_trace(tmp_path: Path) -> None:
    traces, memory = make_traces()
    with open_traced(tmp_path, FakeWorkers(None), traces) as client:
        client.post("/v1/jobs", json=JOB)
        waiting = client.post("/v1/jobs", json=JOB)
        assert client.post(f"/v1/{waiting.json()['name']}:cancel").json()["done"]
    below = check_tree(find_spans(memory, waiting.headers["x-correlation-id"]), SUBMIT)
    assert "queue" in below["job"]


def test_trace_of_the_client_goes_on(traced: Traced) -> None:
    client = traced.client
    submitted = client.post("/v1/jobs", json=JOB, headers={"traceparent": CALLER})
    finish(client, submitted)
    assert submitted.headers["x-correlation-id"] == "ab" * 16
    own = {"traceparent": CALLER, "X-Correlation-ID": "order-17"}
    assert client.post("/v1/jobs", json=JOB, headers=own).headers["x-correlation-id"] == "order-17"
    requests = [s for s in find_spans(traced.memory, "ab" * 16) if s.name == SUBMIT]
    assert [f"{s.parent.span_id:016x}" for s in requests if s.parent] == ["cd" * 8] * 2
    names = [dict(s.attributes or {})["filmgate.correlation_id"] for s in requests]
    assert names == ["ab" * 16, "order-17"]


@pytest.mark.parametrize(
    "place",
    ["", "00", CALLER[:-1], CALLER.upper(), f"ff{CALLER[2:]}", CALLER + "-00",
     CALLER.replace("ab", "00"), CALLER.replace("cd", "00"), "\u00e9" * 55],
    ids=range(9),
)  # fmt: skip
def test_what_is_no_traceparent_is_ignored(place: str) -> None:
    traces, memory = make_traces()
    traces.begin_request("GET", place, "order-17").end("", "/", 200)
    traces.record(place, Span(name="plan", start_ns=1, end_ns=2))
    (span,) = memory.get_finished_spans()
    assert span.parent is None
    # the SHA-256 of order-17: requests with the same id are in the same trace
    assert f"{span.context.trace_id:032x}" == "72a90ea3da8b5dd01bde2f27314e02e2"
    assert make_place(place, "job") == ""


def test_job_whose_trace_is_not_sampled_is_not_measured(traced: Traced) -> None:
    headers = {"traceparent": f"00-{'12' * 16}-{'cd' * 8}-00"}
    finish(traced.client, traced.client.post("/v1/jobs", json=JOB, headers=headers))
    assert find_spans(traced.memory, "12" * 16) == []
    assert not traced.workers.runs[-1].request["is_traced"]


def test_requests_are_named_by_their_route_and_machines_are_left_out(traced: Traced) -> None:
    traced.memory.clear()
    for path in ("/livez", "/readyz", "/metrics", "/v1/jobs/17?token=secret"):
        traced.client.get(path)
    traced.client.get("/nothing", headers={"Host": "evil.example"})
    named = {s.name: dict(s.attributes or {}) for s in traced.memory.get_finished_spans()}
    statuses = {name: attributes["http.response.status_code"] for name, attributes in named.items()}
    assert statuses == {"GET /v1/jobs/{job_id}": 400, "GET": 421}
    assert "secret" not in str(named)


def test_an_answer_that_is_an_error_of_the_service_is_one_in_the_trace(traced: Traced) -> None:
    planner = traced.client.app.state.api.service._planner  # type: ignore[attr-defined]
    planner.error = NotPlanned("it took too long")
    try:
        answer = traced.client.post("/v1/plan", json=JOB)
        submitted = traced.client.post("/v1/jobs", json=JOB)
    finally:
        planner.error = None
    assert answer.status_code == 503
    (span,) = find_spans(traced.memory, answer.headers["x-correlation-id"])
    assert span.status.status_code is ERROR
    finish(traced.client, submitted, traced.memory)  # it runs alone
    accepted = find_spans(traced.memory, submitted.headers["x-correlation-id"])
    (plan,) = [span for span in accepted if span.name == "plan"]
    assert plan.status.status_code is StatusCode.UNSET, "it was not planned, and that is no error"


def test_what_raises_inside_is_recorded_and_raised(traced: Traced) -> None:
    traces, memory = make_traces()
    with pytest.raises(NotPlanned), measure_span(traces, CALLER, "plan"):
        raise NotPlanned("it took too long")
    (span,) = memory.get_finished_spans()
    assert span.status.description == "NotPlanned"
