"""Cancelling at every moment of a run: the answer is true, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from filmgate.errors import JobConflict
from filmgate.jobs.queue.values import JobState
from filmgate.service.job_service import JobService
from filmgate.service.views import JobView
from tests.service.real import (
    WAIT_S,
    check_nothing_left,
    find_undisturbed,
    finish,
    hash_result,
    list_events,
    make_clip,
    make_hold,
    make_job,
    open_service,
    pause,
)

BEFORE = ("decode.chunk@9", "encode.before_commit@2", "commit.listed@2", "encode.after_commit@2")
COMPLETE = ("join.complete", "join.named", "end.removed")
pytestmark = pytest.mark.slow


def cancel(service: JobService, job_id: str) -> None:
    """Cancel a running job, and wait until its worker has got the order."""
    assert service.cancel(job_id).is_cancel_requested
    pool: Any = service._workers
    for _ in range(int(WAIT_S / 0.01)):
        if any(worker.kill_at_s for worker in pool._list()):
            return
        pause(0.01)
    raise AssertionError("no worker was asked to stop")


def check_cancelled(service: JobService, view: JobView) -> None:
    """Check the job, its events and its folder; and that the next job runs."""
    assert view.state is JobState.CANCELLED
    kinds = [kind for kind, _ in list_events(service, view.id)]
    assert kinds[-1] == "cancelled"
    assert "done" not in kinds
    with pytest.raises(JobConflict, match="is cancelled and has no result"):
        service.open_result(view.id)
    assert service.cancel(view.id).state is JobState.CANCELLED, "again changes nothing"


def list_files(folder: Path, job_id: str) -> list[str]:
    """Return the names of what a job has left, besides its previews."""
    place = folder / "queue.db.files" / job_id
    return sorted(path.name for path in place.glob("**/*") if not path.name.startswith("preview"))


@pytest.mark.fault(26)
@pytest.mark.parametrize("point", [*BEFORE, *COMPLETE])
def test_job_is_cancelled_at_any_moment_or_done_if_its_result_was_complete(
    point: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wanted, folder = find_undisturbed(tmp_path_factory), tmp_path / "service"
    with make_hold(tmp_path / "gate", point) as hold, open_service(folder) as service:
        job = service.submit("ann", make_job(make_clip(tmp_path))).job
        hold.wait()
        cancel(service, job.id)
        hold.open()
        view = finish(service, job.id)
        if point in COMPLETE:
            assert view.state is JobState.DONE, "the worker was quicker"
            assert hash_result(service, job.id) == wanted
            with pytest.raises(JobConflict, match="is done: it cannot be cancelled"):
                service.cancel(job.id)
        else:
            check_cancelled(service, view)
        other = service.submit("ann", make_job(make_clip(tmp_path))).job
        assert finish(service, other.id).state is JobState.DONE
        assert hash_result(service, other.id) == wanted
    assert list_files(folder, job.id) == (["result.mp4"] if point in COMPLETE else [])
    check_nothing_left(folder)


@pytest.mark.fault(26)
@pytest.mark.parametrize("point", ["commit.listed@2", *COMPLETE])
def test_worker_killed_for_a_cancelled_job_leaves_nothing(point: str, tmp_path: Path) -> None:
    """It does not stop in time, whatever it does, and its job is cancelled and not done."""
    folder = tmp_path / "service"
    with make_hold(tmp_path / "gate", point) as hold, open_service(folder, cancel_s=0.2) as service:
        job = service.submit("ann", make_job(make_clip(tmp_path))).job
        hold.wait()
        service.cancel(job.id)
        view = finish(service, job.id)
        check_cancelled(service, view)
        assert "did not stop in 0.2 s" in view.attempts[0].crash["cause"]
        other = service.submit("ann", make_job(make_clip(tmp_path))).job
        hold.open()
        assert finish(service, other.id).state is JobState.DONE
    assert list_files(folder, job.id) == []
    check_nothing_left(folder)


@pytest.mark.fault(26)
def test_job_cancelled_between_two_attempts_leaves_nothing(tmp_path: Path) -> None:
    """It waits after a death; also when the server ends before it has removed the run."""
    folder = tmp_path / "service"
    with make_hold(tmp_path / "gate", "compute.step@9") as hold, open_service(folder) as service:
        service._queue.leases._uniform = lambda low, high: 60.0
        job = service.submit("ann", make_job(make_clip(tmp_path))).job
        hold.wait()
        pool: Any = service._workers
        pool._list()[0].child.process.kill()
        for _ in range(1000):
            if service.get(job.id).state is JobState.QUEUED:
                break
            pause(0.01)
        assert list_files(folder, job.id), "what it has done is kept for the next attempt"
        service._loop.note_end = lambda *args, **named: None  # type: ignore[method-assign]
        assert service.cancel(job.id).state is JobState.CANCELLED
    assert list_files(folder, job.id), "this server has not removed it"
    with open_service(folder) as service:
        other = service.submit("ann", make_job(make_clip(tmp_path))).job
        assert finish(service, other.id).state is JobState.DONE
    assert list_files(folder, job.id) == []
    check_nothing_left(folder)
