"""Kill a worker at the N-th pass of every point, for N = 1, 2 ... until none is killed."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import pytest

from filmgate.core.instrumentation.fault_injection import POINTS
from filmgate.jobs.queue.values import JobState
from tests.service.real import (
    check_nothing_left,
    find_undisturbed,
    finish,
    hash_result,
    list_events,
    make_clip,
    make_job,
    open_service,
    set_faults,
)

FRAMES = 48
REACHED = [name for name in POINTS if not name.startswith("prepare.")]  # the job has no stage


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("FILMGATE_PROFILE") != "faults", reason="make faults-long")
@pytest.mark.parametrize("point", REACHED)
def test_worker_killed_at_every_step_loses_nothing(
    point: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wanted = find_undisturbed(tmp_path_factory, FRAMES)
    for number in count(1):
        folder = tmp_path / f"service-{number}"
        with pytest.MonkeyPatch.context() as patch:
            set_faults(patch, f"{point}=kill@{number}")
            with open_service(folder) as service:
                job = service.submit("ann", make_job(make_clip(tmp_path, FRAMES))).job
                view = finish(service, job.id)
                assert view.state is JobState.DONE, (number, view.message)
                assert hash_result(service, job.id) == wanted, number
                deaths = len(list_events(service, job.id, "worker_died"))
        check_nothing_left(folder)
        if not deaths:
            assert number > 1, f"{point} was never reached"
            return
