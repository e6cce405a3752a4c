"""The worker: the same result from a child process, and crashes that are reported."""

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
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import filmgate as fg
from filmgate.backends import inline, worker
from filmgate.backends.worker_process import (
    WorkerTimeouts,
)
from filmgate.core.adapters import each
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.instrumentation import fault_injection
from filmgate.core.model_cache import ModelCache
from filmgate.core.stage import AnyStage
from filmgate.errors import FilmgateError, OutOfMemory
from filmgate.jobs.run_directory import RunDirectory
from tests import processes, videos
from tests.backends.scripted_runs import (
    JOB,
    collect,
    die,
    die_after_the_end,
    die_at_once,
    die_once,
)
from tests.house.tree import ROOT
from tests.processes import CRASH_CAUSE, KILL, KILL_CAUSE


def find_death(events: list[fg.Event]) -> fg.Died:
    (one,) = [event for event in events if isinstance(event, fg.Died)]
    return one


@pytest.fixture(autouse=True)
def check_nothing_is_left() -> Generator[None, None, None]:
    """Check that no process, descriptor or thread is left."""
    me = psutil.Process()
    before, threads = processes.count_descriptors(me), threading.active_count()
    children = {child.pid for child in me.children(recursive=True)}
    yield
    assert {child.pid for child in me.children(recursive=True)} == children
    processes.wait_for_threads(threads)
    assert processes.count_descriptors(me) == before
    assert threading.active_count() <= threads


def test_events_and_result_are_those_of_an_inline_run(tmp_path: Path) -> None:
    """Law 9."""
    source = videos.make(videos.Video(frames=20, sounds=("aac",)), tmp_path / "in.mp4")

    def events_of(run: Callable[..., Any], name: str) -> list[fg.Event]:
        sink = fg.VideoOutput(tmp_path / name, codec="ffv1")
        job = fg.Job(fg.VideoFile(source), sink, (fg.Interpolate(factor=2),))
        return [without_measurements(event) for event in run(job, fg.Plan(segment_frames=8))]

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


def without_measurements(event: Any) -> Any:
    """The event without what a clock or a meter says; a snapshot's images are not shown."""
    if isinstance(event, fg.Progress):
        return replace(event, seconds=0.0, resident_bytes=0, busy={})
    if isinstance(event, fg.Done):
        return replace(event, seconds=0.0, busy={})
    if isinstance(event, fg.Committed):
        return fg.Committed(replace(event.snapshot, state=None))
    return event


def test_child_killed_during_a_run_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = videos.make(videos.Video(frames=20), tmp_path / "in.mp4")
    monkeypatch.setenv("FILMGATE_FAULT", "encode.before_write=kill@3")
    job = fg.Job(fg.VideoFile(source), fg.VideoOutput(tmp_path / "out.mp4"))
    events, error = collect(job=job, plan=fg.Plan(chunk=4, segment_frames=8))
    crash = find_death(events).crash
    assert crash
    assert (crash.cause, crash.read, crash.segment) == (KILL_CAUSE, 8, 1)
    assert crash.lines == ("kill on purpose, at encode.before_write",)
    if sys.platform == "linux":
        assert crash.hint.startswith("a user or another program killed it, not the kernel")
    assert f"after source frame 8 (0.320 s): {KILL_CAUSE}" in str(error)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize(
    ("seed", "cause"),
    [
        pytest.param(1, CRASH_CAUSE, marks=pytest.mark.slow),
        pytest.param(2, "exit code 9", marks=pytest.mark.slow),
        (3, "it was silent"),
    ],
)
def test_death_has_a_crash_report(seed: int, cause: str) -> None:
    events, error = collect(job=replace(JOB, seed=seed), runner=die)
    crash = find_death(events).crash
    assert crash
    assert crash.cause.startswith(cause)
    assert (crash.read, crash.time, crash.segment) == (4, Fraction(4, 25), 4)
    assert cause in str(error)
    assert ("scripted" in crash.stack) == (seed in (1, 3))


def test_our_errors_are_raised_with_their_class_and_attributes() -> None:
    _, error = collect(job=replace(JOB, seed=5), runner=die)
    assert isinstance(error, OutOfMemory)
    assert (error.stage, error.batch) == (2, 8)
    assert str(error) == "stage 2 ran out of memory with 8 frames at a time: why"


@pytest.mark.slow
def test_other_errors_are_raised_with_their_traceback() -> None:
    events, error = collect(job=replace(JOB, seed=4), runner=die)
    assert str(error).startswith("MemoryError: 4 GB wanted; the machine ran out of memory")
    assert "in scripted" in str(error)
    assert "crash" not in repr(events)


def test_another_child_resumes_from_the_last_commit() -> None:
    events, error = collect(job=JOB, runner=die_once, resumable=True)
    assert error is None
    kinds = [type(event).__name__ for event in events]
    half = ["Started", "Progress", "Committed"]
    assert kinds == [*half, "Died", *half, "Done"]
    assert [e.read > 0 for e in events if isinstance(e, fg.Started)] == [False, True]


