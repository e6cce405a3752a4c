"""The worker: the same film from a child process, whatever becomes of it."""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import filmgate as fg
from filmgate.backends import inline, worker
from filmgate.backends.worker_process import WorkerTimeouts
from filmgate.core.adapters import each
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.instrumentation import fault_injection
from filmgate.core.job import Job
from filmgate.core.snapshot import Cursor, Snapshot
from filmgate.core.stage import AnyStage
from filmgate.errors import FilmgateError, OutOfMemory
from filmgate.jobs.run_directory import RunDirectory
from tests import videos
from tests.house.tree import ROOT

SPEC = StreamSpec(width=2, height=2, rate=None, time_base=Fraction(1, 25), pixels="rgb")
SWIFT = WorkerTimeouts(loading=20.0, running=0.5, stopping=0.5)


@dataclass(frozen=True)
class Nowhere:
    """A sink's and a source's definition that nobody opens."""

    path: Path = Path("nowhere")


JOB: Any = Job(Nowhere(), Nowhere())  # type: ignore[arg-type]


def progress(read: int) -> fg.Progress:
    return fg.Progress(read, read, Fraction(read, 25), 0.0, 0)


def scripted(acts: tuple[str, ...], resume: Snapshot | None) -> Generator[fg.Event, None, None]:
    """A run that plays a part: a number is a commit after so many frames."""
    yield fg.Started(SPEC, SPEC, (), read=resume.cursor.index if resume else 0)
    for act in acts:
        if act.isdecimal():
            yield progress(int(act))
            yield fg.Committed(Snapshot(Cursor(int(act), 0), None, (), int(act)))
        elif act == "kill":
            print("what it said last", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        elif act == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif act == "exit":
            os._exit(9)
        elif act == "hang":
            threading.Event().wait()
        elif act == "memory":
            raise MemoryError("4 GB wanted")
        elif act == "ours":
            raise OutOfMemory(2, 8, "why")
    yield fg.Done(8, 8, 0.0)


def dies(job: Job, plan: Any, resume: Snapshot | None) -> Generator[fg.Event, None, None]:
    """What `job.seed` asks for, before and after a commit."""
    act = ("kill", "crash", "exit", "hang", "memory", "ours")[job.seed]
    return scripted(("4", act), resume)


def dies_once(job: Job, plan: Any, resume: Snapshot | None) -> Generator[fg.Event, None, None]:
    return scripted(("8",) if resume else ("4", "exit"), resume)


def heard_of(**asked: Any) -> tuple[list[fg.Event], FilmgateError | None]:
    """The events of a run in a worker, and how it broke."""
    events: list[fg.Event] = []
    try:
        events.extend(worker.run(timeouts=SWIFT, **asked))
    except FilmgateError as error:
        return events, error
    return events, None


def died(events: list[fg.Event]) -> fg.Died:
    (one,) = [event for event in events if isinstance(event, fg.Died)]
    return one


@pytest.fixture(autouse=True)
def clean() -> Generator[None, None, None]:
    """Nothing is left: no process but the tracker that Python starts once, no descriptor."""
    resource_tracker.ensure_running()
    me = psutil.Process()
    before, threads = me.num_fds(), threading.active_count()
    children = {child.pid for child in me.children(recursive=True)}
    yield
    assert {child.pid for child in me.children(recursive=True)} == children
    assert (me.num_fds(), threading.active_count()) == (before, threads)


def test_the_same_events_and_the_same_film_as_inline(tmp_path: Path) -> None:
    """Law 9."""
    source = videos.make(videos.Video(frames=20, sounds=("aac",)), tmp_path / "in.mp4")

    def events_of(run: Callable[..., Any], name: str) -> list[fg.Event]:
        sink = fg.VideoOutput(tmp_path / name, codec="ffv1")
        job = fg.Job(fg.VideoFile(source), sink, (fg.Interpolate(factor=2),))
        return [timeless(event) for event in run(job, fg.Plan(segment_frames=8))]

    here, there = events_of(inline.run, "a.mkv"), events_of(worker.run, "b.mkv")
    assert [repr(event) for event in here] == [repr(event) for event in there]
    a, b = (list(fg.frames((), tmp_path / name)) for name in ("a.mkv", "b.mkv"))
    assert [(f.time, f.duration) for f in a] == [(f.time, f.duration) for f in b]
    for one, other in zip(a, b, strict=True):
        for x, y in zip(planes(one), planes(other), strict=True):
            assert np.array_equal(x, y)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mkv", "b.mkv", "in.mp4"]


def planes(frame: fg.Frame) -> Any:
    image: Any = frame.image
    return image.arrays


def timeless(event: Any) -> Any:
    """The event without what a clock or a meter says; a snapshot's pictures are not shown."""
    if isinstance(event, fg.Progress):
        return replace(event, seconds=0.0, resident_bytes=0, busy={})
    if isinstance(event, fg.Done):
        return replace(event, seconds=0.0, busy={})
    if isinstance(event, fg.Committed):
        return fg.Committed(replace(event.snapshot, state=None))
    return event


def test_a_child_killed_in_the_middle_of_a_film_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = videos.make(videos.Video(frames=20), tmp_path / "in.mp4")
    monkeypatch.setenv("FILMGATE_FAULT", "encode.before_write=kill@3")
    job = fg.Job(fg.VideoFile(source), fg.VideoOutput(tmp_path / "out.mp4"))
    events, error = heard_of(job=job, plan=fg.Plan(chunk=4, segment_frames=8))
    certificate = died(events).crash
    assert certificate
    assert (certificate.cause, certificate.read, certificate.segment) == ("SIGKILL", 8, 1)
    assert certificate.lines == ("kill on purpose, at encode.before_write",)
    assert "killed by the kernel" in certificate.hint
    assert "after source frame 8 (0.320 s): SIGKILL" in str(error)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize(
    ("seed", "cause"),
    [
        pytest.param(1, "SIGSEGV", marks=pytest.mark.slow),
        pytest.param(2, "exit code 9", marks=pytest.mark.slow),
        (3, "nothing was heard of it"),
    ],
)
def test_a_death_is_told_with_a_certificate(seed: int, cause: str) -> None:
    events, error = heard_of(job=replace(JOB, seed=seed), within=dies)
    certificate = died(events).crash
    assert certificate
    assert certificate.cause.startswith(cause)
    assert (certificate.read, certificate.time, certificate.segment) == (4, Fraction(4, 25), 4)
    assert cause in str(error)
    assert ("scripted" in certificate.stack) == (seed in (1, 3))


def test_errors_come_over_as_what_they_are() -> None:
    _, error = heard_of(job=replace(JOB, seed=5), within=dies)
    assert isinstance(error, OutOfMemory)
    assert (error.stage, error.batch) == (2, 8)
    assert str(error) == "stage 2 ran out of memory with 8 frames at a time: why"


@pytest.mark.slow
def test_a_foreign_error_comes_over_with_its_traceback() -> None:
    events, error = heard_of(job=replace(JOB, seed=4), within=dies)
    assert str(error).startswith("MemoryError: 4 GB wanted; the machine ran out of memory")
    assert "in scripted" in str(error)
    assert "crash" not in repr(events)


def test_another_child_goes_on_from_the_last_commit() -> None:
    events, error = heard_of(job=JOB, within=dies_once, durable=True)
    assert error is None
    kinds = [type(event).__name__ for event in events]
    half = ["Started", "Progress", "Committed"]
    assert kinds == [*half, "Died", *half, "Done"]
    assert [e.read > 0 for e in events if isinstance(e, fg.Started)] == [False, True]


@pytest.mark.slow
def test_three_deaths_without_a_commit_are_enough() -> None:
    events, error = heard_of(job=JOB, within=dies_soon, durable=True)
    assert sum(isinstance(event, fg.Died) for event in events) == 3
    assert "time 3 without a commit between: given up" in str(error)


def dies_soon(job: Job, plan: Any, resume: Snapshot | None) -> Generator[fg.Event, None, None]:
    return scripted(("exit",), resume)


@pytest.mark.slow
@pytest.mark.parametrize(  # those that a run without a folder passes
    "point", [point for point in fault_injection.POINTS if not point.startswith(("commit", "join"))]
)
def test_a_crash_at_any_point_leaves_no_file(
    point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = videos.make(videos.Video(frames=20), tmp_path / "in.mp4")
    monkeypatch.setenv("FILMGATE_FAULT", f"{point}=crash@2")
    job = fg.Job(fg.VideoFile(source), fg.VideoOutput(tmp_path / "out.mp4"))
    events, error = heard_of(job=job, plan=fg.Plan(chunk=4, segment_frames=8))
    assert "SIGSEGV" in str(error)
    assert died(events).crash
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_closing_stops_a_run_politely(tmp_path: Path) -> None:
    source = videos.make(videos.Video(frames=60), tmp_path / "in.mp4")
    job = fg.Job(fg.VideoFile(source), fg.VideoOutput(tmp_path / "out.mp4"))
    happenings = worker.run(job, fg.Plan(chunk=1))
    while not isinstance(next(happenings), fg.Progress):
        pass
    assert any(path.name.startswith(".out.") for path in tmp_path.iterdir())
    happenings.close()
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.slow
def test_a_second_interrupt_does_not_wait_for_the_first() -> None:
    patient = WorkerTimeouts(stopping=60.0)
    happenings = worker.run(replace(JOB, seed=3), within=dies, timeouts=patient)
    while not isinstance(next(happenings), fg.Committed):
        pass
    began = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()

    def interrupted() -> None:
        try:
            happenings.throw(KeyboardInterrupt())
        finally:
            timer.join()  # where the first was quick, the second comes here

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 10


def hangs_with_a_film(job: Job, plan: Any, resume: Any) -> Generator[fg.Event, None, None]:
    """Writes a hidden file, tells its process, and hangs."""
    name = f".out.{os.environ['FILMGATE_RUN']}.part.mp4"
    (Path(job.sink.path).parent / name).write_text("half")  # type: ignore[attr-defined]
    yield fg.Warned(str(os.getpid()))
    threading.Event().wait()


ORPHAN = """
import sys, pathlib, filmgate as fg
from filmgate.backends import worker
from tests.backends.test_worker import hangs_with_a_film
if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    job = fg.Job(fg.File(folder / "in.mp4"), fg.Output(folder / "out.mp4"))
    for event in worker.run(job, within=hangs_with_a_film):
        print(event.message, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")
def test_a_child_does_not_outlive_a_parent_that_was_shot(tmp_path: Path) -> None:
    (tmp_path / "orphan.py").write_text(ORPHAN)
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "orphan.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
        gone, _, _ = select.select([child], [], [], 30)  # 0.5 s on a quiet machine
        os.close(child)
        assert gone
    assert [path.name for path in tmp_path.iterdir()] == ["orphan.py"]


@pytest.mark.slow
def test_twenty_runs_leave_nothing(tmp_path: Path) -> None:
    """The fixture looks after processes, descriptors and threads."""
    for seed in range(20):
        heard_of(job=replace(JOB, seed=seed % 3), within=dies)


@dataclass(frozen=True)
class Deadly:
    """A task whose stage dies of one frame, by what is on it."""

    number: int
    stretch: int = 1

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        return (each(partial(die_of, self.number), name="deadly"),)

    def timeline(self, shown: Iterable[Frame]) -> Iterator[Frame]:
        return iter(shown)


def die_of(number: int, frames: Sequence[Frame]) -> Sequence[Frame]:
    for frame in frames:
        if videos.number_of(frame) == number:
            os.kill(os.getpid(), signal.SIGKILL)
    return frames


@pytest.mark.slow
def test_frames_that_kill_again_and_again_are_stood_in_for(tmp_path: Path) -> None:
    source = videos.make(videos.Video(frames=24), tmp_path / "in.mp4")
    sink = fg.VideoOutput(tmp_path / "out.mkv", codec="ffv1")
    job, plan = (
        fg.Job(fg.VideoFile(source), sink, (Deadly(14),)),
        fg.Plan(chunk=2, segment_frames=8),
    )
    with pytest.raises(FilmgateError, match="given up; --skip-bad goes on past it"):
        list(fg.events(job, plan, worker=True))
    events = list(fg.events(job, plan, worker=True, skip_bad=True))
    done = events[-1]
    assert isinstance(done, fg.Done)
    assert (done.read, done.written, done.concealed) == (24, 24, 2)
    shown = [videos.number_of(frame) for frame in fg.frames((), sink.path)]
    assert shown == [*range(14), 13, 13, *range(16, 24)]
    assert not RunDirectory.beside(sink.path).path.exists()
