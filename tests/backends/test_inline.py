"""Inline: complete runs in this process, however they end."""

import threading
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import pytest

import filmgate as fg
from filmgate.backends import inline
from filmgate.core.adapters import each
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.model_cache import ModelCache
from filmgate.core.plan import make_default_plan
from filmgate.core.stage import AnyStage
from filmgate.errors import BadSetting
from filmgate.pipeline import threads
from filmgate.units import MIB
from tests import videos


@dataclass(frozen=True)
class FailingTask:
    """A task whose stage fails at frame 9."""

    time_scale: int = 1

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[AnyStage, ...]:
        def fail(frames: Any) -> Any:
            if frames[0].index == 9:
                raise ZeroDivisionError("on purpose")
            return frames

        return (each(fail),)

    def timeline(self, shown: Any) -> Any:
        return shown


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return videos.make(videos.Video(frames=20, sounds=("aac",)), tmp_path / "in.mp4")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_run_without_tasks_keeps_every_frame_and_its_time(source: Path, tmp_path: Path) -> None:
    done = fg.run((), source, tmp_path / "out.mp4")
    assert (done.read, done.written) == (20, 20)
    before, after = list(fg.frames((), source)), list(fg.frames((), tmp_path / "out.mp4"))
    assert [(f.time, f.duration) for f in after] == [(f.time, f.duration) for f in before]
    assert [videos.read_number(f) for f in after] == list(range(20))


def test_failing_task_leaves_nothing_behind(source: Path, tmp_path: Path) -> None:
    threads = threading.active_count()
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        fg.run((fg.Interpolate(factor=2), FailingTask()), source, tmp_path / "out.mp4")
    assert names(tmp_path) == ["in.mp4"]
    assert threading.active_count() == threads


def test_closed_run_leaves_nothing_behind(source: Path, tmp_path: Path) -> None:
    threads, job = (
        threading.active_count(),
        fg.Job(fg.VideoFile(source), fg.VideoOutput(tmp_path / "o.mp4")),
    )
    events = inline.run(job, fg.Plan(chunk=1))
    while not isinstance(next(events), fg.Progress):
        pass
    assert any(name.startswith(".o.") for name in names(tmp_path))
    events.close()
    assert names(tmp_path) == ["in.mp4"]
    assert threading.active_count() == threads


def test_dropped_sound_is_reported(source: Path, tmp_path: Path) -> None:
    events: list[fg.Event] = []
    fg.run(
        fg.Interpolate(slow=2, sound="drop"), source, tmp_path / "out.mp4", on_event=events.append
    )
    assert any(isinstance(event, fg.Warned) and "aac" in event.message for event in events)


def test_thread_counts_are_restored(source: Path) -> None:
    before = cv2.getNumThreads()
    with threads.pin_threads(fg.Plan(opencv_threads=before + 1)):
        assert cv2.getNumThreads() == before + 1
    assert cv2.getNumThreads() == before


def test_plan_for_another_chain_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="3 stages"):
        fg.run(fg.Interpolate(), source, tmp_path / "out.mp4", plan=fg.Plan(batches=(1, 1)))


def test_large_frames_move_in_small_chunks() -> None:
    small = StreamSpec(width=64, height=48, rate=None, time_base=Fraction(1, 25), pixels="yuv420p")
    assert make_default_plan(small, small).chunk == 8
    big = StreamSpec(
        width=7680, height=4320, rate=None, time_base=small.time_base, pixels="yuv420p"
    )
    assert make_default_plan(big, big).chunk == 1
    assert 0 < make_default_plan(small, big).queue_bytes <= 64 * MIB
    even = replace(small, rate=Fraction(25))
    plan = make_default_plan(even, even)  # two chunks of three full planes
    assert plan.queue_bytes == 2 * plan.chunk * 3 * small.width * small.height


def test_tasks_in_a_row_run_in_one_pass(source: Path) -> None:
    twice = (fg.Interpolate(factor=2), fg.Interpolate(factor=3))
    frames: list[Frame] = list(fg.frames(twice, source))
    assert len(frames) == 120
    assert [f.index for f in frames] == list(range(120))
