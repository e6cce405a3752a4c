"""Traces that go to a collector: what it gets, and what happens without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from filmgate.errors import BadSetting, NotLoaded
from filmgate.service.logs import NAME, ServiceLog
from filmgate.service.settings import ServiceSettings
from filmgate.service.telemetry.opening import open_traces
from filmgate.service.telemetry.traces import Span, find_endpoint
from tests.service.telemetry.collector import open_collector

PLACE = f"00-{'ab' * 16}-{'cd' * 8}-01"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ServiceLog]:
    """The log of a service."""
    own = ServiceLog(tmp_path)
    yield own
    own.close()


def read_log(folder: Path) -> list[dict[str, Any]]:
    path = folder / NAME
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_collector_gets_spans_with_what_the_environment_says(
    log: ServiceLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    with open_collector() as collector:
        traces = open_traces(f"{collector.address}/", log)
        request = traces.begin_request("POST", "", "ab" * 16)
        span = Span(
            name="job", start_ns=10**18, end_ns=10**18 + 5, attributes={"filmgate.job": "7"}
        )
        traces.record(request.place, span, f"00-{'ab' * 16}-{'ef' * 8}-01")
        request.end("/v1/jobs", "/v1/jobs", 202)
        traces.close()
        spans = {span.name: span for span in collector.list_spans()}
    assert set(spans) == {"job", "POST /v1/jobs"}
    job, submit = spans["job"], spans["POST /v1/jobs"]
    assert (job.trace_id.hex(), job.span_id.hex()) == ("ab" * 16, "ef" * 8)
    assert job.parent_span_id == submit.span_id
    assert job.end_time_unix_nano - job.start_time_unix_nano == 5
    assert collector.paths == ["/v1/traces"]
    assert collector.headers[0]["authorization"] == "Bearer x"
    (resource,) = [r.resource for one in collector.requests for r in one.resource_spans]
    about = {a.key: a.value.string_value for a in resource.attributes}
    assert about["service.name"] == "filmgate"
    assert about["deployment.environment.name"] == "test"
    assert read_log(tmp_path) == []


def test_name_of_the_service_is_that_of_the_environment(
    log: ServiceLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "studio")
    with open_collector() as collector:
        traces = open_traces(collector.address, log)
        traces.record(PLACE, Span(name="job", start_ns=1, end_ns=2))
        traces.close()
    (resource,) = [r.resource for one in collector.requests for r in one.resource_spans]
    assert "studio" in {a.value.string_value for a in resource.attributes}


@pytest.mark.parametrize("variable", ["OTEL_SDK_DISABLED", "OTEL_TRACES_SAMPLER"])
def test_switches_of_the_sdk_work(
    variable: str, log: ServiceLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, {"OTEL_SDK_DISABLED": "true"}.get(variable, "always_off"))
    with open_collector() as collector:
        traces = open_traces(collector.address, log)
        request = traces.begin_request("POST", "", "ab" * 16)
        assert request.place == ""
        traces.record(request.place, Span(name="plan", start_ns=1, end_ns=2))
        request.end("", "/", 200)
        traces.close()
    assert collector.requests == []


def test_a_collector_that_refuses_spans_becomes_one_line_of_the_log_alone(
    log: ServiceLog,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    with open_collector(status=400) as collector:
        traces = open_traces(collector.address, log)
        for _ in range(3):
            count = len(collector.requests)
            traces.record(PLACE, Span(name="job", start_ns=1, end_ns=2))
            while len(collector.requests) == count:
                threading.Event().wait(0.005)
        traces.close()
    (line,) = read_log(tmp_path)
    assert (line["event"], line["level"]) == ("traces_not_sent", "warning")
    assert "400" in line["message"]
    assert capfd.readouterr() == ("", "")


def test_a_collector_that_does_not_answer_does_not_hold_up_the_end(
    log: ServiceLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("filmgate.service.telemetry.open_telemetry._CLOSE_S", 0.05)
    with open_collector(hold=threading.Event()) as collector:
        traces = open_traces(collector.address, log)
        traces.record(PLACE, Span(name="job", start_ns=1, end_ns=2))
        start_s = monotonic()
        traces.close()
        assert monotonic() - start_s < 1.0
        while not collector.requests:
            threading.Event().wait(0.005)


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("https://collector.example/", "https://collector.example/v1/traces"),
        ("http://[::1]:4318/v1/traces", "http://[::1]:4318/v1/traces"),
        ("https://example.org/otlp", "https://example.org/otlp/v1/traces"),
    ],
)
def test_address_of_a_collector(address: str, endpoint: str) -> None:
    assert find_endpoint(address) == endpoint


@pytest.mark.parametrize(
    "address",
    ["", "on", "127.0.0.1:4318", "ftp://host", "http://", "http://host:99999", "http://[::1",
     "http://host?a=1", "http://user:secret@host"],
)  # fmt: skip
def test_address_that_is_none_is_refused_before_anything_starts(
    address: str, tmp_path: Path
) -> None:
    with pytest.raises(BadSetting, match="traces") as caught:
        ServiceSettings(folder=tmp_path, traces=address)
    assert "secret" not in str(caught.value)


def test_variable_that_cannot_be_used_is_an_error(
    log: ServiceLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with pytest.raises(BadSetting, match="max_queue_size must be a positive integer"):
        open_traces("http://127.0.0.1:1", log)


def test_missing_extra_is_an_error_that_says_how_to_get_it(
    log: ServiceLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "filmgate.service.telemetry.open_telemetry", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(NotLoaded, match=r"traces need OpenTelemetry.*pip install .*telemetry"):
        open_traces("http://127.0.0.1:4318", log)


@pytest.mark.slow
def test_nothing_is_loaded_and_nothing_recorded_when_it_is_off(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "_OF_THE_EXTRA = ('opentelemetry.sdk', 'opentelemetry.exporter', 'requests')\n"
        "from filmgate.service.server import build_service_app\n"
        "from filmgate.service.api.settings import ServerSettings\n"
        "from starlette.testclient import TestClient\n"
        "from tests.service.fakes import make_service\n"
        f"service = make_service(Path({str(tmp_path)!r}))\n"
        "app = build_service_app(service, ServerSettings())\n"
        "with TestClient(app, base_url='http://127.0.0.1') as client, service:\n"
        "    assert client.get('/v1/tasks').status_code == 200\n"
        "span = service.traces.begin_request('GET', '', 'ab' * 16)\n"
        "assert (span.place, service.traces.is_on) == ('', False)\n"
        "found = [name for name in sys.modules if name.startswith(_OF_THE_EXTRA)]\n"
        "assert not found, found\n"
    )
    # neither turns anything on
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
                 "FASTAPI_OTEL_AUTO_CONFIGURE": "true"}  # fmt: skip
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, **variables}, timeout=60
    )
