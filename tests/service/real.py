"""A service with real worker processes, for tests of what can go wrong with them."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any

import pytest

from filmgate.core.instrumentation.fault_injection import VARIABLE
from filmgate.jobs.queue.values import FINAL_STATES
from filmgate.service.job_service import JobService
from filmgate.service.schema import JobDefinition
from filmgate.service.settings import ServiceSettings
from filmgate.service.supervisor import worker_handle
from filmgate.service.supervisor.worker_handle import WorkerHandle
from filmgate.service.views import JobView, WorkerView
from tests.service.fakes import PLAN, FixedPlanner, small_ballast
from tests.videos import Video, make

FRAMES, SEGMENT = 96, "1"  # of the clip, 24 frames each
WAIT_S = 60.0
GATE = "FILMGATE_TEST_GATE"  # the environment variable with the path of a gate


@cache
def _read_clip(frames: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return make(Video(frames=frames), Path(folder) / "clip.mp4").read_bytes()


def make_clip(folder: Path, frames: int = FRAMES) -> Path:
    """Write a clip of 64 x 48 pixels, 25 frames per second, always the same bytes."""
    path = folder / f"clip-{frames}.mp4"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_read_clip(frames))
    return path


def make_job(clip: Path, **fields: Any) -> JobDefinition:
    """Return a job that re-encodes the clip in segments of a second."""
    limits = {"segment": SEGMENT, "threads": 1, "chunk": 4, **fields.pop("limits", {})}
    return JobDefinition.from_json({"source": {"path": str(clip)}, "limits": limits, **fields})


@contextmanager
def open_service(folder: Path, **settings: Any) -> Iterator[JobService]:
    """Run a service with one worker process on the CPU; nothing is planned."""
    own = ServiceSettings(folder=folder, devices=("cpu",), **settings)
    planner = FixedPlanner(replace(PLAN, host_bytes=50_000_000))
    with small_ballast():
        made = JobService(own, planner=planner)
    with made as service:
        yield service


def wait_until(service: JobService, job_id: str, is_done: Callable[[JobView], bool]) -> JobView:
    """Return the job when the condition holds. Fails after a minute."""
    end_s = monotonic() + WAIT_S
    while monotonic() < end_s:
        view = service.get(job_id)
        if is_done(view):
            return view
        service.wait_for_change(job_id, view.events, 1.0)
    raise AssertionError(
        f"{view.state} {view.reason} {view.message}\n{list_events(service, job_id)}"
    )


def finish(service: JobService, job_id: str) -> JobView:
    """Wait for the end of a job."""
    return wait_until(service, job_id, lambda view: view.state in FINAL_STATES)


def list_events(service: JobService, job_id: str, kind: str = "") -> list[Any]:
    """Return the events of a job as (kind, data), or the data of those of one kind."""
    events = service.read_events(job_id, 0, 1000)
    if kind:
        return [dict(event.data) for event in events if event.kind == kind]
    return [(event.kind, dict(event.data)) for event in events]


def hash_result(service: JobService, job_id: str) -> str:
    """Return the SHA-256 of a result as it is on the disk."""
    result = service.open_result(job_id)
    found = hashlib.sha256(result.path.read_bytes()).hexdigest()
    assert found == result.sha256
    return found


@cache
def _find_undisturbed(folder: Path, frames: int) -> str:
    with open_service(folder) as service:
        job = service.submit("ann", make_job(make_clip(folder, frames))).job
        finish(service, job.id)
        return hash_result(service, job.id)


def find_undisturbed(tmp_path_factory: pytest.TempPathFactory, frames: int = FRAMES) -> str:
    """Return the hash of the result that nothing disturbed; it is made once."""
    return _find_undisturbed(tmp_path_factory.getbasetemp() / "undisturbed", frames)


def set_faults(monkeypatch: pytest.MonkeyPatch, *faults: str) -> None:
    """Give the first workers, in their order, a fault each; later ones have none."""
    left, spawn = list(faults), WorkerHandle.spawn

    def spawn_with_fault(*arguments: Any) -> WorkerHandle:
        fault = left.pop(0) if left else ""
        with pytest.MonkeyPatch.context() as patch:
            if fault:
                patch.setenv(VARIABLE, fault)
            return spawn(*arguments)

    monkeypatch.setattr(WorkerHandle, "spawn", spawn_with_fault)


class Gate:
    """Holds one run of a job, the first to finish a segment, until it is asked to stop or `open`.

    A clip of any length may be done before a test has looked; a run that is held is not.
    """

    def __init__(self, folder: Path) -> None:
        self._free, self._taken = folder / "gate", folder / "gate.taken"

    def close(self) -> None:
        """Hold the next run."""
        self._taken.unlink(missing_ok=True)
        self._free.touch()

    def wait(self) -> None:
        """Wait until a run is held: it has reported its first segment. Fails after a minute."""
        end_s = monotonic() + WAIT_S
        while not self._taken.exists():
            assert monotonic() < end_s, "no run has finished a segment"
            pause(0.02)

    def open(self) -> None:
        """Let the run continue, and hold no other."""
        self._free.unlink(missing_ok=True)
        self._taken.unlink(missing_ok=True)


def make_gate(folder: Path) -> AbstractContextManager[Gate]:
    """Return a gate that is closed, of the workers that start, also those of child processes."""
    return _make_gate(folder, work_at_gate)


def make_hold(folder: Path, point: str) -> AbstractContextManager[Gate]:
    """Return a gate at which the first run that comes to a fault point waits, for workers that
    start now."""
    listed = point.replace("@", "=hang@") if "@" in point else f"{point}=hang"
    return _make_gate(folder, work_to_hold, {VARIABLE: listed})


@contextmanager
def _make_gate(
    folder: Path, work: Callable[..., None], variables: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Gate]:
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {GATE: str(folder / "gate"), **variables}.items():
            patch.setenv(name, value)
        patch.setattr(worker_handle, "work", work)
        gate = Gate(folder)
        gate.close()
        yield gate


def work_at_gate(*arguments: Any) -> None:
    """Work; the run that takes the gate waits there after its first segment."""
    from filmgate.service.worker.job_run import JobRun
    from filmgate.service.worker.main import work

    free = Path(os.environ[GATE])
    taken, report = free.with_name("gate.taken"), JobRun._report_segments

    def report_and_wait(self: JobRun, *words: Any) -> None:
        report(self, *words)
        with suppress(OSError):  # it is open, or another run is held
            free.rename(taken)
            while taken.exists() and not self.orders.give_back and not self.orders.cancel:
                pause(0.01)

    JobRun._report_segments = report_and_wait  # type: ignore[method-assign, assignment]
    work(*arguments)


def work_to_hold(*arguments: Any) -> None:
    """Work; a fault point that is listed waits at the gate, in place of a fault."""
    from filmgate.core.instrumentation import fault_injection
    from filmgate.service.worker.main import work

    free = Path(os.environ[GATE])
    taken = free.with_name("gate.taken")

    def wait_there(kind: str, name: str) -> None:
        with suppress(OSError):
            free.rename(taken)
            while taken.exists():
                pause(0.01)

    fault_injection._fail = wait_there
    work(*arguments)


def wait_for_worker(service: JobService) -> WorkerView:
    """Return the first worker when it is ready. Fails after a minute."""
    end_s = monotonic() + WAIT_S
    while not (ready := service.report_readiness()).is_ready:
        assert monotonic() < end_s, ready.reasons
        pause(0.05)
    return ready.workers[0]


def pause(seconds: float) -> None:
    """Let time pass."""
    threading.Event().wait(seconds)


def check_nothing_left(service_folder: Path) -> None:
    """Fail if a stopped service has left processes, temporary files or runs of jobs that ended."""
    import psutil

    children = [
        child for child in psutil.Process().children(recursive=True)
        if child.name().startswith("python")  # a browser of other tests may be there
        and "resource_tracker" not in " ".join(child.cmdline())
    ]  # fmt: skip
    _, alive = psutil.wait_procs(children, 5)
    assert not alive, f"processes are left: {alive}"
    files = [path for path in service_folder.rglob("*") if path.is_file()]
    hidden = [path for path in files if path.name.startswith(".")]
    assert not hidden, f"hidden files are left: {hidden}"
    runs = [path for path in service_folder.rglob("run") if path.is_dir()]
    assert not runs, f"runs are left: {runs}"


IS_POSIX = sys.platform != "win32" and os.name == "posix"
