"""Jobs that are accepted before it is predicted what they take."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from filmgate.errors import BadInput, DoesNotFit, NotPlanned
from filmgate.jobs.queue.values import JobClass, JobState
from filmgate.jobs.scheduler.capacity import Device, Machine
from filmgate.service.schema import JobDefinition
from filmgate.service.views import JobPlan, StartsLater
from tests.service.fakes import GIB, PLAN, FakeWorkers, FixedPlanner, make_service
from tests.service.test_job_service import make_definition, wait_for, wait_for_run


class SlowPlanner(FixedPlanner):
    """Knows nothing before, and predicts each job when the test lets it. `seen`: their paths."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__(PLAN, error)
        self.is_known, self.seen = False, list[str]()
        self.may_answer, self._started = threading.Semaphore(0), threading.Semaphore(0)
        self._is_closed = False

    def plan(self, definition: JobDefinition, machine: Machine) -> JobPlan:
        self.seen.append(definition.inputs["source"].name)
        self._started.release()
        assert self.may_answer.acquire(timeout=20)
        if self._is_closed:
            raise NotPlanned("the service ends")
        return super().plan(definition, machine)

    def wait(self) -> None:
        """Wait until it predicts another job."""
        assert self._started.acquire(timeout=20)

    def close(self) -> None:
        self._is_closed = True
        self.may_answer.release()


def test_answer_comes_before_the_prediction_which_is_an_event(tmp_path: Path) -> None:
    planner, workers = SlowPlanner(), FakeWorkers(None)
    with make_service(tmp_path, workers, planner) as service:
        done = service.submit("ann", make_definition())
        planner.wait()
        assert done.answer == StartsLater(1, None)
        view = service.get(done.job.id)
        assert (view.state, view.is_planned, view.plan) == (JobState.QUEUED, False, None)
        assert not workers.runs
        planner.may_answer.release()
        run = wait_for_run(workers)
        view = service.get(done.job.id)
        assert (view.is_planned, view.plan) == (True, PLAN)
        assert run.request["demand"] == PLAN.demand
        events = service.read_events(view.id)
        assert [event.kind for event in events][:3] == ["queued", "planned", "leased"]
        assert events[1].data == {"host_bytes": GIB, "device_bytes": 0, "seconds": 2.0}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            DoesNotFit("it needs 30 GB and 16 GB are there: choose scale 2", 30 * GIB),
            "does_not_fit",
        ),
        (BadInput("notes.mp4 is no video"), "bad_input"),
    ],
)
def test_job_that_cannot_run_fails_with_why(tmp_path: Path, error: Exception, reason: str) -> None:
    workers = FakeWorkers(None)
    with make_service(tmp_path, workers, SlowPlanner(error)) as service:
        service._planner.may_answer.release()  # type: ignore[attr-defined]  # it is ours
        job = service.submit("ann", make_definition()).job
        wait_for(service, job.id, JobState.FAILED)
        view = service.get(job.id)
        assert (view.reason, view.message, view.attempts) == (reason, str(error), ())
        assert not workers.runs


def test_job_that_never_fits_on_this_machine_fails_with_what_would(tmp_path: Path) -> None:
    planner, workers = SlowPlanner(), FakeWorkers(None)
    workers.machine = Machine(workers.machine.devices, GIB)  # of which 80 % may be used
    with make_service(tmp_path, workers, planner) as service:
        planner.may_answer.release()
        job = service.submit("ann", make_definition()).job
        wait_for(service, job.id, JobState.FAILED)
        assert "never starts: choose settings that take at most" in service.get(job.id).message


@pytest.mark.parametrize("error", [NotPlanned("it took more than 60 s"), RuntimeError("a bug")])
def test_job_that_cannot_be_predicted_runs_alone(tmp_path: Path, error: Exception) -> None:
    planner, workers = SlowPlanner(error), FakeWorkers(None)
    with make_service(tmp_path, workers, planner) as service:
        planner.may_answer.release()
        job = service.submit("ann", make_definition()).job
        assert (
            wait_for_run(workers).request["demand"].host_bytes == workers.machine.usable_host_bytes
        )
        view = service.get(job.id)
        assert (view.is_planned, view.plan) == (True, None)
        planned = service.read_events(job.id)[1]
        assert (planned.kind, planned.data) == ("planned", {"message": str(error)})


def test_job_that_cannot_be_predicted_starts_though_more_is_resident_by_then(
    tmp_path: Path,
) -> None:
    planner, workers = SlowPlanner(NotPlanned("it took too long")), FakeWorkers(None)
    with make_service(tmp_path, workers, planner) as service:
        service.submit("ann", make_definition())
        planner.wait()
        workers.machine = replace(workers.machine, host_resident_bytes=1 << 20)
        planner.may_answer.release()
        wait_for_run(workers)


def test_prediction_is_made_after_a_restart_if_the_server_ended_in_it(tmp_path: Path) -> None:
    planner = SlowPlanner()
    with make_service(tmp_path, FakeWorkers(None), planner) as service:
        job = service.submit("ann", make_definition()).job
        planner.wait()
    with make_service(tmp_path, planner=FixedPlanner()) as service:
        wait_for(service, job.id, JobState.DONE)
        assert [event.kind for event in service.read_events(job.id)][:2] == ["queued", "planned"]


def test_job_that_is_too_large_once_pins_are_loaded_is_predicted_again(tmp_path: Path) -> None:
    """Whatever the prediction says then, the job does not wait for ever."""
    planner, workers = FixedPlanner(replace(PLAN, device_bytes=15 * GIB)), FakeWorkers(None)
    workers.machine = Machine((Device("cpu", 20 * GIB),), 64 * GIB)
    with make_service(tmp_path, workers, planner) as service:
        service.submit("ann", make_definition("/first.mp4"))
        wait_for_run(workers)
        job = service.submit("ann", make_definition()).job
        assert (job.state, job.is_planned) == (JobState.QUEUED, True)
        workers.machine = Machine((Device("cpu", 20 * GIB, 2 * GIB),), 64 * GIB)
        workers.wake()
        wait_for(service, job.id, JobState.FAILED)
        assert service.get(job.id).reason == "does_not_fit"
        kinds = [event.kind for event in service.read_events(job.id)]
        assert kinds == ["queued", "prediction_repeated", "failed"]


def test_cancelled_job_is_not_started_by_its_prediction(tmp_path: Path) -> None:
    planner, workers = SlowPlanner(), FakeWorkers(None)
    with make_service(tmp_path, workers, planner) as service:
        job = service.submit("ann", make_definition()).job
        planner.wait()
        assert service.cancel(job.id).state is JobState.CANCELLED
        other = service.submit("ann", make_definition("/other.mp4")).job
        for _ in range(2):
            planner.may_answer.release()
        assert wait_for_run(workers).lease.job_id == other.id
        assert [event.kind for event in service.read_events(job.id)] == ["queued", "cancelled"]


def test_urgent_jobs_are_predicted_first_and_tenants_in_turn(tmp_path: Path) -> None:
    planner = SlowPlanner()
    with make_service(tmp_path, FakeWorkers(None), planner) as service:
        service.submit("ann", make_definition("/a1"))
        planner.wait()  # the others come while it is predicted
        for name in ("a2", "a3"):
            service.submit("ann", make_definition(f"/{name}"))
        for name in ("b1", "b2"):
            service.submit("bob", make_definition(f"/{name}"))
        service.submit("ann", make_definition("/live"), job_class=JobClass.LIVE)
        for _ in range(5):
            planner.may_answer.release()
            planner.wait()
    assert planner.seen == ["a1", "live", "b1", "a2", "b2", "a3"]
