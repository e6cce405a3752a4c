"""What a worker reports of the events of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import filmgate as fg
from filmgate.core.events import Event, Replanned, Warned
from filmgate.errors import BadInput
from filmgate.jobs.queue.values import Demand, Lease
from filmgate.service.worker import messages
from filmgate.service.worker.job_run import JobRun, Orders
from filmgate.service.worker.warm_models import WarmModels
from tests.service.real import make_job


@pytest.mark.fault(12)
def test_a_smaller_batch_a_warning_and_an_error_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Iterator[Event]:
        yield Replanned(8, "upscale", 2, "out of memory")
        yield Warned("a caption is left out")
        raise BadInput("in.mp4 is damaged")

    monkeypatch.setattr(fg, "events", fail)
    sent: list[Any] = []
    order = messages.RunJob(
        lease=Lease("job", 1, "worker"),
        definition=make_job(tmp_path / "in.mp4").to_json(),
        folder=tmp_path,
        plan=None,
        demand=Demand(),
        keep_samples=False,
    )
    JobRun(order, sent.append, WarmModels(), Orders()).run()
    degraded, warning, failed = sent
    assert degraded.kind == "degraded"
    assert degraded.data == {"stage": "upscale", "batch": 2, "why": "out of memory"}
    assert (warning.kind, warning.data) == ("warning", {"message": "a caption is left out"})
    assert isinstance(failed, messages.Failed)
    assert (failed.message, failed.may_retry) == ("in.mp4 is damaged", False)
