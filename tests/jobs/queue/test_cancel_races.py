"""Cancelling against everything that may end a job at the same moment."""

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from filmgate.errors import JobConflict, LeaseLost
from filmgate.jobs.queue.job_queue import JobQueue
from filmgate.jobs.queue.values import FINAL_STATES, AttemptEnd, JobState, Lease
from tests.cases import mark_slow_cases
from tests.jobs.queue.queues import list_kinds, make_segment, open_queue, start_job

RESULT = {"name": "result.mp4"}
WAYS: dict[str, Callable[[JobQueue, Lease], None]] = {
    "finish": lambda queue, lease: queue.leases.finish(lease, 1, RESULT),
    "fail": lambda queue, lease: queue.leases.fail(lease, "bad", "", may_retry=False),
    "try again": lambda queue, lease: queue.leases.fail(lease, "flaky", "", may_retry=True),
    "die": lambda queue, lease: queue.leases.disconnect(lease.worker, AttemptEnd.DIED, {}),
    "give back": lambda queue, lease: queue.leases.give_back(lease),
    "wait for space": lambda queue, lease: queue.leases.postpone(lease, "disk_full", "", 1.0),
    "confirm": lambda queue, lease: queue.leases.confirm_cancel(lease),
}


def race(queue: JobQueue, way: str, number: int) -> str:
    """Cancel a job while its worker ends it; check what is left and return its state."""
    lease = start_job(queue, f"w{number}")
    queue.leases.commit_segment(lease, make_segment(0))
    start, answers = threading.Barrier(3), dict[str, str]()

    def end() -> None:
        start.wait()
        with suppress(JobConflict):  # to confirm what is not asked for
            WAYS[way](queue, lease)
            answers["worker"] = "ok"

    def cancel(who: str) -> None:
        start.wait()
        try:
            answers[who] = str(queue.cancel(lease.job_id).state)
        except JobConflict:
            answers[who] = "conflict"

    threads = [threading.Thread(target=end)]
    threads += [threading.Thread(target=cancel, args=(who,)) for who in ("ann", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if queue.get(lease.job_id).state not in FINAL_STATES:
        assert "conflict" not in answers.values()
        if queue.leases.find_held().get(lease.job_id):
            queue.leases.confirm_cancel(lease)
    check(queue, lease, way, answers)
    with suppress(LeaseLost):
        queue.leases.disconnect(lease.worker)
    return str(queue.get(lease.job_id).state)


def check(queue: JobQueue, lease: Lease, way: str, answers: dict[str, str]) -> None:
    job = queue.get(lease.job_id)
    assert job.state in FINAL_STATES, f"{job.state}: it was cancelled, and its worker is gone"
    clients = {answers["ann"], answers["bob"]}
    if "cancelled" in clients:
        assert job.state is JobState.CANCELLED, "a client has read that it is cancelled"
    if "conflict" in clients:
        assert job.state is {"finish": JobState.DONE, "fail": JobState.FAILED}[way]
    if way == "finish" and "worker" in answers:
        assert job.state is JobState.DONE, "a result that was reported counts"
    assert bool(queue.read_result(job.id)) == (job.state is JobState.DONE)
    kinds = list_kinds(queue, job.id)
    assert kinds.count("cancel_requested") <= 1
    assert [kind for kind in kinds if kind in set(FINAL_STATES)] == [kinds[-1]] == [job.state]
    assert [e.number for e in queue.read_events(job.id)] == list(range(1, job.events + 1))
    assert all(attempt.end for attempt in queue.read_attempts(job.id))
    assert job.worker is None


@pytest.mark.parametrize("rounds", mark_slow_cases([4], [4, 150]))
def test_cancelling_races_with_every_end_of_a_job(rounds: int, tmp_path: Path) -> None:
    ends = Counter[tuple[str, str]]()
    with open_queue(tmp_path) as queue:
        for number in range(rounds):
            for way in WAYS:
                ends[way, race(queue, way, number)] += 1
    for way in WAYS:
        if way not in ("finish", "fail"):
            assert ends[way, "cancelled"] == rounds
    assert ends["finish", "done"] == rounds, "it reports a result that is complete"


def test_order_decides_between_cancelling_and_finishing(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        first = start_job(queue, "w1")
        queue.leases.finish(first, 0, RESULT)
        with pytest.raises(JobConflict, match="is done: it cannot be cancelled"):
            queue.cancel(first.job_id)
        second = start_job(queue, "w2")
        assert queue.cancel(second.job_id).is_cancel_requested
        queue.leases.finish(second, 0, RESULT)  # it was complete before its worker was asked
        assert queue.get(second.job_id).state is JobState.DONE
        third = start_job(queue, "w3")
        queue.cancel(third.job_id)
        queue.leases.confirm_cancel(third)
        with pytest.raises(LeaseLost):
            queue.leases.finish(third, 0, RESULT)
        assert queue.cancel(third.job_id).state is JobState.CANCELLED
