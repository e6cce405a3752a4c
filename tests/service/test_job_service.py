"""The service without processes: what clients see of jobs, and what is refused."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from filmgate.errors import DoesNotFit, JobConflict, KeyReused, QueueFull, UnknownJob
from filmgate.jobs.queue.values import AttemptEnd, JobState
from filmgate.jobs.scheduler.capacity import Device, Machine
from filmgate.service.job_service import JobService
from filmgate.service.schema import JobDefinition
from filmgate.service.views import StartsLater, StartsNow
from tests.service.fakes import GIB, PLAN, FakeRun, FakeWorkers, FixedPlanner, make_service


def make_definition(path: str = "/clip.mp4", **fields: Any) -> JobDefinition:
    place = str(Path(path).absolute())  # with a drive on Windows
    return JobDefinition.from_json({"source": {"path": place}, "tasks": [], **fields})


def wait_for(service: JobService, job_id: str, state: JobState) -> None:
    """Wait until a job has a state. Fails after 20 s."""
    for _ in range(200):
        view = service.get(job_id)
        if view.state is state:
            return
        service.wait_for_change(job_id, view.events, 0.1)
    raise AssertionError(f"{view.state} {view.reason} {view.message}, wanted {state}")


def wait_for_run(workers: FakeWorkers, count: int = 1) -> FakeRun:
    event = threading.Event()
    for _ in range(400):
        if len(workers.runs) >= count:
            return workers.runs[count - 1]
        event.wait(0.02)
    raise AssertionError("no job was started")


def test_job_goes_from_submission_to_result(tmp_path: Path) -> None:
    workers = FakeWorkers(None)
    with make_service(tmp_path, workers) as service:
        done = service.submit("ann", make_definition(), correlation_id="c-1")
        assert done.is_new
        run = wait_for_run(workers)
        run.progress(21)
        run.segment(0)
        run.preview(b"a frame")
        view = service.get(done.job.id)
        assert (view.state, view.segments, view.correlation_id) == (JobState.RUNNING, 1, "c-1")
        assert view.progress
        assert view.progress.fraction == 21 / 48
        assert view.plan == PLAN
        assert service.read_preview(view.id) == b"a frame"
        with pytest.raises(JobConflict, match="is running and has no result"):
            service.open_result(view.id)
        run.finish(b"the video")
        wait_for(service, view.id, JobState.DONE)
        result = service.open_result(view.id)
        assert result.path.read_bytes() == b"the video"
        assert (result.media_type, result.size_bytes) == ("video/mp4", 9)
        assert service.get(view.id).result["frames"] == 48
        kinds = [event.kind for event in service.read_events(view.id)]
        assert kinds == ["queued", "leased", "running", "progress", "segment", "done"]
    with make_service(tmp_path) as service:  # after a restart the files tell
        assert service.read_preview(view.id) == b"a frame"
        assert service.open_result(view.id).sha256 == result.sha256
        result.path.write_bytes(b"another")
        with pytest.raises(JobConflict, match="was changed"):
            service.open_result(view.id)


def test_same_key_is_the_same_job_and_is_not_planned_again(tmp_path: Path) -> None:
    planner, workers = FixedPlanner(), FakeWorkers(None)
    planner.is_known = False
    with make_service(tmp_path, workers, planner) as service:
        jobs = [service.submit("ann", make_definition(), key="k") for _ in range(3)]
        assert [job.is_new for job in jobs] == [True, False, False]
        assert len({job.job.id for job in jobs}) == 1
        wait_for_run(workers)
        assert planner.calls == 1
        with pytest.raises(KeyReused, match="used for another request"):
            service.submit("ann", make_definition("/other.mp4"), key="k")


def test_position_and_start_are_predicted(tmp_path: Path) -> None:
    with make_service(tmp_path, FakeWorkers(None)) as service:
        workers = service._workers
        assert isinstance(workers, FakeWorkers)
        first = service.submit("ann", make_definition())
        wait_for_run(workers)
        assert isinstance(first.answer, StartsNow | StartsLater)
        second = service.submit("ann", make_definition())
        third = service.submit("ann", make_definition())
        assert isinstance(third.answer, StartsLater)
        assert third.answer.position == 2
        assert service.get(second.job.id).position == 1
        page = service.list("ann", limit=2)
        assert [job.id for job in page.items] == [third.job.id, second.job.id]
        rest = service.list("ann", after=page.next)
        assert [job.id for job in rest.items] == [first.job.id]
        assert rest.next is None
        assert service.list("bob").items == ()


def test_what_is_known_never_to_fit_is_refused_at_once(tmp_path: Path) -> None:
    planner = FixedPlanner()
    with make_service(tmp_path, FakeWorkers(None), planner) as service:
        job = service.submit("ann", make_definition(), key="k").job
        planner.error = DoesNotFit("this needs at least 20 GB", 20 * GIB)
        again = service.submit("ann", make_definition(), key="k")
        assert (again.job.id, again.is_new) == (job.id, False), "it was accepted before"
        with pytest.raises(DoesNotFit):
            service.submit("ann", make_definition())
        planner.error = None
        service._workers.machine = service._workers.machine.__class__((), GIB)  # type: ignore[attr-defined]
        with pytest.raises(DoesNotFit, match="never starts"):
            service.submit("ann", make_definition())
        assert service.read_metrics().refused == {"never_fits": 2}
        with pytest.raises(UnknownJob):
            service.get("nope")


def test_full_queue_says_when_to_try_again(tmp_path: Path) -> None:
    workers = FakeWorkers(None)
    with make_service(tmp_path, workers, max_waiting_per_key=1) as service:
        service.submit("ann", make_definition())
        wait_for_run(workers)
        service.submit("ann", make_definition())
        with pytest.raises(QueueFull) as caught:
            service.submit("ann", make_definition())
        assert caught.value.of_tenant
        assert 1 <= caught.value.retry_after_s <= 300
        service.submit("bob", make_definition())


def test_death_of_a_worker_is_an_answer(tmp_path: Path) -> None:
    workers = FakeWorkers(None)
    with make_service(tmp_path, workers) as service:
        service._queue.leases._uniform = lambda low, high: low  # it is tried again at once
        job = service.submit("ann", make_definition(), correlation_id="c-9").job
        for attempt in range(1, 4):
            run = wait_for_run(workers, attempt)
            run.progress(21 * attempt)
            run.die()
            workers.wake()
        wait_for(service, job.id, JobState.FAILED)
        view = service.get(job.id)
        assert view.reason == "poison"
        assert [one.end for one in view.attempts] == [AttemptEnd.DIED] * 3
        crash = view.attempts[0].crash
        assert crash["cause"] == "SIGKILL"
        assert crash["correlation_id"] == "c-9"
        died = [one for one in service.read_events(job.id) if one.kind == "worker_died"]
        assert [one.data["read"] for one in died] == [21, 21, 21]
        other = service.submit("ann", make_definition()).job
        wait_for_run(workers, 4).finish()
        wait_for(service, other.id, JobState.DONE)
    log = (tmp_path / "logs" / "service.jsonl").read_text()
    assert '"correlation_id": "c-9"' in log
    assert "worker_ended" in log


def test_job_that_runs_out_of_memory_gets_more_then_all_then_fails(tmp_path: Path) -> None:
    workers = FakeWorkers(None)  # on a machine with 16 GiB; the job is predicted to take one
    with make_service(tmp_path, workers) as service:
        service._queue.leases._uniform = lambda low, high: low
        job = service.submit("ann", make_definition()).job
        had = []
        for attempt in range(1, 4):
            run = wait_for_run(workers, attempt)
            had.append(run.request["demand"].host_bytes)
            assert service.read_metrics().reserved_bytes["ram"] == had[-1]
            run.progress(21 * attempt)
            run.die(AttemptEnd.OUT_OF_MEMORY)
            workers.wake()
        assert had == [GIB, 2 * GIB, 16 * GIB * 80 // 100]
        wait_for(service, job.id, JobState.FAILED)
        view = service.get(job.id)
        assert view.reason == "out_of_memory"
        assert "that is all that one job may have" in view.message
        events = service.read_events(job.id)
        assert [e.data["host_bytes"] for e in events if e.kind == "leased"] == had
        assert [e.kind for e in events].count("reservation_raised") == 2


@pytest.mark.parametrize("needs", [3 * GIB, 30 * GIB])
def test_job_of_a_larger_machine_is_predicted_again(needs: int, tmp_path: Path) -> None:
    """The server was started again with less memory: the job would wait for ever."""
    planner = FixedPlanner(replace(PLAN, host_bytes=8 * GIB))
    with make_service(tmp_path, FakeWorkers(None), planner) as service:
        running = service.submit("ann", make_definition()).job
        waiting = service.submit("ann", make_definition()).job
        assert service.get(waiting.id).is_planned
    workers, planner = FakeWorkers(), FixedPlanner(replace(PLAN, host_bytes=needs))
    workers.machine = Machine((Device("cpu", 0),), 5 * GIB)
    with make_service(tmp_path, workers, planner) as service:
        for job in (running, waiting):
            wait_for(service, job.id, JobState.DONE if needs < 5 * GIB else JobState.FAILED)
            kinds = [event.kind for event in service.read_events(job.id)]
            assert "prediction_repeated" in kinds
        if needs > 5 * GIB:
            assert "so it never starts: choose settings" in service.get(job.id).message


def test_cancelled_and_failed_jobs_are_reported(tmp_path: Path) -> None:
    workers = FakeWorkers(None)
    with make_service(tmp_path, workers) as service:
        running = service.submit("ann", make_definition()).job
        wait_for_run(workers)
        waiting = service.submit("ann", make_definition()).job
        assert service.cancel(waiting.id).state is JobState.CANCELLED
        service.cancel(running.id)
        wait_for(service, running.id, JobState.CANCELLED)
        failing = service.submit("ann", make_definition()).job
        wait_for_run(workers, 2).fail("bad_input", "frame 3 is damaged")
        wait_for(service, failing.id, JobState.FAILED)
        view = service.get(failing.id)
        assert (view.reason, view.message) == ("bad_input", "frame 3 is damaged")
        with pytest.raises(JobConflict, match="is failed"):
            service.cancel(failing.id)
        finished = service.read_metrics().finished
        assert finished == {("cancelled", ""): 2, ("failed", "bad_input"): 1}


def test_changes_reach_callbacks_and_threads_that_wait(tmp_path: Path) -> None:
    seen: list[str] = []
    with make_service(tmp_path) as service:
        end = service.subscribe(seen.append)
        job = service.submit("ann", make_definition()).job
        wait_for(service, job.id, JobState.DONE)
        assert set(seen) == {job.id}
        end()
        count = len(seen)
        service.submit("ann", make_definition())
        assert len(seen) == count
        service.wait_for_change(job.id, 999, 0.01)


def test_readiness_says_what_is_missing(tmp_path: Path) -> None:
    service = make_service(tmp_path)
    try:
        assert service.report_readiness().reasons[0] == "the service has not started"
        service.start()
        for _ in range(200):
            if service.report_readiness().is_ready:
                break
            threading.Event().wait(0.02)
        assert service.report_readiness().is_ready
    finally:
        service.stop()
    service.stop()


def test_finished_jobs_are_removed_after_their_time(tmp_path: Path) -> None:
    with make_service(tmp_path) as service:
        job = service.submit("ann", make_definition()).job
        wait_for(service, job.id, JobState.DONE)
        path = service.open_result(job.id).path
        (path.parent / "notes.txt").write_text("of the user")
        service._loop.clean()
        assert service.get(job.id).state is JobState.DONE
        service._loop._keep_finished_s = 0.0
        service._loop.clean()
        with pytest.raises(UnknownJob) as caught:
            service.get(job.id)
        assert caught.value.was_removed
        assert [one.name for one in path.parent.iterdir()] == ["notes.txt"]
