"""Workers of the queue: leases with epochs, segments in order, and every way a worker can end."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from filmgate.errors import BadSetting, JobConflict, LeaseLost
from filmgate.jobs.queue.job_queue import JobQueue
from filmgate.jobs.queue.values import AttemptEnd, JobClass, JobState, Lease
from tests.jobs.queue.queues import (
    ManualClock,
    list_kinds,
    make_job,
    make_segment,
    open_queue,
    start_job,
)


def try_everything(queue: JobQueue, lease: Lease) -> list[str]:
    """Return what a worker with this lease gets through with."""
    leases = queue.leases
    calls: dict[str, Callable[[], object]] = {
        "segment": lambda: leases.commit_segment(lease, make_segment(1, digit="f")),
        "finish": lambda: leases.finish(lease, 1, {}),
        "fail": lambda: leases.fail(lease, "reason", "text", may_retry=False),
        "progress": lambda: leases.report_progress(lease, 99),
        "event": lambda: leases.record_event(lease, "note"),
        "give back": lambda: leases.give_back(lease),
        "cancel": lambda: leases.confirm_cancel(lease),
    }
    done = []
    for name, call in calls.items():
        try:
            call()
        except LeaseLost:
            continue
        done.append(name)
    return done


def test_worker_whose_lease_moved_on_can_change_nothing(tmp_path: Path) -> None:
    """It was cut off, and works on after another worker got the job."""
    clock = ManualClock()
    with open_queue(tmp_path, clock) as queue:
        old = start_job(queue, "old")
        queue.leases.commit_segment(old, make_segment(0))
        queue.leases.disconnect("old")
        assert try_everything(queue, old) == []
        clock.wait(10)
        queue.leases.connect("new", "gpu")
        new = queue.leases.claim(old.job_id, "new")
        assert new.epoch == old.epoch + 1
        before = queue.get(old.job_id), queue.read_events(old.job_id)
        assert try_everything(queue, old) == []
        assert try_everything(queue, Lease(old.job_id, new.epoch, "old")) == []
        assert try_everything(queue, Lease(old.job_id, old.epoch, "new")) == []
        assert (queue.get(old.job_id), queue.read_events(old.job_id)) == before
        queue.leases.commit_segment(new, make_segment(1))
        queue.leases.finish(new, 2, {})
        before = queue.get(old.job_id), queue.read_events(old.job_id)
        assert try_everything(queue, old) == [], "nor after the end of the job"
        assert try_everything(queue, new) == ["finish"], "its answer may have been lost"
        assert (queue.get(old.job_id), queue.read_events(old.job_id)) == before


def test_restart_of_the_server_ends_all_leases_and_loses_no_segment(tmp_path: Path) -> None:
    queue = open_queue(tmp_path)
    lease = start_job(queue)
    queue.leases.commit_segment(lease, make_segment(0))
    cancelled = start_job(queue, "w2")
    queue.cancel(cancelled.job_id)
    queue.close()
    with open_queue(tmp_path) as queue:
        assert try_everything(queue, lease) == []
        job = queue.get(lease.job_id)
        assert (job.state, job.segments, job.worker) == (JobState.QUEUED, 1, None)
        assert queue.get(cancelled.job_id).state is JobState.CANCELLED
        assert list_kinds(queue, job.id) == ["queued", "leased", "segment", "requeued"]
        assert [attempt.end for attempt in queue.read_attempts(job.id)] == [AttemptEnd.STOPPED]
        queue.leases.connect("w", "gpu")
        queue.leases.claim(job.id, "w")  # at once: the server is the cause, not the job


def test_job_is_given_to_one_worker_and_a_worker_has_one_job(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        lease = start_job(queue)
        other = queue.submit(make_job()).job
        queue.leases.connect("w2", "gpu")
        with pytest.raises(JobConflict, match="is leased, wanted one that may start"):
            queue.leases.claim(lease.job_id, "w2")
        with pytest.raises(JobConflict, match=f"worker w has job {lease.job_id}"):
            queue.leases.claim(other.id, "w")
        with pytest.raises(LeaseLost, match="worker w3 is not connected"):
            queue.leases.claim(other.id, "w3")
        with pytest.raises(BadSetting, match="worker w is connected already"):
            queue.leases.connect("w", "gpu")
        assert queue.leases.find_idle() == {"w2": "gpu"}


def test_segments_come_in_order_and_each_once(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        lease = start_job(queue)
        commit = queue.leases.commit_segment
        commit(lease, make_segment(0))
        commit(lease, make_segment(0))  # its answer was lost
        with pytest.raises(
            JobConflict, match=r"segment 0 of job .* is not the next one, which is 1"
        ):
            commit(lease, make_segment(0, digit="1"))
        with pytest.raises(
            JobConflict, match=r"segment 2 of job .* is not the next one, which is 1"
        ):
            commit(lease, make_segment(2))
        commit(lease, make_segment(1))
        with pytest.raises(JobConflict, match="has 3 segments, and 2 are stored"):
            queue.leases.finish(lease, 3, {})
        queue.leases.finish(lease, 2, {})
        assert [segment.number for segment in queue.read_segments(lease.job_id)] == [0, 1]
        assert queue.read_segments(lease.job_id, after=0)[0].name == "1.nut"
        assert queue.read_accounts() == [], "no job is active"


@pytest.mark.parametrize(
    "change",
    [{"sha256": "G" * 64}, {"name": "../a"}, {"name": ".a"}, {"frames": -1}, {"device_s": 1e300}],
    ids=str,
)
def test_segment_out_of_bounds_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with open_queue(tmp_path) as queue:
        lease = start_job(queue)
        with pytest.raises(BadSetting):
            queue.leases.commit_segment(lease, replace(make_segment(0), **change))
        assert queue.get(lease.job_id).segments == 0


def test_only_progress_is_a_sign_of_life(tmp_path: Path) -> None:
    """A hung worker whose thread repeats the same step is found as silent."""
    clock = ManualClock()
    with open_queue(tmp_path, clock) as queue:
        lease, leases = start_job(queue), queue.leases
        clock.wait(5)
        assert leases.find_silent(60, 1) == [], "it loads its model"
        assert leases.report_progress(lease, 5)
        assert queue.get(lease.job_id).state is JobState.RUNNING
        clock.wait(9)
        assert not leases.report_progress(lease, 5)
        assert not leases.report_progress(lease, 4)
        clock.wait(1)
        assert leases.find_silent(60, 10) == [lease]
        assert leases.report_progress(lease, 6)
        assert leases.find_silent(60, 10) == []
        clock.wait(9)
        leases.commit_segment(lease, make_segment(0))
        clock.wait(9)
        assert leases.find_silent(60, 10) == []
        assert list_kinds(queue, lease.job_id) == ["queued", "leased", "running", "segment"]


def test_steps_that_take_long_are_not_taken_for_a_hang(tmp_path: Path) -> None:
    clock = ManualClock()
    with open_queue(tmp_path, clock) as queue:
        lease, leases = start_job(queue), queue.leases
        clock.wait(40)
        assert leases.report_progress(lease, 0)
        clock.wait(79)
        assert leases.find_silent(100, 10) == [], "twice as long as the first step may take"
        assert leases.report_progress(lease, 1)
        clock.wait(789)
        assert leases.find_silent(100, 10) == [], "ten times the longest step so far"
        clock.wait(2)
        assert leases.find_silent(100, 10) == [lease]
        leases.expect_long_step(lease)
        clock.wait(999)
        assert leases.find_silent(1000, 10) == [], "all segments are joined"
        clock.wait(1)
        assert leases.find_silent(1000, 10) == [lease]


def test_segments_that_are_damaged_are_made_again(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        lease, leases = start_job(queue), queue.leases
        for number in range(3):
            leases.commit_segment(lease, make_segment(number))
        with pytest.raises(JobConflict, match="has 3 segments, not 4"):
            leases.rewind(lease, 4)
        leases.rewind(lease, 1)
        assert [one.number for one in queue.read_segments(lease.job_id)] == [0]
        leases.commit_segment(lease, make_segment(1, digit="1"))
        leases.finish(lease, 2, {})
        assert list_kinds(queue, lease.job_id)[-3:] == ["rewound", "segment", "done"]


def test_job_waits_for_the_disk_as_often_as_it_takes(tmp_path: Path) -> None:
    clock = ManualClock()
    with open_queue(tmp_path, clock) as queue:
        lease = start_job(queue)
        for _ in range(20):
            queue.leases.postpone(lease, "disk_full", "no space", 30.0)
            assert queue.read_waiting() == []
            clock.wait(30)
            lease = queue.leases.claim(lease.job_id, lease.worker)
        queue.cancel(lease.job_id)
        queue.leases.postpone(lease, "disk_full", "no space", 30.0)
        assert queue.get(lease.job_id).state is JobState.CANCELLED
        assert queue.read_events(lease.job_id)[2].data["reason"] == "disk_full"


def let_crash(
    queue: JobQueue, clock: ManualClock, job_id: str, end: AttemptEnd, number: int
) -> None:
    clock.wait(1000)
    queue.leases.connect(f"w{number}", "gpu")
    queue.leases.claim(job_id, f"w{number}")
    queue.leases.disconnect(f"w{number}", end, {"signal": "SIGSEGV", "attempt": number})


def test_job_that_kills_three_workers_is_poison_and_others_run(tmp_path: Path) -> None:
    clock = ManualClock()
    with open_queue(tmp_path, clock) as queue:
        job, other = queue.submit(make_job()).job, queue.submit(make_job()).job
        ends = (AttemptEnd.DIED, AttemptEnd.LOST, AttemptEnd.STALLED, AttemptEnd.DIED)
        for number, end in enumerate(ends):
            assert queue.get(job.id).state is JobState.QUEUED
            let_crash(queue, clock, job.id, end, number)
        failed = queue.get(job.id)
        assert (failed.state, failed.reason, failed.crashes) == (JobState.FAILED, "poison", 3)
        assert failed.message.endswith("another segment, the last one on attempt 4: died")
        attempts = queue.read_attempts(job.id)
        assert [attempt.end for attempt in attempts] == list(ends)
        assert attempts[3].crash == {"signal": "SIGSEGV", "attempt": 3}
        assert [job.id for job in queue.read_waiting()] == [other.id]


def test_job_that_takes_all_memory_twice_without_a_segment_between_fails(tmp_path: Path) -> None:
    clock, memory = ManualClock(), AttemptEnd.OUT_OF_MEMORY
    with open_queue(tmp_path, clock) as queue:
        job = queue.submit(make_job()).job
        let_crash(queue, clock, job.id, memory, 0)
        assert queue.get(job.id).state is JobState.QUEUED, "it is tried with smaller settings"
        clock.wait(1000)
        queue.leases.connect("good", "gpu")
        lease = queue.leases.claim(job.id, "good")
        queue.leases.commit_segment(lease, make_segment(0))
        queue.leases.disconnect("good", memory)
        assert queue.get(job.id).state is JobState.QUEUED, "something else took the memory"
        let_crash(queue, clock, job.id, memory, 1)
        failed = queue.get(job.id)
        assert (failed.state, failed.reason, failed.segments) == (JobState.FAILED, str(memory), 1)


def test_job_whose_workers_are_lost_again_and_again_fails(tmp_path: Path) -> None:
    clock = ManualClock()
    with open_queue(tmp_path, clock) as queue:
        job = queue.submit(make_job()).job
        for number in range(10):
            assert queue.get(job.id).state is JobState.QUEUED
            let_crash(queue, clock, job.id, AttemptEnd.LOST, number)
        failed = queue.get(job.id)
        assert (failed.state, failed.reason) == (JobState.FAILED, "worker_lost")
        assert failed.message.startswith("the connections of 10 workers ended")


def test_job_that_makes_progress_between_crashes_is_not_poison(tmp_path: Path) -> None:
    clock = ManualClock()
    with open_queue(tmp_path, clock) as queue:
        job = queue.submit(make_job()).job
        for number in range(8):
            let_crash(queue, clock, job.id, AttemptEnd.DIED, 2 * number)
            clock.wait(1000)
            queue.leases.connect("good", "gpu")
            lease = queue.leases.claim(job.id, "good")
            queue.leases.commit_segment(lease, make_segment(number))
            queue.leases.disconnect("good", AttemptEnd.DIED)
        assert (queue.get(job.id).state, queue.get(job.id).segments) == (JobState.QUEUED, 8)


def test_errors_worth_another_try_are_tried_with_growing_pauses(tmp_path: Path) -> None:
    clock = ManualClock()
    with open_queue(tmp_path, clock) as queue:
        lease = start_job(queue)
        waits = []
        for _ in range(2):
            queue.leases.fail(lease, "gpu_memory", "out of memory", may_retry=True)
            job = queue.get(lease.job_id)
            waits.append(job.not_before_ms - queue.now_ms())
            assert queue.read_waiting() == []
            with pytest.raises(JobConflict):
                queue.leases.claim(job.id, "w")
            clock.wait(waits[-1] / 1000)
            assert [job.id for job in queue.read_waiting()] == [lease.job_id]
            lease = queue.leases.claim(job.id, "w")
        assert waits == [1000, 2000]
        queue.leases.fail(lease, "gpu_memory", "out of memory", may_retry=True)
        job = queue.get(lease.job_id)
        assert (job.state, job.reason, job.message) == (
            JobState.FAILED, "gpu_memory", "out of memory",
        )  # fmt: skip


def test_error_that_repeats_fails_at_once(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        lease = start_job(queue)
        with pytest.raises(BadSetting, match="reason is 'Bad Input'"):
            queue.leases.fail(lease, "Bad Input", "", may_retry=False)
        queue.leases.fail(lease, "bad_input", "no video" * 9999, may_retry=False)
        job = queue.get(lease.job_id)
        assert (job.state, job.reason, len(job.message)) == (JobState.FAILED, "bad_input", 4000)
        assert queue.leases.find_idle() == {"w": "gpu"}


def test_yielding_is_no_failure_and_keeps_the_place_of_the_job(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        lease = start_job(queue)
        later = queue.submit(make_job()).job
        for _ in range(5):
            queue.leases.give_back(lease)
            assert [job.id for job in queue.read_waiting()] == [lease.job_id, later.id]
            lease = queue.leases.claim(lease.job_id, "w")
        job = queue.get(lease.job_id)
        assert (job.crashes, job.failures, job.epoch) == (0, 0, 6)


def test_cancelled_job_of_a_worker_that_dies_is_cancelled(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        lease = start_job(queue)
        with pytest.raises(JobConflict, match="was not cancelled: give it back"):
            queue.leases.confirm_cancel(lease)
        queue.cancel(lease.job_id)
        queue.leases.disconnect("w", AttemptEnd.DIED)
        assert queue.get(lease.job_id).state is JobState.CANCELLED


@pytest.mark.parametrize(
    ("crash", "seconds"), [({"stack": "x" * 100_000}, 1.0), ({"v": {1, 2}}, 1.0), ({}, -3.0)]
)
def test_crash_report_that_cannot_be_stored_does_not_keep_the_job(
    tmp_path: Path, crash: dict[str, Any], seconds: float
) -> None:
    with open_queue(tmp_path) as queue:
        lease = start_job(queue)
        queue.leases.disconnect("w", AttemptEnd.DIED, crash, seconds)
        assert queue.get(lease.job_id).state is JobState.QUEUED
        (attempt,) = queue.read_attempts(lease.job_id)
        assert bool(crash) == ("unreadable" in attempt.crash)


def test_connection_cannot_end_as_done(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        lease = start_job(queue)
        with pytest.raises(BadSetting, match="cannot end as done"):
            queue.leases.disconnect("w", AttemptEnd.DONE)
        queue.leases.commit_segment(lease, make_segment(0))


def test_measured_seconds_count_for_the_account_by_weight(tmp_path: Path) -> None:
    clock = ManualClock()
    with open_queue(tmp_path, clock) as queue:
        queue.set_weight("bob", 2)
        for tenant in ("ann", "bob"):
            lease = start_job(queue, tenant, tenant=tenant)
            queue.leases.commit_segment(lease, make_segment(0, device_s=10))
            queue.leases.fail(lease, "flaky", "", may_retry=True, device_s=4)
        usage = {account.tenant: account.virtual_s for account in queue.read_accounts()}
        assert usage == {"ann": 14, "bob": 14 + 7}, "bob begins where ann is"
        assert queue.read_class_usage()[JobClass.BATCH] == pytest.approx(28)
        clock.wait(600)
        assert queue.read_class_usage()[JobClass.BATCH] == pytest.approx(14)


def test_tenant_that_returns_starts_where_the_others_are(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        lease = start_job(queue)
        queue.leases.commit_segment(lease, make_segment(0, device_s=5000))
        queue.submit(make_job("new"))
        queue.submit(make_job("new", job_class=JobClass.LIVE))
        usage = {(a.tenant, a.job_class): a.virtual_s for a in queue.read_accounts()}
        assert usage == {
            ("ann", JobClass.BATCH): 5000, ("new", JobClass.BATCH): 5000, ("new", JobClass.LIVE): 0,
        }  # fmt: skip
        queue.leases.finish(lease, 1, {})
        for job in queue.list_jobs(tenant="new"):
            queue.cancel(job.id)
        queue.submit(make_job("first after a pause"[:5]))
        (account,) = queue.read_accounts()
        assert (account.tenant, account.virtual_s) == ("first", 5000)


def test_priority_is_worth_a_minute_of_waiting_for_each_step(tmp_path: Path) -> None:
    clock = ManualClock()
    with open_queue(tmp_path, clock) as queue:
        old = queue.submit(make_job()).job
        clock.wait(100)
        urgent = queue.submit(make_job(priority=2)).job
        low = queue.submit(make_job(priority=1)).job
        assert [job.id for job in queue.read_waiting()] == [urgent.id, old.id, low.id]
        assert [job.id for job in queue.read_waiting(per_account=1)] == [urgent.id]
