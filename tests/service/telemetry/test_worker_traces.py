"""What a real worker measures reaches a collector, also when the worker is killed in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from filmgate.jobs.queue.values import JobState
from tests.processes import KILL_CAUSE
from tests.service.real import finish, make_clip, make_job, open_service, set_faults
from tests.service.telemetry.collector import open_collector


@pytest.mark.slow
def test_trace_of_a_job_whose_worker_is_killed_accounts_for_all_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quick tests have no worker process, whose clock and messages these are."""
    set_faults(monkeypatch, "encode.before_commit=kill@2")
    with open_collector() as collector:
        with open_service(tmp_path / "service", traces=collector.address) as service:
            request = service.traces.begin_request("POST", "", "ab" * 16)
            job = service.submit("ann", make_job(make_clip(tmp_path)), place=request.place).job
            request.end("/v1/jobs", "/v1/jobs", 202)
            assert finish(service, job.id).state is JobState.DONE
        spans = sorted(collector.list_spans(), key=lambda span: int(span.start_time_unix_nano))
    assert {span.trace_id.hex() for span in spans} == {"ab" * 16}
    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == len(spans)
    complete = next(span for span in spans if span.name == "job")
    died, done = (span for span in spans if span.name == "run")
    about = {a.key: a.value.string_value for a in died.attributes}
    assert (about["error.type"], about["filmgate.cause"]) == ("died", KILL_CAUSE)
    parts = [s for s in spans if s.parent_span_id == done.span_id]
    assert [part.name for part in parts] == ["load", "segment", "segment", "segment", "finish"]
    assert [s.name for s in spans if s.parent_span_id == died.span_id] == ["load", "segment"]
    segment = {a.key: a.value for a in parts[1].attributes}
    assert segment["filmgate.frames"].int_value == 24
    assert any(key.startswith("filmgate.busy_s.") for key in segment), segment
    for run, below in ((complete, [died, done]), (done, parts)):
        for part in below:
            assert run.start_time_unix_nano - 50_000_000 <= part.start_time_unix_nano
            assert part.end_time_unix_nano <= run.end_time_unix_nano + 50_000_000
    measured = sum(part.end_time_unix_nano - part.start_time_unix_nano for part in parts)
    assert measured > 0.8 * (done.end_time_unix_nano - done.start_time_unix_nano)
