"""Law 8 in one process: stopped or damaged anywhere, the same result, or a clear refusal."""

import ast
import errno
import json
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import filmgate as fg
from filmgate.errors import (
    BadSetting,
    Busy,
    DiskFull,
    Exit,
    FilmgateError,
    Interrupted,
    OutputExists,
)
from filmgate.jobs import identity
from filmgate.jobs.run_directory import RunDirectory
from filmgate.models.families.film import FilmOptions
from filmgate.storage import atomic
from tests.cases import mark_slow_cases, mark_slow_combinations
from tests.house.tree import list_statements, parse_files
from tests.jobs.resumable_runs import FRAMES, PLAN, SEGMENT, job_of, resume, run_until, sink_of
from tests.models import tiny


@pytest.mark.parametrize("commits", mark_slow_cases([3], [1, 2, 3]))
def test_run_stopped_at_a_commit_resumes_from_there(
    commits: int, source: Path, tmp_path: Path, reference: bytes
) -> None:
    job = job_of(source, tmp_path / "out.mp4")
    run_until(job, commits)
    assert resume(job)[0] == SEGMENT * commits
    assert (tmp_path / "out.mp4").read_bytes() == reference
    assert os.listdir(tmp_path) == ["out.mp4"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0 if path.suffix == ".json" else len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


PIECE, STATE, FIRST, TABLE = (
    ("000003.nut", 2 * SEGMENT),
    ("000003.snapshot", 2 * SEGMENT),
    ("000001.nut", None),
    ("commits.json", None),
)
# every file once, and every damage once
DAMAGES = [
    (PIECE, truncate),
    (STATE, flip_bit),
    (FIRST, Path.unlink),
    (TABLE, truncate),
]


@pytest.mark.parametrize(
    ("name", "expected", "harm"),
    mark_slow_combinations(
        DAMAGES, [PIECE, STATE, FIRST, TABLE], [truncate, flip_bit, Path.unlink]
    ),
)
def test_damage_is_reported_and_computed_again(
    harm: Callable[[Path], None], name: str, expected: int | None, source: Path, tmp_path: Path,
    reference: bytes,
) -> None:  # fmt: skip
    """The latest two commits are kept: without them a run is refused until --restart."""
    job = job_of(source, tmp_path / "out.mp4")
    folder = run_until(job, 3).path
    harm(folder / name)
    if name == "commits.json" and harm is Path.unlink:
        expected = 0  # as if it was killed before its first commit
    if expected is None:
        with pytest.raises(BadSetting, match=f"{name}.*--restart"):
            resume(job)
        assert (folder / "000002.nut").exists()
        list(fg.events(job, PLAN, resume_options=fg.ResumeOptions(restart=True)))
    else:
        first, warnings = resume(job)
        assert first == expected
        assert any(name in message for message in warnings) or name == "commits.json"
    assert (tmp_path / "out.mp4").read_bytes() == reference


@pytest.mark.parametrize("both", [("000002.snapshot", "000003.snapshot")])
def test_run_with_two_damaged_snapshots_is_refused(
    both: tuple[str, str], source: Path, tmp_path: Path, reference: bytes
) -> None:
    job = job_of(source, tmp_path / "out.mp4")
    folder = run_until(job, 3)
    for name in both:
        truncate(folder.path / name)
    with pytest.raises(BadSetting, match=r"000003.snapshot is damaged; .*000002.*--restart"):
        resume(job)
    list(fg.events(job, PLAN, resume_options=fg.ResumeOptions(restart=True)))
    assert (tmp_path / "out.mp4").read_bytes() == reference


def test_other_settings_videos_and_versions_are_refused_with_their_names(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: bytes
) -> None:
    video = Path(shutil.copy(source, tmp_path / "in.mp4"))
    job = job_of(video, tmp_path / "out.mp4")
    run_until(job, 1)
    other = replace(job, tasks=(fg.Interpolate(factor=3),))
    with pytest.raises(BadSetting, match=r"--factor was 2, is 3.*--restart"):
        list(fg.events(other, PLAN))
    with pytest.raises(BadSetting, match=r"--crf was not set, is 20"):
        list(fg.events(replace(job, sink=replace(job.sink, crf=20)), PLAN))  # type: ignore[type-var]
    with pytest.raises(BadSetting, match=r"chunk of the plan was 2, is 3"):
        list(fg.events(job, replace(PLAN, chunk=3)))
    with pytest.raises(BadSetting, match=r"--threads was not set, is 1"):
        list(fg.events(job, limits=fg.Limits(threads=1)))
    monkeypatch.setattr(identity, "read_version", lambda name: "0.0.1")
    with pytest.raises(BadSetting, match=r'the version of av was "[\d.]+", is "0.0.1"'):
        list(fg.events(job, PLAN))
    monkeypatch.undo()
    flip_bit(video)
    with pytest.raises(BadSetting, match=r"in.mp4 was changed since .*: its content is another"):
        list(fg.events(job, PLAN))
    flip_bit(video)
    events = list(fg.events(job, PLAN, resume_options=fg.ResumeOptions(restart=True)))
    assert [event.read for event in events if isinstance(event, fg.Started)] == [0]
    assert (tmp_path / "out.mp4").read_bytes() == reference


def test_images_of_another_run_are_refused_and_their_own_run_resumes(
    source: Path, tmp_path: Path
) -> None:
    sink = fg.ImageOutput(tmp_path / "frames" / "%06d.png")
    job = fg.Job(fg.VideoFile(source), sink, (fg.Interpolate(factor=2),))
    events = fg.events(job, PLAN)
    while not isinstance(next(events), fg.Committed):
        pass
    events.close()
    other = replace(job, tasks=(fg.Interpolate(factor=3),))
    with pytest.raises(BadSetting, match=r"--factor was 2, is 3.*--restart"):
        list(fg.events(other, PLAN))
    with pytest.raises(BadSetting, match=r"--png-level was"):
        list(fg.events(replace(job, sink=replace(sink, png_level=9)), PLAN))
    assert resume(job)[0] == SEGMENT
    assert len(list(sink.path.parent.glob("*.png"))) == 2 * FRAMES


def test_run_with_other_weights_is_refused(source: Path, tmp_path: Path) -> None:
    weights = Path(shutil.copy(tiny.weights("film"), tmp_path / "mine.safetensors"))
    task = fg.Interpolate(factor=2, model="film", options=FilmOptions(weights=weights))
    job = fg.Job(fg.VideoFile(source), sink_of(tmp_path / "out.mp4"), (task,))
    run_until(job, 1)
    flip_bit(weights)
    with pytest.raises(BadSetting, match=r"mine.safetensors was changed since .*: its content is"):
        list(fg.events(job, PLAN))
    flip_bit(weights)
    with closing(fg.events(job, PLAN)) as events:
        assert next(event.read for event in events if isinstance(event, fg.Started)) == SEGMENT


def test_second_run_at_the_same_time_is_refused(source: Path, tmp_path: Path) -> None:
    job = job_of(source, tmp_path / "out.mp4")
    first = fg.events(job, PLAN)
    next(first)
    with pytest.raises(Busy, match=f"in use by process {os.getpid()}") as caught:
        list(fg.events(job, PLAN))
    assert caught.value.exit_code == Exit.BUSY
    first.close()
    resume(job)


def test_existing_result_is_not_replaced(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"precious")
    with pytest.raises(OutputExists):
        list(fg.events(job_of(source, tmp_path / "out.mp4"), PLAN))
    assert os.listdir(tmp_path) == ["out.mp4"]


@pytest.mark.parametrize(
    "name",
    mark_slow_cases(
        ["000002.nut", "commits.json"],
        ["000002.nut", "000002.snapshot", "commits.json", "result.mp4"],
    ),
)
def test_run_stopped_by_a_full_disk_resumes(
    name: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: bytes
) -> None:
    job, replace, full = job_of(source, tmp_path / "out.mp4"), os.replace, []

    def fail(before: Path, after: Path) -> None:
        """Fail where a file of this name is complete, from the second commit on."""
        if name in (Path(before).name, Path(after).name):
            full.append(name)
            if name != "commits.json" or len(full) > 1:
                raise OSError(errno.ENOSPC, "No space left on device")
        replace(before, after)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(FilmgateError, match=r"Free some space; the same command resumes"):
        list(fg.events(job, PLAN))
    assert os.listdir(tmp_path) == ["out.mp4.filmgate"]
    monkeypatch.undo()
    if name == "result.mp4":  # it is complete, and only gets its name
        assert [type(event) for event in fg.events(job, PLAN)] == [fg.Warned, fg.Done]
    else:
        assert resume(job)[0] >= SEGMENT
    assert (tmp_path / "out.mp4").read_bytes() == reference


def test_run_killed_before_its_directory_is_removed_is_done(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: bytes
) -> None:
    job = job_of(source, tmp_path / "out.mp4")
    monkeypatch.setattr(RunDirectory, "remove", lambda self: None)
    list(fg.events(job, PLAN))
    monkeypatch.undo()
    assert sorted(os.listdir(tmp_path)) == ["out.mp4", "out.mp4.filmgate"]
    notice, done = fg.events(job, PLAN)
    assert isinstance(notice, fg.Warned)
    assert "out.mp4 is complete" in notice.message
    assert isinstance(done, fg.Done)
    assert (done.read, done.written) == (FRAMES, 2 * FRAMES)
    assert os.listdir(tmp_path) == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_bytes() == reference


def test_device_that_no_model_uses_is_a_warning(source: Path, tmp_path: Path) -> None:
    sink = sink_of(tmp_path / "out.mp4")
    job = fg.Job(fg.VideoFile(source), sink, (fg.Interpolate(device="cuda:1"),))
    first = next(fg.events(job, PLAN))
    assert isinstance(first, fg.Warned)
    assert first.message == "--device cuda:1 has no effect: dis can only run on the CPU"


def test_work_is_the_folder_of_the_run(source: Path, tmp_path: Path, reference: bytes) -> None:
    job, work = job_of(source, tmp_path / "out.mp4"), fg.ResumeOptions(work=tmp_path / "elsewhere")
    run_until(job, 1, resume_options=work)
    assert sorted(os.listdir(tmp_path)) == ["elsewhere"]
    list(fg.events(job, PLAN, resume_options=work))
    assert os.listdir(tmp_path) == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_bytes() == reference


def test_work_folder_that_cannot_be_created_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    work = fg.ResumeOptions(work=tmp_path / "file" / "work")
    with pytest.raises(BadSetting, match=r"[Pp]ass another folder (to|with) --work"):
        list(fg.events(job_of(source, tmp_path / "out.mp4"), PLAN, resume_options=work))


def test_pause_is_at_a_commit(source: Path, tmp_path: Path, reference: bytes) -> None:
    job = job_of(source, tmp_path / "out.mp4")
    with pytest.raises(Interrupted, match=f"paused at frame {SEGMENT}: the same command resumes"):
        list(fg.events(job, PLAN, resume_options=fg.ResumeOptions(pause_after=Fraction(0))))
    assert resume(job)[0] == SEGMENT
    assert (tmp_path / "out.mp4").read_bytes() == reference


def test_batch_reduced_by_out_of_memory_stays_reduced(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filmgate.tasks.interpolate import FillGap

    draw, failed = FillGap.__call__, []

    def small(self: Any, windows: Any) -> Any:
        if len(windows) > 2 and windows[-1].centre.index >= 10:
            failed.append(windows[0].centre.index)
            raise MemoryError("4 GB wanted")
        return draw(self, windows)

    monkeypatch.setattr(FillGap, "__call__", small)
    plan = replace(PLAN, chunk=4, segment_frames=8, batches=(1, 4, 1))
    sink = fg.VideoOutput(tmp_path / "out.mkv", codec="ffv1")
    job = fg.Job(fg.VideoFile(source), sink, (fg.Interpolate(factor=2),))
    events = fg.events(job, plan)
    seen = [next(events)]
    while not isinstance(seen[-1], fg.Committed) or seen[-1].snapshot.cursor.index < 16:
        seen.append(next(events))
    events.close()
    (replanned,) = [event for event in seen if isinstance(event, fg.Replanned)]
    kept = json.loads((RunDirectory.for_result(sink.path).path / "plan.json").read_text())["plan"]
    assert kept["reduced_batches"] == [{"index": replanned.index, "stage": 1, "batch": 2}]
    failures = len(failed)
    rest = list(fg.events(job, plan))
    assert not [event for event in rest if isinstance(event, fg.Replanned)]
    assert len(failed) == failures, "the batch that does not fit was tried again"


def test_no_module_reads_the_wall_clock() -> None:
    """A clock that is set back must not matter: only monotonic clocks are imported.

    But for the queue, which reads the time of day once, when it is opened, and tells its owner's.
    """
    places = ("jobs", "core", "backends", "media/writing")
    trees = {
        name: tree
        for place in places
        for name, tree in parse_files(f"src/filmgate/{place}").items()
    }
    assert len(trees) > 20
    for name in ("clock", "owner"):
        assert trees.pop(f"src/filmgate/jobs/queue/{name}.py")
    for name, tree in trees.items():
        for node in list_statements(tree):
            if isinstance(node, ast.Import):
                asked = {alias.name for alias in node.names} & {"time", "datetime"}
                assert not asked, name
            elif isinstance(node, ast.ImportFrom) and node.module in ("time", "datetime"):
                steady = {"perf_counter", "monotonic", "process_time", "thread_time"}
                assert {alias.name for alias in node.names} <= steady, name


def test_full_disk_at_the_sync_of_a_segment_pauses_the_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: bytes
) -> None:
    """A disk may have taken the bytes, and fail only when they must be there."""
    job, sync, calls = job_of(source, tmp_path / "out.mp4"), atomic.fsync_file, []

    def fail(path: Path) -> None:
        calls.append(path)
        if ".nut" in path.name and len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(path)

    monkeypatch.setattr(atomic, "fsync_file", fail)
    with pytest.raises(DiskFull, match=rf"Paused at frame {SEGMENT}. Free some space"):
        list(fg.events(job, PLAN))
    monkeypatch.undo()
    assert resume(job)[0] == SEGMENT
    assert (tmp_path / "out.mp4").read_bytes() == reference


def test_no_file_is_synced_twice_without_a_write_between(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, synced = os.fsync, list[tuple[int, int, int]]()

    def note(handle: int) -> None:
        state = os.fstat(handle)
        if stat.S_ISREG(state.st_mode):
            synced.append((state.st_ino, state.st_size, state.st_mtime_ns))
        sync(handle)

    monkeypatch.setattr(os, "fsync", note)
    list(fg.events(job_of(source, tmp_path / "out.mp4"), PLAN))
    assert len(synced) > 6  # job, plan, segments, snapshots, lists and the result
    assert len({*synced}) == len(synced)


def test_directory_removed_during_a_run_is_reported(source: Path, tmp_path: Path) -> None:
    events = fg.events(job_of(source, tmp_path / "out.mp4"), PLAN)
    while not isinstance(next(events), fg.Committed):
        pass
    shutil.rmtree(tmp_path / "out.mp4.filmgate")
    with pytest.raises(FilmgateError, match="was removed while the run worked in it"):
        list(events)
    assert os.listdir(tmp_path) == []
