"""How much memory the next attempt at a job reserves after one that took or needed more."""

from pathlib import Path

import pytest

from filmgate.jobs.queue.job_queue import JobQueue
from filmgate.jobs.queue.values import AttemptEnd, Demand, JobState, Lease
from filmgate.jobs.queue.verdicts import ALL_BYTES
from tests.jobs.queue.queues import (
    ManualClock,
    list_kinds,
    make_job,
    make_segment,
    open_queue,
    start_job,
)

GB = 10**9
DIED, NO_MEMORY, STALLED = AttemptEnd.DIED, AttemptEnd.OUT_OF_MEMORY, AttemptEnd.STALLED


def start(queue: JobQueue, host: int = GB, device: int = 0) -> Lease:
    """Submit a job that is predicted to take so much, and give it to a worker."""
    return start_job(queue, demand=Demand(device, host, 60.0))


def try_again(queue: JobQueue, clock: ManualClock, lease: Lease, number: int = 2) -> Lease:
    clock.wait(1000)
    queue.leases.connect(f"w{number}", "gpu")
    return queue.leases.claim(lease.job_id, f"w{number}")


def end(queue: JobQueue, lease: Lease, how: AttemptEnd | str) -> None:
    """End an attempt by the death of its worker, or by an error with this reason."""
    if isinstance(how, AttemptEnd):
        queue.leases.disconnect(lease.worker, how, {})
    else:
        queue.leases.fail(lease, how, "a message", may_retry=True)


@pytest.mark.parametrize(
    ("predicted", "peak", "how", "wanted"),
    [
        ((0, GB), (0, 0), NO_MEMORY, (0, 2 * GB)),
        ((0, GB), (0, GB // 2), NO_MEMORY, (0, 2 * GB)),
        ((0, GB), (0, 4 * GB), NO_MEMORY, (0, 5 * GB)),
        ((0, 0), (0, 0), NO_MEMORY, (0, ALL_BYTES)),
        ((3 * GB, GB), (0, 0), NO_MEMORY, (3 * GB, 2 * GB)),
        ((3 * GB, GB), (0, 0), "out_of_memory", (6 * GB, GB)),
        ((3 * GB, GB), (4 * GB, 2 * GB), "out_of_memory", (6 * GB, 5 * GB // 2)),
        ((0, GB), (0, 0), "out_of_memory", (0, 2 * GB)),
        ((0, GB), (0, 4 * GB), DIED, (0, 5 * GB)),
        ((0, GB), (0, 4 * GB), AttemptEnd.STOPPED, (0, 5 * GB)),
        ((3 * GB, GB), (3 * GB, GB), DIED, (3 * GB, GB)),
        ((3 * GB, GB), (0, 0), STALLED, (3 * GB, GB)),
        ((3 * GB, GB), (0, 0), "flaky", (3 * GB, GB)),
    ],
)  # fmt: skip
def test_next_attempt_reserves_what_this_one_lacked(
    predicted: tuple[int, int], peak: tuple[int, int], how: AttemptEnd | str,
    wanted: tuple[int, int], tmp_path: Path,
) -> None:  # fmt: skip
    with open_queue(tmp_path) as queue:
        lease = start(queue, device=predicted[0], host=predicted[1])
        queue.leases.report_progress(lease, 0, Demand(*peak))
        queue.leases.report_progress(lease, 1, Demand(peak[0] // 2, peak[1] // 2))
        end(queue, lease, how)
        job = queue.get(lease.job_id)
        assert (job.demand.device_bytes, job.demand.host_bytes) == wanted
        assert job.demand.seconds == 60.0
        is_raised = wanted != predicted
        assert job.raised == is_raised
        assert ("reservation_raised" in list_kinds(queue, job.id)) == is_raised


def test_raised_reservation_is_in_the_events_and_survives_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    with open_queue(tmp_path, clock) as queue:
        lease = start(queue)
        end(queue, lease, NO_MEMORY)
        before = queue.get(lease.job_id)
    with open_queue(tmp_path, clock) as queue:
        assert queue.get(lease.job_id) == before
        again = try_again(queue, clock, lease)
        assert queue.leases.find_held()[lease.job_id].reserved.host_bytes == 2 * GB
        leased = [e.data for e in queue.read_events(lease.job_id) if e.kind == "leased"]
        assert [one["host_bytes"] for one in leased] == [GB, 2 * GB]
        (why,) = (e for e in queue.read_events(lease.job_id) if e.kind == "reservation_raised")
        assert why.data["message"] == (
            "it ran out of memory: the next attempt reserves 2.0 GB of RAM"
        )
    with open_queue(tmp_path, clock) as queue:  # the restart itself raises nothing
        assert queue.get(lease.job_id).demand == before.demand
        end(queue, try_again(queue, clock, again), NO_MEMORY)
        job = queue.get(lease.job_id)
        assert (job.demand.host_bytes, job.raised) == (ALL_BYTES, 2)
        assert "all that one job may have of RAM" in queue.read_events(job.id)[-2].data["message"]


@pytest.mark.parametrize(("how", "option"), [(NO_MEMORY, "--ram"), ("out_of_memory", "--vram")])
def test_job_that_had_all_memory_fails_with_what_would_help(
    how: AttemptEnd | str, option: str, tmp_path: Path
) -> None:
    clock = ManualClock()
    with open_queue(tmp_path, clock) as queue:
        lease = start(queue, device=GB)
        end(queue, lease, how)
        clock.wait(1000)
        is_error = not isinstance(how, AttemptEnd)  # after which the worker is still there
        worker = "w" if is_error else "w2"
        if not is_error:
            queue.leases.connect(worker, "gpu")
        lease = queue.leases.claim(lease.job_id, worker, Demand(3 * GB // 2, 3 * GB // 2))
        queue.leases.report_progress(lease, 0, Demand(14 * GB // 10, 14 * GB // 10))
        end(queue, lease, how)
        job = queue.get(lease.job_id)
        assert (job.state, job.reason) == (JobState.FAILED, "out_of_memory")
        assert "with 1.5 GB" in job.message
        assert "seen to take 1.4 GB" in job.message
        assert option in job.message
        assert ("(a message)" in job.message) == is_error


def test_job_that_makes_progress_keeps_what_it_needs(tmp_path: Path) -> None:
    """Each time with all memory it did another segment: that is no reason to give up."""
    clock = ManualClock()
    with open_queue(tmp_path, clock) as queue:
        lease = start(queue)
        for number in range(6):
            queue.leases.commit_segment(lease, make_segment(number))
            end(queue, lease, NO_MEMORY)
            lease = try_again(queue, clock, lease, number)
        job = queue.get(lease.job_id)
        assert (job.demand.host_bytes, job.raised) == (ALL_BYTES, 2)
        queue.leases.finish(lease, 6, {})


def test_only_a_raised_job_may_want_more_than_there_is(tmp_path: Path) -> None:
    clock, most = ManualClock(), Demand(0, 3 * GB // 2)
    with open_queue(tmp_path, clock) as queue:
        raised = start(queue)
        end(queue, raised, NO_MEMORY)
        queue.submit(make_job(demand=Demand(0, 2 * GB)))
        clock.wait(1000)
        assert [job.id for job in queue.read_waiting(4, most)] == [raised.job_id]
