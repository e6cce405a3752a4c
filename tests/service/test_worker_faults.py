"""Workers that die, hang, fail and leak: what clients see, and that nothing is lost."""

from __future__ import annotations

import itertools
import os
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from filmgate.jobs.queue.values import AttemptEnd, JobState
from filmgate.service.schema import JobDefinition
from filmgate.units import format_bytes
from tests.processes import CRASH_CAUSE, KILL, KILL_CAUSE
from tests.service.fakes import make_service
from tests.service.real import (
    IS_POSIX,
    check_nothing_left,
    find_undisturbed,
    finish,
    hash_result,
    list_events,
    make_clip,
    make_gate,
    make_job,
    open_service,
    pause,
    set_faults,
    wait_for_worker,
    wait_until,
)

POINTS = (
    "decode.chunk@9", "compute.step@9", "encode.before_write@9", "encode.before_commit@2",
    "commit.snapshot@2", "commit.listed@2", "encode.after_commit@2", "join.complete", "join.named",
    "end.reported", "end.removed",
)  # fmt: skip


@pytest.mark.fault(1)
@pytest.mark.parametrize(
    "point", [pytest.param(p, marks=[] if p == "commit.listed@2" else pytest.mark.slow)
              for p in POINTS],
)  # fmt: skip
def test_killed_worker_costs_at_most_a_segment(
    point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, at = point.partition("@")
    set_faults(monkeypatch, f"{name}=kill@{at or 1}")
    with open_service(tmp_path / "service") as service:
        service._queue.leases._uniform = lambda low, high: low  # it is tried again at once
        job = service.submit("ann", make_job(make_clip(tmp_path)), correlation_id="c-7").job
        view = finish(service, job.id)
        assert view.state is JobState.DONE, (view.reason, view.message)
        died = list_events(service, job.id, "worker_died")
        assert [one["cause"] for one in died] == [KILL_CAUSE]
        assert view.attempts[0].end is AttemptEnd.DIED
        crash = view.attempts[0].crash
        assert f"kill on purpose, at {name}" in crash["lines"]
        assert crash["correlation_id"] == "c-7"
        numbers = [one["number"] for one in list_events(service, job.id, "segment")]
        assert numbers == sorted(set(numbers)), "no segment is listed twice"
        undisturbed = service.submit("ann", make_job(make_clip(tmp_path))).job
        assert finish(service, undisturbed.id).state is JobState.DONE
        assert hash_result(service, job.id) == hash_result(service, undisturbed.id)
    check_nothing_left(tmp_path / "service")


@pytest.mark.slow
@pytest.mark.fault(2)
@pytest.mark.parametrize(
    ("kind", "cause"), [("crash", CRASH_CAUSE), ("exit", "exit code 9")],
)  # fmt: skip
def test_crash_report_says_how_a_worker_died(
    kind: str, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_faults(monkeypatch, f"compute.step={kind}@9")
    with open_service(tmp_path / "service") as service:
        job = service.submit("ann", make_job(make_clip(tmp_path))).job
        view = finish(service, job.id)
        assert view.state is JobState.DONE
        crash = view.attempts[0].crash
        assert crash["cause"] == cause
        if kind == "crash":
            assert "compute" in crash["stack"], "faulthandler names the thread's functions"


@pytest.mark.slow
@pytest.mark.fault(3)
def test_job_that_kills_three_workers_is_poison_and_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_faults(monkeypatch, *["encode.before_commit=kill@2"] + ["compute.step=crash@2"] * 3)
    with open_service(tmp_path / "service") as service:
        job = service.submit("ann", make_job(make_clip(tmp_path))).job
        view = finish(service, job.id)
        assert (view.state, view.reason) == (JobState.FAILED, "poison")
        causes = [one.crash["cause"] for one in view.attempts]
        assert causes == [KILL_CAUSE, CRASH_CAUSE, CRASH_CAUSE]
        assert service.open_result(job.id, partial=True).size_bytes > 0
        other = service.submit("bob", make_job(make_clip(tmp_path))).job
        assert finish(service, other.id).state is JobState.DONE


def let_kernel_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every SIGKILL look like the kernel's for lack of memory."""
    kills = itertools.count()
    monkeypatch.setattr("filmgate.backends.child_text.count_oom_kills", lambda: next(kills))


@pytest.mark.slow
@pytest.mark.fault(11)
@pytest.mark.skipif(not IS_POSIX, reason="Windows has no SIGKILL")
def test_job_that_took_all_memory_is_tried_with_less_and_gives_the_same(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = find_undisturbed(tmp_path_factory)
    let_kernel_kill(monkeypatch)
    set_faults(monkeypatch, "encode.before_commit=kill@2")
    with open_service(tmp_path / "service") as service:
        job = service.submit("ann", make_job(make_clip(tmp_path))).job
        view = finish(service, job.id)
        assert [one.end for one in view.attempts] == [AttemptEnd.OUT_OF_MEMORY, AttemptEnd.DONE]
        [died] = list_events(service, job.id, "worker_died")
        assert (died["end"], died["cause"]) == ("out_of_memory", "SIGKILL")
        assert died["hint"].startswith("the kernel killed it")
        [reduced] = list_events(service, job.id, "degraded")
        assert reduced["message"].endswith("the job continues with one frame at a time")
        assert list_events(service, job.id, "resumed") == [{"segments": 1}], "it continues"
        first, second = (one["host_bytes"] for one in list_events(service, job.id, "leased"))
        assert second >= 2 * first, "with more memory for itself"
        assert hash_result(service, job.id) == wanted


@pytest.mark.slow
@pytest.mark.fault(11)
@pytest.mark.skipif(not IS_POSIX, reason="Windows has no SIGKILL")
def test_job_that_takes_all_memory_again_fails_and_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_kernel_kill(monkeypatch)
    set_faults(monkeypatch, *["compute.step=kill@2"] * 3)
    with open_service(tmp_path / "service") as service:
        most = service._workers.describe_machine().most_host_bytes
        job = service.submit("ann", make_job(make_clip(tmp_path))).job
        view = finish(service, job.id)
        assert (view.state, view.reason) == (JobState.FAILED, "out_of_memory")
        assert [one.end for one in view.attempts] == [AttemptEnd.OUT_OF_MEMORY] * 3
        reserved = [one["host_bytes"] for one in list_events(service, job.id, "leased")]
        assert reserved[0] == 50_000_000
        assert 100_000_000 <= reserved[1] < most
        assert reserved[2] == most
        assert f"with {format_bytes(most)} of RAM reserved" in view.message
        other = service.submit("ann", make_job(make_clip(tmp_path))).job
        assert finish(service, other.id).state is JobState.DONE


@pytest.mark.slow
@pytest.mark.fault(15)
@pytest.mark.parametrize("how", ["hang", "stop"])
def test_hung_step_is_killed_with_its_stack(
    how: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    wanted = find_undisturbed(tmp_path_factory)
    with ExitStack() as stack:
        if how == "hang":
            set_faults(monkeypatch, "compute.step=hang@9")
        else:
            gate = stack.enter_context(make_gate(tmp_path / "gate"))
        service = stack.enter_context(
            open_service(tmp_path / "service", step_s=3.0, loading_s=20.0)
        )
        job = service.submit("ann", make_job(make_clip(tmp_path))).job
        if how == "stop":
            gate.wait()
            pid = service.report_readiness().workers[0].pid
            assert pid is not None
            with suppress(psutil.NoSuchProcess):  # held for so long that it was killed
                psutil.Process(pid).suspend()
        view = finish(service, job.id)
        assert view.state is JobState.DONE
        assert hash_result(service, job.id) == wanted
        first = view.attempts[0]
        assert first.end is AttemptEnd.STALLED
        assert "no progress" in first.crash["cause"]
        if how == "hang":
            assert "inject_fault" in first.crash["stack"]
    check_nothing_left(tmp_path / "service")


@pytest.mark.slow
@pytest.mark.fault(13)
def test_error_of_a_library_ends_the_worker_and_the_job_is_tried_again(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = find_undisturbed(tmp_path_factory)
    set_faults(monkeypatch, "compute.step=raise@9", "compute.step=memory@2")
    with open_service(tmp_path / "service") as service:
        job = service.submit("ann", make_job(make_clip(tmp_path))).job
        view = finish(service, job.id)
        assert view.state is JobState.DONE
        assert [one.end for one in view.attempts] == [
            AttemptEnd.FAILED, AttemptEnd.FAILED, AttemptEnd.DONE,
        ]  # fmt: skip
        assert len({one.worker for one in view.attempts}) == 3, "each in a new process"
        assert hash_result(service, job.id) == wanted


@pytest.mark.slow
@pytest.mark.fault(13)
def test_error_that_stays_fails_the_job_with_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_faults(monkeypatch, *["compute.step=raise"] * 3)
    with open_service(tmp_path / "service") as service:
        job = service.submit("ann", make_job(make_clip(tmp_path))).job
        view = finish(service, job.id)
        assert (view.state, view.reason) == (JobState.FAILED, "internal")
        assert view.message == "Fault: on purpose, at compute.step"


def test_bad_input_fails_at_once_with_what_is_wrong(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("no video")
    with open_service(tmp_path / "service") as service:
        jobs = [service.submit("ann", make_job(text)).job,
                service.submit("ann", make_job(tmp_path / "gone.mp4")).job]  # fmt: skip
        for job in jobs:
            view = finish(service, job.id)
            assert (view.state, view.reason) == (JobState.FAILED, "bad_input")
            assert len(view.attempts) == 1
        assert "gone.mp4" in view.message
    check_nothing_left(tmp_path / "service")


@pytest.mark.slow
@pytest.mark.fault(26)
def test_running_job_is_cancelled_when_its_worker_has_stopped(tmp_path: Path) -> None:
    with make_gate(tmp_path / "gate") as gate, open_service(tmp_path / "service") as service:
        job = service.submit("ann", make_job(make_clip(tmp_path))).job
        gate.wait()
        assert service.cancel(job.id).is_cancel_requested
        service.cancel(job.id)
        view = finish(service, job.id)
        assert view.state is JobState.CANCELLED
        worker = service.report_readiness().workers[0]
        assert worker.name == view.attempts[0].worker, "it is the same process"
        other = service.submit("ann", make_job(make_clip(tmp_path))).job
        assert finish(service, other.id).state is JobState.DONE
    check_nothing_left(tmp_path / "service")


@pytest.mark.slow
@pytest.mark.fault(26)
def test_worker_that_does_not_stop_for_a_cancelled_job_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_faults(monkeypatch, "compute.step=hang@9")
    with open_service(tmp_path / "service", cancel_s=0.5) as service:
        job = service.submit("ann", make_job(make_clip(tmp_path))).job
        wait_until(service, job.id, lambda view: view.segments > 0)
        service.cancel(job.id)
        view = finish(service, job.id)
        assert view.state is JobState.CANCELLED
        assert "was cancelled, and it did not stop in 0.5 s" in view.attempts[0].crash["cause"]


@pytest.mark.slow
@pytest.mark.fault(36)
def test_worker_that_does_not_start_is_tried_again_and_readiness_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("filmgate.service.supervisor.worker_handle.work", _exit)
    monkeypatch.setattr("random.uniform", lambda low, high: high / 10)  # short pauses
    with open_service(tmp_path / "service") as service:
        job = service.submit("ann", make_job(make_clip(tmp_path))).job
        for _ in range(600):
            ready = service.report_readiness()
            if ready.workers[0].state == "failed":
                break
            pause(0.05)
        assert not ready.is_ready
        assert "exit code 7" in ready.reasons[0]
        monkeypatch.undo()
        assert finish(service, job.id).state is JobState.DONE, "jobs wait meanwhile"


def _exit(*arguments: Any) -> None:
    os._exit(7)


@pytest.mark.slow
@pytest.mark.fault(28)
def test_worker_that_lost_its_lease_adds_nothing(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A worker that is stopped, declared dead, and wakes up again is fenced."""
    wanted = find_undisturbed(tmp_path_factory)
    with (
        make_gate(tmp_path / "gate") as gate,
        open_service(tmp_path / "service", workers=2) as service,
    ):
        job = service.submit("ann", make_job(make_clip(tmp_path))).job
        gate.wait()
        wait_until(service, job.id, lambda view: view.segments > 0)
        busy = next(w for w in service.report_readiness().workers if w.job_id == job.id)
        assert busy.pid is not None
        psutil.Process(busy.pid).suspend()
        with service._lock:
            service._queue.leases.disconnect(busy.name)  # as if its connection were lost
        gate.open()
        psutil.Process(busy.pid).resume()
        view = finish(service, job.id)
        assert view.state is JobState.DONE
        assert view.attempts[0].end is AttemptEnd.LOST
        assert hash_result(service, job.id) == wanted
    assert '"fenced"' in (tmp_path / "service" / "logs" / "service.jsonl").read_text()


@pytest.mark.slow
def test_batch_job_yields_to_an_interactive_one_and_continues(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from filmgate.jobs.queue.values import JobClass

    wanted = find_undisturbed(tmp_path_factory)
    with make_gate(tmp_path / "gate") as gate, open_service(tmp_path / "service") as service:
        service._dispatcher._policy = service._dispatcher._policy.__class__(quantum_s=0.5)
        batch = service.submit("ann", make_job(make_clip(tmp_path))).job
        gate.wait()
        quick = service.submit(
            "bob", make_job(make_clip(tmp_path)), job_class=JobClass.INTERACTIVE
        ).job
        first, second = finish(service, quick.id), finish(service, batch.id)
        assert (first.state, second.state) == (JobState.DONE, JobState.DONE)
        assert first.finished_ms is not None
        assert second.finished_ms is not None
        assert first.finished_ms < second.finished_ms
        assert [one.end for one in second.attempts] == [AttemptEnd.YIELDED, AttemptEnd.DONE]
        assert hash_result(service, batch.id) == wanted


@pytest.mark.slow
@pytest.mark.fault(35)
def test_worker_that_holds_too_much_is_replaced_without_a_failed_job(tmp_path: Path) -> None:
    with open_service(tmp_path / "service", recycle_percent=10) as service:
        pool: Any = service._workers
        pool._host_bytes = 400_000_000  # of which a worker may hold a tenth: less than it does
        pool._own_bytes = lambda: 0  # this process runs tests, and may be larger than that
        jobs = [service.submit("ann", make_job(make_clip(tmp_path))).job for _ in range(3)]
        views = [finish(service, job.id) for job in jobs]
        assert [view.state for view in views] == [JobState.DONE] * 3
        assert len({view.attempts[-1].worker for view in views}) > 1
        assert all(view.attempts[-1].end is AttemptEnd.DONE for view in views)


@pytest.mark.slow
@pytest.mark.fault(1)
def test_idle_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    with open_service(tmp_path / "service") as service:
        pid = wait_for_worker(service).pid
        assert pid is not None
        os.kill(pid, KILL)
        job = service.submit("ann", make_job(make_clip(tmp_path))).job
        assert finish(service, job.id).state is JobState.DONE
        assert service.read_metrics().ended_workers == {"died": 1}


@pytest.mark.slow
def test_samples_previews_and_playable_parts_are_kept(tmp_path: Path) -> None:
    with open_service(tmp_path / "service", keep_samples=True) as service:
        job = service.submit("ann", make_job(make_clip(tmp_path))).job
        assert finish(service, job.id).state is JobState.DONE
        folder = service.open_result(job.id).path.parent
        samples = {path.name for path in folder.glob("sample-*.jpg")}
        assert samples == {f"sample-{place}-{side}.jpg" for place in ("first", "middle", "last")
                           for side in ("in", "out")}  # fmt: skip
        for side in ("both", "before", "after"):
            image = service.read_preview(job.id, side)
            assert image is not None
            assert image.startswith(b"\xff\xd8")


def test_stored_definition_is_checked_before_it_runs(tmp_path: Path) -> None:
    from filmgate.jobs.queue.values import JobRequest

    with make_service(tmp_path / "service") as service:
        form = {**JobDefinition.to_json(make_job(make_clip(tmp_path))), "seed": "many"}
        job = service._queue.submit(JobRequest(tenant="ann", job=form)).job
        service._workers.wake()
        view = finish(service, job.id)
        assert (view.state, view.reason) == (JobState.FAILED, "damaged")
