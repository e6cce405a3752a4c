"""Clients of the queue: submit once however often, watch, cancel, and wait no longer than asked."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from filmgate.errors import (
    BadInput,
    BadSetting,
    FilmgateError,
    JobConflict,
    KeyReused,
    QueueFull,
    UnknownJob,
)
from filmgate.jobs.queue.values import Demand, JobClass, JobState, QueueLimits
from tests.jobs.queue.queues import (
    ManualClock,
    list_kinds,
    make_job,
    make_segment,
    name_jobs,
    open_queue,
    start_job,
)


def test_same_key_and_request_is_the_same_job_also_after_a_restart(tmp_path: Path) -> None:
    request = make_job(key="k1", expires_after_s=12.3456)
    with open_queue(tmp_path) as queue:
        first = queue.submit(request)
        again = queue.submit(make_job(key="k1", expires_after_s=12.3456, demand=Demand(5, 6, 7)))
        assert (first.is_new, again.is_new, again.job) == (True, False, first.job)
        other = queue.submit(make_job("bob", key="k1", expires_after_s=12.3456))
        assert other.is_new, "keys of another tenant are other keys"
        assert queue.submit(make_job()).job != queue.submit(make_job()).job, "no key: two jobs"
    with open_queue(tmp_path) as queue:
        assert not queue.submit(request).is_new
        assert len(queue.list_jobs()) == 4
        assert list_kinds(queue, first.job.id) == ["queued"]


def test_fifty_requests_at_once_with_one_key_are_one_job(tmp_path: Path) -> None:
    """From threads, as a server's are."""
    with open_queue(tmp_path) as queue, ThreadPoolExecutor(10) as threads:
        jobs = list(threads.map(lambda _: queue.submit(make_job(key="k")), range(50)))
        assert sum(job.is_new for job in jobs) == 1
        assert len({job.job.id for job in jobs}) == 1


