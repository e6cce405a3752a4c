"""Servers that are killed, stopped, started twice or without space: they lose no job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import psutil
import pytest

from filmgate.errors import Busy, DiskFull
from filmgate.jobs.queue.values import AttemptEnd, JobState
from filmgate.service.job_service import JobService
from filmgate.service.settings import ServiceSettings
from tests.processes import KILL
from tests.service.fakes import FakeWorkers, FixedPlanner, make_service
from tests.service.real import (
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
    wait_until,
)
from tests.service.test_job_service import wait_for_run


@contextmanager
def start_server(folder: Path, clip: Path, count: int) -> Iterator[subprocess.Popen[str]]:
    """Start a server in a process of its own."""
    words = [
        sys.executable,
        "-m",
        "tests.service.submitting_server",
        str(folder),
        str(clip),
        str(count),
    ]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()  # a worker may still have it open


def read_ids(process: subprocess.Popen[str]) -> list[str]:
    """Return the ids that the server acknowledged, up to "ready" or its end."""
    assert process.stdout is not None
    ids = []
    for line in process.stdout:
        if line.strip() == "ready":
            break
        ids.append(line.strip())
    return ids


@pytest.mark.slow
@pytest.mark.fault(4)
def test_server_killed_while_jobs_run_continues_them_after_its_restart(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wanted = find_undisturbed(tmp_path_factory)
    folder, clip = tmp_path / "service", make_clip(tmp_path)
    ids: list[str] = []
    for _ in range(3):  # at the first segment of the first job, at its second, at its third
        with make_gate(tmp_path / "gate") as gate, start_server(folder, clip, 2) as server:
            ids = read_ids(server)
            assert len(ids) == 2
            gate.wait()
            workers = psutil.Process(server.pid).children(recursive=True)
            os.kill(server.pid, KILL)
            server.wait()
            _, alive = psutil.wait_procs(workers, 10)
            assert not alive, "workers end with their server"
    with open_service(folder) as service:
        for job_id in ids:
            view = finish(service, job_id)
            assert view.state is JobState.DONE
            assert hash_result(service, job_id) == wanted
            numbers = [event.number for event in service.read_events(job_id, 0, 1000)]
            assert numbers == list(range(1, len(numbers) + 1))
        first = service.get(ids[0])
        assert first.attempts[0].end is AttemptEnd.STOPPED
        assert list_events(service, ids[0], "resumed"), "it did not start again"
    check_nothing_left(folder)


@pytest.mark.slow
@pytest.mark.fault(5)
def test_client_that_got_no_answer_finds_its_job_by_the_key(tmp_path: Path) -> None:
    folder, clip = tmp_path / "service", make_clip(tmp_path)
    with start_server(folder, clip, 5) as server:
        assert server.stdout is not None
        first = server.stdout.readline().strip()
        os.kill(server.pid, KILL)
        server.wait()
        rest = server.stdout.read().split()
    with make_service(folder, FakeWorkers(None)) as service:
        again = [service.submit("ann", make_job(clip), key=f"key-{k}") for k in range(5)]
        ids = [done.job.id for done in again]
        assert ids[0] == first
        assert [one for one in rest if one != "ready"] == ids[1 : 1 + len(rest)]
        assert len(service.list("ann").items) == 5, "no job is there twice"


@pytest.mark.slow
@pytest.mark.fault(6)
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
def test_server_that_is_stopped_gives_jobs_back_at_a_segment(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wanted = find_undisturbed(tmp_path_factory)
    folder, clip = tmp_path / "service", make_clip(tmp_path)
    with make_gate(tmp_path / "gate") as gate, start_server(folder, clip, 1) as server:
        [job_id] = read_ids(server)
        gate.wait()
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    with open_service(folder) as service:
        view = finish(service, job_id)
        assert [one.end for one in view.attempts] == [AttemptEnd.YIELDED, AttemptEnd.DONE]
        assert hash_result(service, job_id) == wanted


@pytest.mark.slow
@pytest.mark.fault(15)
@pytest.mark.skipif(os.name == "nt", reason="Windows has no signal that stops a process")
def test_stopped_worker_of_a_killed_server_is_ended_by_the_next_one(tmp_path: Path) -> None:
    """It holds the lock of its run and cannot notice that its server is gone."""
    folder, clip = tmp_path / "service", make_clip(tmp_path)
    with make_gate(tmp_path / "gate") as gate, start_server(folder, clip, 1) as server:
        [job_id] = read_ids(server)
        gate.wait()
        children = psutil.Process(server.pid).children()
        worker = next(c for c in children if "resource_tracker" not in " ".join(c.cmdline()))
        worker.suspend()
        os.kill(server.pid, KILL)
        server.wait()
    assert worker.is_running()
    with open_service(folder) as service:
        assert finish(service, job_id).state is JobState.DONE
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


@pytest.mark.fault(27)
def test_second_server_ends_and_names_the_first(tmp_path: Path) -> None:
    with make_service(tmp_path), pytest.raises(Busy, match=rf"process {os.getpid()} on"):
        make_service(tmp_path)
    make_service(tmp_path).stop()


@pytest.mark.slow
@pytest.mark.fault(9)
def test_job_waits_while_the_disk_is_full_and_continues_by_itself(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = find_undisturbed(tmp_path_factory)
    if not os.path.ismount("/dev/shm") or os.name == "nt":
        pytest.skip("there is no small disk to fill: /dev/shm is not mounted")
    monkeypatch.setattr("filmgate.service.reporting._WAIT_FOR_SPACE_S", 0.5)
    monkeypatch.setattr(
        "filmgate.service.supervisor.worker_handle.work", _work_on_a_disk_that_is_full_at_first
    )
    monkeypatch.setenv("FILMGATE_TEST_FULL", str(tmp_path / "full"))
    (tmp_path / "full").touch()
    with open_service(tmp_path / "service") as service:
        job = service.submit("ann", make_job(make_clip(tmp_path))).job
        wait_until(service, job.id, lambda view: len(view.attempts) > 4)
        waits = list_events(service, job.id, "requeued")
        assert waits[0]["reason"] == "disk_full"
        assert "full" in waits[0]["message"]
        (tmp_path / "full").unlink()
        view = finish(service, job.id)
        assert view.state is JobState.DONE
        assert hash_result(service, job.id) == wanted


def _work_on_a_disk_that_is_full_at_first(*arguments: object) -> None:
    """Work, with writing of commits that fails while a file exists."""
    from filmgate.jobs.run_directory import RunDirectory
    from filmgate.service.worker.main import work

    write = RunDirectory.write

    def write_if_there_is_space(self: RunDirectory, name: str, data: bytes) -> None:
        if name.endswith(".snapshot") and Path(os.environ["FILMGATE_TEST_FULL"]).exists():
            raise DiskFull.full(self.path, 0)
        write(self, name, data)

    RunDirectory.write = write_if_there_is_space  # type: ignore[method-assign]
    work(*arguments)  # type: ignore[arg-type]  # as the server passes them


@pytest.mark.slow
@pytest.mark.fault(9)
def test_queue_without_space_reports_later_what_workers_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_service(tmp_path / "service") as service:
        leases, failures = service._queue.leases, iter(range(3))
        commit = leases.commit_segment

        def fail_at_first(*arguments: object) -> None:
            if next(failures, None) is not None:
                raise DiskFull("cannot write: no space")
            commit(*arguments)  # type: ignore[arg-type]  # as they came

        monkeypatch.setattr(leases, "commit_segment", fail_at_first)
        job = service.submit("ann", make_job(make_clip(tmp_path))).job
        view = finish(service, job.id)
        assert (view.state, view.segments, len(view.attempts)) == (JobState.DONE, 4, 1)


@pytest.mark.slow
@pytest.mark.fault(29)
def test_wall_clock_that_jumps_ends_nothing(tmp_path: Path) -> None:
    class Jumping:
        offset_s = 0.0

        def wall_s(self) -> float:
            return 1.8e9 + self.offset_s

        def monotonic_s(self) -> float:
            return monotonic()

    clock, workers = Jumping(), FakeWorkers(None)
    service = JobService(
        ServiceSettings(folder=tmp_path / "service"), workers=workers, planner=FixedPlanner(),
        clock=clock,
    )  # fmt: skip
    with service:
        job = service.submit("ann", make_job(make_clip(tmp_path)), expires_after_s=3600).job
        run = wait_for_run(workers)
        for days in (30, -30, 0):
            clock.offset_s = days * 86_400.0
            run.progress(1)
            pause(0.1)
            assert service.get(job.id).state is not JobState.EXPIRED
        run.finish()
        view = finish(service, job.id)
        assert view.finished_ms is not None
        assert 0 <= view.finished_ms - view.submitted_ms < 60_000
        times = [event.time_ms for event in service.read_events(job.id)]
        assert times == sorted(times)
