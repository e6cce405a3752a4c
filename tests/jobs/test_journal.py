"""A slow run that is stopped between two commits resumes there, and its result is the same."""

import os
from collections.abc import Generator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import filmgate as fg
from filmgate.core.snapshot import Cursor, Snapshot
from filmgate.errors import Interrupted
from filmgate.jobs import journal
from filmgate.jobs.journal import FrameJournal
from filmgate.jobs.run_directory import RunDirectory
from filmgate.media.sinks import RecordOutput
from tests import videos
from tests.cases import mark_slow_cases

FRAMES, SEGMENT = 7, 4  # one commit before the end
PLAN = fg.Plan(chunk=4, segment_frames=SEGMENT)
STORED = {journal.FRAMES, journal.PROGRESS}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    video = videos.Video(frames=FRAMES, sounds=("aac",))
    return videos.make(video, tmp_path_factory.mktemp("in") / "in.mp4")


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that takes long for a segment: here every point is worth storing."""
    monkeypatch.setattr(journal, "INTERVAL_S", 0.0)


def job_of(source: Path, path: Path) -> fg.Job:
    sink: Any = fg.VideoOutput(path, preset="veryfast")
    if path.suffix == ".png":
        sink = fg.ImageOutput(path)
    elif path.suffix == ".jsonl":
        sink = RecordOutput(path)
    return fg.Job(fg.VideoFile(source), sink, (fg.Interpolate(factor=2),))


def run_and_pause(job: fg.Job, plan: fg.Plan = PLAN) -> Generator[int, None, None]:
    """Pause a run at every point that it stores, until it is done; yield where it began."""
    options = fg.ResumeOptions(pause_after=Fraction(0))
    for _ in range(100):
        read, done = 0, False
        try:
            for event in fg.events(job, plan, resume_options=options):
                read = event.read if isinstance(event, fg.Started) else read
                done = done or isinstance(event, fg.Done)
        except Interrupted:
            pass
        yield read
        if done:
            return


def read_all(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else sorted(path.parent.iterdir())
    return {file.name: file.read_bytes() for file in files}


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize(
    "name", mark_slow_cases(["out.jsonl"], ["out.jsonl", "out.mp4", "frames/%04d.png"])
)
def test_run_stopped_between_commits_resumes_there(name: str, source: Path, tmp_path: Path) -> None:
    """The encoder gets the frames since the last commit again: the file is the same, byte for
    byte."""
    job = job_of(source, tmp_path / "one" / name)
    (tmp_path / "one").mkdir()
    list(fg.events(job, PLAN))
    again = job_of(source, tmp_path / "other" / name)
    (tmp_path / "other").mkdir()
    starts = list(run_and_pause(again))
    assert starts[: FRAMES + 1] == list(range(FRAMES + 1))
    assert {*starts[FRAMES + 1 :]} == {FRAMES}, "the calls at the end"
    assert read_all(tmp_path / "one" / name) == read_all(tmp_path / "other" / name)
    assert os.listdir(tmp_path / "other") == [name.partition("/")[0]]


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize(
    ("name", "way"),
    [
        (journal.FRAMES, "truncated"),
        *(
            pytest.param(name, way, marks=pytest.mark.slow)
            for name in sorted(STORED)
            for way in ("changed", "missing")
        ),
    ],
)
def test_damaged_journal_costs_time_and_nothing_else(
    name: str, way: str, source: Path, tmp_path: Path
) -> None:
    job = job_of(source, tmp_path / "out.mp4")
    list(fg.events(job, PLAN))
    reference = (tmp_path / "out.mp4").read_bytes()
    (tmp_path / "out.mp4").unlink()
    runs = run_and_pause(job)
    until = SEGMENT + 2
    assert [next(runs) for _ in range(until)] == list(range(until))
    file = RunDirectory.for_result(tmp_path / "out.mp4").path / name
    data = file.read_bytes()
    file.unlink()
    if way != "missing":
        middle = len(data) // 2
        file.write_bytes(data[:middle] + (b"" if way == "truncated" else b"?" + data[middle + 1 :]))
    assert next(runs) == SEGMENT, "the last commit"
    assert list(runs)[-1] == FRAMES
    assert (tmp_path / "out.mp4").read_bytes() == reference


def test_fast_run_stores_no_frames(source: Path, tmp_path: Path) -> None:
    job = job_of(source, tmp_path / "out.mp4")
    stored = set()
    for event in fg.events(job, PLAN):
        if isinstance(event, fg.Progress) and event.read > SEGMENT:
            stored |= STORED & set(os.listdir(tmp_path / "out.mp4.filmgate"))
    assert not stored


def write_frames(log: FrameJournal, moments: Sequence[tuple[float, int, int]]) -> list[bool]:
    """Write frames at times in seconds: (time, source frames, frames that come out).

    Return whether frames are stored after each.
    """
    frame = fg.Frame(0, Fraction(0), Fraction(1, 25), np.zeros((2, 2, 3), np.float32))
    stored = []
    for time, read, count in moments:
        clock.now = time
        log.write([frame] * count, read)
        stored.append(log._file is not None)
    return stored


clock = SimpleNamespace(now=0.0)
# Of segments of 100 frames: what is written, and whether the run is stored after each.
SEGMENTS: dict[str, tuple[list[tuple[float, int, int]], list[bool]]] = {
    "fast": ([(0.5, 8, 8), (1, 16, 8)], [False, False]),
    "slow": ([(8, 8, 8), (16, 16, 8)], [True, True]),
    "fast, after it was loaded": ([(8, 8, 8), (8.5, 64, 56)], [True, False]),
    "a clip that is long": ([(0.1, 8, 0), (0.2, 16, 0), (300, 24, 24)], [True, True, True]),
}


@pytest.mark.parametrize("kind", SEGMENTS)
def test_first_segment_is_stored_until_it_is_known_to_be_fast(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments, expected = SEGMENTS[kind]
    clock.now = 0.0
    monkeypatch.setattr(journal, "monotonic", lambda: clock.now)
    log = FrameJournal(RunDirectory(tmp_path))
    log.restore(None, 100)
    assert write_frames(log, moments) == expected
    log.close()


def test_segment_after_a_slow_one_is_stored_from_its_start_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.now = 0.0
    monkeypatch.setattr(journal, "monotonic", lambda: clock.now)
    log = FrameJournal(RunDirectory(tmp_path))
    log.restore(None, 100)
    write_frames(log, [(20, 100, 100)])
    log.commit(Snapshot(Cursor(100, 0), (), (), 1))
    fast = [(20.1, 108, 8), (20.2, 116, 8)]
    assert write_frames(log, fast) == [True, True]
    log.save(Snapshot(Cursor(116, 0), (), (), 1))
    log.close()

    resumed = FrameJournal(RunDirectory(tmp_path))
    assert resumed.restore(Snapshot(Cursor(100, 0), (), (), 1), 100) is not None
    resumed.commit(Snapshot(Cursor(200, 0), (), (), 2))  # soon: most was done before
    assert write_frames(resumed, [(20.3, 208, 8)]) == [True]
    clock.now = 21
    resumed.commit(Snapshot(Cursor(300, 0), (), (), 3))
    assert write_frames(resumed, [(21.1, 308, 8)]) == [False], "a fast segment was the last one"


@pytest.mark.usefixtures("slow")
def test_full_disk_ends_the_journal_and_not_the_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal.FrameJournal, "_open", open_full)
    job = job_of(source, tmp_path / "out.mp4")
    (*_, done) = fg.events(job, PLAN)
    assert isinstance(done, fg.Done)


def open_full(self: journal.FrameJournal, mode: str) -> None:
    self._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115


@pytest.mark.usefixtures("slow")
def test_frames_to_replace_need_the_start_of_their_segment(source: Path, tmp_path: Path) -> None:
    """They show the last good image since then, which a later point does not have."""
    plan = replace(PLAN, bad_frames=((1, 3),))
    assert list(run_and_pause(job_of(source, tmp_path / "out.mp4"), plan)) == [0, SEGMENT]