@pytest.mark.parametrize(
    "change",
    [{"x": 2}, {"x": 1.0}, {"priority": 1}, {"job_class": JobClass.LIVE}, {"expires_after_s": 9}],
    ids=str,
)
def test_same_key_with_another_request_is_a_conflict(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    with open_queue(tmp_path) as queue:
        queue.submit(make_job(key="k1"))
        with pytest.raises(JobConflict, match="'k1' was used for another request: pass a new key"):
            queue.submit(make_job(key="k1", **change))
        assert len(queue.list_jobs()) == 1


NESTED: Any = {}
for _ in range(40):
    NESTED = {"a": NESTED}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tenant": "a b"}, "tenant is 'a b'"),
        ({"tenant": "a\n"}, "tenant is"),
        ({"tenant": ""}, "tenant is ''"),
        ({"key": "k" * 201}, "key is"),
        ({"key": "ключ"}, "key is"),
        ({"priority": 101}, "priority is 101, wanted an integer from -100 to 100"),
        ({"priority": True}, "priority is True"),
        ({"expires_after_s": math.nan}, "expires_after_s is nan"),
        ({"expires_after_s": -1}, "expires_after_s is -1"),
        ({"job_class": "urgent"}, "job_class is 'urgent', wanted one of live"),
        ({"demand": Demand(-1)}, "device_bytes is -1"),
        ({"demand": Demand(0, 0, math.inf)}, "seconds is inf"),
        ({"x": math.nan}, "job is not a JSON object"),
        ({"x": 1 << 63}, "job is not a JSON object"),
        ({"x": "\ud800"}, "job is not a JSON object"),
        ({"x": {1: 2}}, "job is not a JSON object"),
        ({"x": b""}, "job is not a JSON object"),
        ({"x": NESTED}, "at most 32 levels"),
        ({"x": "é" * 200_000}, "job has 1200008 bytes as JSON, at most 1048576: shorten it"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_values_out_of_bounds_are_refused_and_change_nothing(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with open_queue(tmp_path) as queue:
        with pytest.raises(BadSetting, match=message):
            queue.submit(make_job(**change))
        assert queue.list_jobs() == []
        assert queue.submit(make_job()).is_new


def test_full_queue_refuses_new_jobs_and_still_knows_its_own(tmp_path: Path) -> None:
    with open_queue(tmp_path, limits=QueueLimits(waiting=3, waiting_per_tenant=2)) as queue:
        known = make_job(key="k")
        queue.submit(known)
        queue.submit(make_job())
        with pytest.raises(QueueFull, match="2 jobs of ann wait, which is the most") as caught:
            queue.submit(make_job())
        assert caught.value.exit_code == 75
        queue.submit(make_job("bob"))
        with pytest.raises(QueueFull, match="3 jobs wait"):
            queue.submit(make_job("eve"))
        assert not queue.submit(known).is_new
        queue.cancel(queue.list_jobs()[1].id)
        assert queue.submit(make_job("eve")).is_new


def test_ids_come_from_the_source_and_are_never_given_twice(tmp_path: Path) -> None:
    ids = iter(["a", "a", "b", "a", "b", "a", "a", "", "c"])
    clock = ManualClock()
    with open_queue(tmp_path, clock, new_id=lambda: next(ids)) as queue:
        assert [queue.submit(make_job()).job.id for _ in range(2)] == ["a", "b"]
        queue.cancel("a")
        clock.wait(10)
        assert queue.files.remove_finished(5) == ["a"]
        with pytest.raises(FilmgateError, match="4 new ids of jobs exist already"):
            queue.submit(make_job())
        with pytest.raises(BadSetting, match="id is ''"):
            queue.submit(make_job())
        assert queue.submit(make_job()).job.id == "c"


def test_unknown_and_removed_jobs_are_different(tmp_path: Path) -> None:
    clock = ManualClock()
    with open_queue(tmp_path, clock) as queue:
        job = queue.submit(make_job()).job
        for read in (queue.get, queue.read_events, queue.cancel, queue.read_request):
            with pytest.raises(UnknownJob, match="there is no job 'nope'") as caught:
                read("nope")
            assert not caught.value.was_removed
        queue.cancel(job.id)
        queue.files.remove_finished(0)
        with pytest.raises(UnknownJob, match="was removed after its time") as caught:
            queue.get(job.id)
        assert caught.value.was_removed


def test_cancel_is_final_for_a_waiting_job_and_a_request_for_a_running_one(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        job = queue.submit(make_job()).job
        assert queue.cancel(job.id).state is JobState.CANCELLED
        assert queue.cancel(job.id).state is JobState.CANCELLED
        assert list_kinds(queue, job.id) == ["queued", "cancelled"]
        lease = start_job(queue)
        cancelled = queue.cancel(lease.job_id)
        assert (cancelled.state, cancelled.is_cancel_requested) == (JobState.LEASED, True)
        queue.cancel(lease.job_id)
        queue.leases.confirm_cancel(lease)
        assert queue.get(lease.job_id).state is JobState.CANCELLED
        assert list_kinds(queue, lease.job_id) == [
            "queued", "leased", "cancel_requested", "cancelled",
        ]  # fmt: skip


def test_worker_that_finishes_before_it_stops_wins_against_a_cancel(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        lease = start_job(queue)
        queue.cancel(lease.job_id)
        queue.leases.finish(lease, 0, {"path": "out.mp4"})
        assert queue.get(lease.job_id).state is JobState.DONE
        assert queue.read_result(lease.job_id) == {"path": "out.mp4"}
        with pytest.raises(JobConflict, match="is done: it cannot be cancelled any more"):
            queue.cancel(lease.job_id)


def test_job_expires_only_before_its_first_start(tmp_path: Path) -> None:
    clock = ManualClock()
    with open_queue(tmp_path, clock, new_id=name_jobs().__next__) as queue:
        late = queue.submit(make_job(expires_after_s=10)).job
        patient = queue.submit(make_job()).job
        lease = start_job(queue, expires_after_s=10)
        queue.leases.give_back(lease)
        clock.wait(9.9)
        assert queue.expire_due() == []
        clock.wait(0.2)
        assert queue.expire_due() == [late.id]
        assert queue.expire_due() == []
        states = [job.state for job in queue.list_jobs()]
        assert states == [JobState.EXPIRED, JobState.QUEUED, JobState.QUEUED]
        assert list_kinds(queue, late.id) == ["queued", "expired"]
        assert patient.id in [job.id for job in queue.read_waiting()]


def test_setting_the_wall_clock_ends_and_expires_nothing(tmp_path: Path) -> None:
    """By a month back or forward, while the server runs or while it is down for a second."""
    clock = ManualClock()
    queue = open_queue(tmp_path, clock)
    job = queue.submit(make_job(expires_after_s=100)).job
    lease = start_job(queue)
    for days in (30, -60):
        clock.wall += days * 86400
        assert queue.expire_due() == []
        assert queue.leases.find_silent(60, 60) == []
    clock.wait(1)
    queue.leases.commit_segment(lease, make_segment(0))
    assert queue.get(job.id).state is JobState.QUEUED
    queue.close()
    with open_queue(tmp_path, clock) as queue:  # the wall clock is a month behind
        assert queue.expire_due() == []
        times = [event.time_ms for event in queue.read_events(lease.job_id)]
        assert times == sorted(times)
        clock.wait(101)
        assert queue.expire_due() == [job.id], "time still passes"


def test_events_are_numbered_without_gaps_and_read_from_any_number_on(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        lease = start_job(queue)
        other = queue.submit(make_job("bob")).job
        for number in range(7):
            queue.leases.commit_segment(lease, make_segment(number))
            queue.leases.record_event(lease, "progress", frames=24 * number)
        numbers = [event.number for event in queue.read_events(lease.job_id)]
        assert numbers == list(range(1, 17))
        for after in range(17):
            page = queue.read_events(lease.job_id, after, limit=5)
            assert [event.number for event in page] == numbers[after : after + 5]
        assert queue.read_events(lease.job_id, 16) == []
        assert [event.number for event in queue.read_events(other.id)] == [1]
        with pytest.raises(BadSetting, match="limit is 0, wanted an integer from 1 to 1000"):
            queue.read_events(lease.job_id, limit=0)
        with pytest.raises(BadSetting, match="after is"):
            queue.read_events(lease.job_id, -9)
        assert queue.read_events(lease.job_id)[3].data == {"frames": 0}


def test_event_that_cannot_be_stored_takes_no_number(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        lease = start_job(queue)
        for kind, data in (
            ("Bad kind", {}),
            ("big", {"text": "x" * 70_000}),
            ("nan", {"v": math.nan}),
        ):
            with pytest.raises(BadSetting):
                queue.leases.record_event(lease, kind, **data)
        queue.leases.record_event(lease, "good")
        assert list_kinds(queue, lease.job_id) == ["queued", "leased", "good"]


def test_pages_of_jobs_by_tenant_and_state(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        for number in range(9):
            queue.submit(make_job("ann" if number % 3 else "bob", x=number))
        queue.cancel(queue.list_jobs()[4].id)
        assert [job.number for job in queue.list_jobs(after=2, limit=3)] == [3, 4, 5]
        assert [job.number for job in queue.list_jobs(tenant="bob")] == [1, 4, 7]
        assert [job.number for job in queue.list_jobs(state=JobState.CANCELLED)] == [5]
        assert len(queue.list_jobs(tenant="ann", state=JobState.QUEUED)) == 5


def test_changed_request_in_the_database_is_found(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        job = queue.submit(make_job(x="an output")).job
        assert queue.read_request(job.id) == {"x": "an output"}
        with queue._database.write() as change:
            text = json.dumps({"x": "an-output"}, separators=(",", ":"))
            change.change("UPDATE job SET request = ?", text)
        with pytest.raises(BadInput, match="was changed in the database: cancel it"):
            queue.read_request(job.id)


@pytest.mark.parametrize(
    ("column", "value"),
    [("id", "a/b"), ("seconds", 1e99), ("reason", "No Word"), ("not_before_ms", -5),
     ("priority", 1000), ("device_bytes", -1), ("segments", -3)],
)  # fmt: skip
def test_rows_that_no_queue_wrote_are_refused(tmp_path: Path, column: str, value: object) -> None:
    with open_queue(tmp_path) as queue:
        queue.submit(make_job())
        with queue._database.write() as change:
            change.change(f"UPDATE job SET {column} = ?", value)
        with pytest.raises(BadInput, match=r"the queue's database is damaged: .*restore a copy"):
            queue.list_jobs()


def test_waiting_jobs_that_were_read_before_are_read_again_when_they_change(tmp_path: Path) -> None:
    clock = ManualClock()
    with open_queue(tmp_path, clock) as queue:
        first, second = (queue.submit(make_job()).job.id for _ in range(2))
        before = queue.read_waiting()
        assert queue.read_waiting() == before
        assert queue.read_waiting()[0] is before[0], "it is not checked again"
        queue.leases.connect("w", "gpu")
        lease = queue.leases.claim(first, "w")
        assert [job.id for job in queue.read_waiting()] == [second]
        queue.leases.fail(lease, "flaky", "text", may_retry=True)
        clock.wait(10)
        again = queue.read_waiting()
        assert [job.id for job in again] == [first, second]
        assert (again[0].epoch, again[0].failures) == (1, 1)
        assert again == [queue.get(first), queue.get(second)]


def test_watcher_learns_of_events_after_they_are_stored(tmp_path: Path) -> None:
    seen: list[tuple[str, tuple[str, str] | None]] = []
    with open_queue(tmp_path) as queue:

        def note(job_id: str, final: tuple[str, str] | None) -> None:
            assert queue.read_events(job_id), "it can be read"
            seen.append((job_id, final))

        queue.watch_events(note)
        job = queue.submit(make_job(key="k")).job
        queue.submit(make_job(key="k"))
        queue.cancel(job.id)
        queue.cancel(job.id)
        assert seen == [(job.id, None), (job.id, ("cancelled", ""))]
        assert queue.count_active() == dict.fromkeys(queue.count_active(), 0)


def test_context_is_stored_and_does_not_make_another_request(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        job = queue.submit(make_job(key="k", context={"who": "a"})).job
        assert queue.find_earlier(make_job(key="k", context={"who": "b"})) == job
        assert queue.read_context(job.id) == {"who": "a"}
        assert queue.find_earlier(make_job(key="other")) is None
        with pytest.raises(KeyReused):
            queue.find_earlier(make_job(key="k", priority=3))
        with pytest.raises(BadSetting, match="context"):
            queue.submit(make_job(context={"size": float("nan")}))


def test_latest_jobs_come_first_in_pages(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        ids = [queue.submit(make_job(tenant)).job.id for tenant in ("ann", "bob", "ann", "ann")]
        page = queue.list_latest("ann", limit=2)
        assert [job.id for job in page] == [ids[3], ids[2]]
        assert [job.id for job in queue.list_latest("ann", page[-1].number)] == [ids[0]]
        assert len(queue.list_latest()) == 4