def test_death_after_the_end_of_a_run_is_no_failure() -> None:
    events, error = collect(job=JOB, runner=die_after_the_end, resumable=True)
    assert error is None
    assert [type(event).__name__ for event in events] == ["Started", "Done"]


@pytest.mark.parametrize("point", ["end.reported", "end.removed"])
def test_child_killed_after_the_end_leaves_only_the_result(
    point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = videos.make(videos.Video(frames=4), tmp_path / "in.mp4")
    monkeypatch.setenv(fault_injection.VARIABLE, f"{point}=kill@1")
    job = fg.Job(fg.VideoFile(source), fg.VideoOutput(tmp_path / "out.mkv"))
    events = list(fg.events(job, worker=True))
    assert isinstance(events[-1], fg.Done)
    assert not any(isinstance(event, fg.Died) for event in events)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mkv"]


@pytest.mark.slow
def test_run_gives_up_after_three_deaths_without_a_commit() -> None:
    events, error = collect(job=JOB, runner=die_at_once, resumable=True)
    assert sum(isinstance(event, fg.Died) for event in events) == 3
    assert "gave up after 3 deaths without a commit" in str(error)


@pytest.mark.slow
@pytest.mark.parametrize(  # those that a run without checkpoints reaches
    "point",
    [
        point
        for point in fault_injection.POINTS
        if not point.startswith(("commit", "join", "end", "prepare"))
    ],
)
def test_crash_at_any_point_leaves_no_file(
    point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = videos.make(videos.Video(frames=20), tmp_path / "in.mp4")
    monkeypatch.setenv("FILMGATE_FAULT", f"{point}=crash@2")
    job = fg.Job(fg.VideoFile(source), fg.VideoOutput(tmp_path / "out.mp4"))
    events, error = collect(job=job, plan=fg.Plan(chunk=4, segment_frames=8))
    assert CRASH_CAUSE in str(error)
    assert find_death(events).crash
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_closing_stops_a_run_gracefully(tmp_path: Path) -> None:
    source = videos.make(videos.Video(frames=60), tmp_path / "in.mp4")
    job = fg.Job(fg.VideoFile(source), fg.VideoOutput(tmp_path / "out.mp4"))
    events = worker.run(job, fg.Plan(chunk=1))
    while not isinstance(next(events), fg.Progress):
        pass
    assert any(path.name.startswith(".out.") for path in tmp_path.iterdir())
    events.close()
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.slow
def test_second_interrupt_does_not_wait_for_the_first() -> None:
    timeouts = WorkerTimeouts(stopping=60.0)
    events = worker.run(replace(JOB, seed=3), runner=die, timeouts=timeouts)
    while not isinstance(next(events), fg.Committed):
        pass
    began = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()

    def interrupted() -> None:
        try:
            events.throw(KeyboardInterrupt())
        finally:
            timer.join()  # if the first was fast, the second arrives here

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 10


ORPHAN = """
import sys, pathlib, filmgate as fg
from filmgate.backends import worker
from tests.backends.scripted_runs import hang
if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    job = fg.Job(fg.VideoFile(folder / "in.mp4"), fg.VideoOutput(folder / "out.mp4"))
    for event in worker.run(job, runner=hang):
        print(event.message, flush=True)
"""


@pytest.mark.slow
def test_child_ends_with_a_killed_parent(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux has pidfd_open")
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
def test_twenty_runs_leave_nothing_behind(tmp_path: Path) -> None:
    """The fixture checks processes, descriptors and threads."""
    for seed in range(20):
        collect(job=replace(JOB, seed=seed % 3), runner=die)


@dataclass(frozen=True)
class DeadlyTask:
    """A task whose stage kills the process at the frame that shows `number`."""

    number: int
    time_scale: int = 1

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[AnyStage, ...]:
        return (each(partial(kill_at, self.number), name="deadly"),)

    def timeline(self, shown: Iterable[Frame]) -> Iterator[Frame]:
        return iter(shown)


def kill_at(number: int, frames: Sequence[Frame]) -> Sequence[Frame]:
    for frame in frames:
        if videos.read_number(frame) == number:
            os.kill(os.getpid(), KILL)
    return frames


@pytest.mark.slow
def test_frames_that_crash_every_worker_are_replaced_with_skip_bad(tmp_path: Path) -> None:
    source = videos.make(videos.Video(frames=24), tmp_path / "in.mp4")
    sink = fg.VideoOutput(tmp_path / "out.mkv", codec="ffv1")
    job, plan = (
        fg.Job(fg.VideoFile(source), sink, (DeadlyTask(14),)),
        fg.Plan(chunk=2, segment_frames=8),
    )
    with pytest.raises(FilmgateError, match=r"gave up .*: pass --skip-bad"):
        list(fg.events(job, plan, worker=True))
    events = list(fg.events(job, plan, worker=True, skip_bad=True))
    done = events[-1]
    assert isinstance(done, fg.Done)
    assert (done.read, done.written, done.concealed) == (24, 24, 2)
    shown = [videos.read_number(frame) for frame in fg.frames((), sink.path)]
    assert shown == [*range(14), 13, 13, *range(16, 24)]
    assert not RunDirectory.for_result(sink.path).path.exists()
