"""Predictions in a process of their own: right, refused, hung, killed, and asked once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from filmgate.core.plan import Plan
from filmgate.errors import BadInput, DoesNotFit, NotPlanned
from filmgate.jobs.scheduler.capacity import Device, Machine
from filmgate.service.logs import ServiceLog
from filmgate.service.settings import ServiceSettings
from filmgate.service.supervisor import planner as planner_module
from filmgate.service.supervisor.planner import PlannerProcess
from filmgate.service.worker.job_run import read_plan
from tests.service.real import make_clip, make_job, pause

MACHINE = Machine((Device("cpu", 0),), 8 << 30)


@pytest.fixture
def planner(tmp_path: Path) -> Iterator[PlannerProcess]:
    log = ServiceLog(tmp_path / "logs")
    planner = PlannerProcess(ServiceSettings(folder=tmp_path, plan_s=60.0), log)
    yield planner
    planner.close()
    log.close()


def test_job_is_predicted_and_what_is_wrong_with_it_is_raised(
    planner: PlannerProcess, tmp_path: Path
) -> None:
    job = make_job(make_clip(tmp_path))
    found = planner.plan(job, MACHINE)
    assert (found.frames, found.result_frames, found.size) == (96, 96, (64, 48))
    assert 20_000_000 < found.host_bytes < 2_000_000_000
    assert found.device_bytes == 0
    assert isinstance(read_plan({"settings": found.settings}), Plan)
    assert planner.plan(job, MACHINE) is found, "it is not measured again"
    text = tmp_path / "notes.mp4"
    text.write_text("no video")
    with pytest.raises(BadInput, match=r"notes\.mp4"):
        planner.plan(make_job(text), MACHINE)
    with pytest.raises(DoesNotFit, match="at least"):
        planner.plan(job, Machine((Device("cpu", 0),), 10_000_000))


@pytest.mark.slow
@pytest.mark.fault(19)
def test_prediction_that_hangs_or_dies_is_an_answer(
    planner: PlannerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = PlannerProcess(replace(planner._settings, plan_s=3.0), planner._log)
    job = make_job(make_clip(tmp_path))
    monkeypatch.setattr(planner_module, "plan_jobs", _hang)
    with pytest.raises(NotPlanned, match=r"took more than 3 s"):
        impatient.plan(job, MACHINE)
    impatient.close()
    monkeypatch.setattr(planner_module, "plan_jobs", _die)
    with pytest.raises(NotPlanned, match=r"died: exit code 7"):
        planner.plan(job, MACHINE)
    monkeypatch.undo()
    assert planner.plan(job, MACHINE).frames == 96


def _hang(*pipes: Any) -> None:
    pause(60)


def _die(*pipes: Any) -> None:
    os._exit(7)
