"""The queue, its scheduler and an executor that only notes what it is asked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from filmgate.errors import DiskFull
from filmgate.jobs.queue.values import AttemptEnd, Demand, JobClass, JobState, Lease
from filmgate.jobs.scheduler.dispatcher import Dispatcher, Silence
from tests.jobs.queue.disk import FULL, get_disk
from tests.jobs.queue.queues import ManualClock, make_job, make_segment, name_jobs, open_queue
from tests.jobs.scheduler.situations import make_machine


class NotingExecutor:
    """Notes its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Lease]] = []

    def start(self, lease: Lease, request: Mapping[str, Any]) -> None:
        self.calls.append(("start", lease))

    def ask_to_yield(self, lease: Lease) -> None:
        self.calls.append(("yield", lease))

    def ask_to_cancel(self, lease: Lease) -> None:
        self.calls.append(("cancel", lease))

    def kill(self, lease: Lease) -> None:
        self.calls.append(("kill", lease))

    def take(self) -> list[str]:
        """Return the calls since the last time."""
        calls, self.calls = self.calls, []
        return [f"{what} {lease.job_id} {lease.worker}" for what, lease in calls]


class Desk:
    """A queue with a dispatcher and workers w1, w2 on device a."""

    def __init__(self, folder: Path, workers: int = 1) -> None:
        self.clock, self.executor = ManualClock(), NotingExecutor()
        self.queue = open_queue(folder, self.clock, new_id=name_jobs().__next__)
        self.dispatcher = Dispatcher(
            self.queue, make_machine(), self.executor,
            silence=Silence(loading_s=1000.0, running_s=30.0),
        )  # fmt: skip
        for number in range(workers):
            self.queue.leases.connect(f"w{number + 1}", "a")

    def tick(self) -> list[str]:
        self.dispatcher.tick()
        return self.executor.take()

    def lease(self, job_id: str) -> Lease:
        return self.queue.leases.find_held()[job_id].lease


def test_jobs_start_one_after_the_other(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for _ in range(2):
        desk.queue.submit(make_job())
    assert desk.tick() == ["start job-1 w1"]
    assert desk.tick() == []
    desk.queue.leases.finish(desk.lease("job-1"), 0, {})
    assert desk.tick() == ["start job-2 w1"]
    desk.queue.close()


def test_stalled_worker_is_killed_once_and_its_job_starts_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path, workers=2)
    desk.queue.submit(make_job())
    assert desk.tick() == ["start job-1 w1"]
    desk.queue.leases.report_progress(desk.lease("job-1"), 0)
    desk.clock.wait(29)
    assert desk.tick() == []
    desk.clock.wait(1)
    assert desk.tick() == ["kill job-1 w1"]
    assert desk.tick() == []
    desk.queue.leases.disconnect("w1", AttemptEnd.STALLED)
    assert desk.tick() == [], "it waits a moment"
    desk.clock.wait(5)
    assert desk.tick() == ["start job-1 w2"]
    desk.queue.close()


def test_cancelled_job_is_stopped_once_and_its_worker_gets_the_next(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for _ in range(2):
        desk.queue.submit(make_job())
    desk.tick()
    desk.queue.cancel("job-1")
    assert desk.tick() == ["cancel job-1 w1"]
    assert desk.tick() == []
    desk.queue.leases.confirm_cancel(desk.lease("job-1"))
    assert desk.tick() == ["start job-2 w1"]
    desk.queue.close()


def test_batch_job_yields_to_a_live_one_and_continues_after_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.queue.submit(make_job())
    desk.tick()
    desk.queue.leases.commit_segment(desk.lease("job-1"), make_segment(0))
    desk.queue.submit(make_job("bob", job_class=JobClass.LIVE))
    assert desk.tick() == ["yield job-1 w1"]
    assert desk.tick() == []
    desk.queue.leases.give_back(desk.lease("job-1"))
    assert desk.tick() == ["start job-2 w1"]
    desk.queue.leases.finish(desk.lease("job-2"), 0, {})
    assert desk.tick() == ["start job-1 w1"]
    assert desk.queue.get("job-1").segments == 1
    desk.queue.close()


def test_job_whose_request_is_damaged_fails_and_the_next_one_starts(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for _ in range(2):
        desk.queue.submit(make_job())
    with desk.queue._database.write() as change:
        change.change("""UPDATE job SET request = '{"x":2}' WHERE id = 'job-1'""")
    assert desk.tick() == []
    job = desk.queue.get("job-1")
    assert (job.state, job.reason) == (JobState.FAILED, "damaged")
    assert desk.tick() == ["start job-2 w1"]
    desk.queue.close()


def test_late_job_expires_instead_of_starting(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.queue.submit(make_job(expires_after_s=5))
    desk.clock.wait(6)
    assert desk.tick() == []
    assert desk.queue.get("job-1").state is JobState.EXPIRED
    desk.queue.close()


@pytest.mark.skipif(get_disk() is None, reason="SQLite is not a library of its own")
def test_full_disk_starts_nothing_and_the_next_tick_does_what_is_left(tmp_path: Path) -> None:
    desk, disk = Desk(tmp_path, workers=2), get_disk()
    assert disk is not None
    desk.queue.submit(make_job())
    desk.tick()
    disk.on_operation = lambda operation: FULL
    with pytest.raises(DiskFull):
        desk.queue.leases.disconnect("w1", AttemptEnd.DIED)
    with pytest.raises(DiskFull):
        desk.tick()
    disk.reset()
    assert desk.tick() == []
    desk.clock.wait(5)
    assert desk.tick() == ["start job-1 w2"]
    desk.queue.close()


def test_job_that_ran_out_of_memory_reserves_more_then_all_then_fails(tmp_path: Path) -> None:
    """The machine lets a job use 1,000 bytes of RAM; this one needs more than it has."""
    desk = Desk(tmp_path, workers=2)
    desk.queue.submit(make_job(demand=Demand(0, 300)))
    desk.queue.submit(make_job(demand=Demand(0, 300)))
    assert desk.tick() == ["start job-1 w1", "start job-2 w2"]

    def run_out() -> int:
        lease = desk.lease("job-1")
        reserved = desk.queue.leases.find_held()["job-1"].reserved.host_bytes
        desk.queue.leases.disconnect(lease.worker, AttemptEnd.OUT_OF_MEMORY, {})
        desk.queue.leases.connect(f"{lease.worker}x", "a")
        desk.clock.wait(10)
        return reserved

    assert run_out() == 300
    assert desk.tick() == ["start job-1 w1x"]
    assert run_out() == 600
    assert desk.tick() == [], "it waits until it can have all of the machine"
    desk.queue.leases.finish(desk.lease("job-2"), 0, {})
    assert desk.tick() == ["start job-1 w1xx"]
    assert run_out() == 1000
    job = desk.queue.get("job-1")
    assert (job.state, job.reason) == (JobState.FAILED, "out_of_memory")
    assert "with 1.0 kB of RAM reserved" in job.message
    desk.queue.close()


def test_raised_job_fits_a_machine_that_is_smaller_after_a_restart(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.queue.submit(make_job(demand=Demand(0, 300)))
    desk.tick()
    desk.queue.leases.disconnect("w1", AttemptEnd.OUT_OF_MEMORY, {})
    desk.dispatcher.machine = make_machine(host=500)  # 600 is what it wants now
    desk.queue.leases.connect("w2", "a")
    desk.clock.wait(10)
    assert desk.tick() == ["start job-1 w2"]
    assert desk.queue.leases.find_held()["job-1"].reserved.host_bytes == 500
    desk.queue.close()
