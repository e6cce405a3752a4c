"""Law 8 in one process: stopped or damaged anywhere, the same result, or a clear refusal."""

import ast
import errno
import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import filmgate as fg
from filmgate.cli.main import main
from filmgate.errors import BadSetting, Busy, Exit, FilmgateError, Interrupted, OutputExists
from filmgate.jobs import identity
from filmgate.jobs.run_directory import RunDirectory
from filmgate.models.families.film import FilmOptions
from tests import videos
from tests.cases import mark_slow_combinations
from tests.house.tree import parse_files
from tests.models import tiny

VIDEO = videos.Video(frames=30, times=(), sounds=("aac",))
PLAN = fg.Plan(chunk=2, segment_frames=8, guard=False)  # networks here are tiny


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return videos.make(VIDEO, tmp_path_factory.mktemp("source") / "in.mp4")


@pytest.fixture(scope="module")
def reference(source: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The result of an uninterrupted run."""
    out = tmp_path_factory.mktemp("reference") / "out.mp4"
    fg.run(fg.Interpolate(factor=2), source, sink_of(out), plan=PLAN)
    return out.read_bytes()


def sink_of(out: Path) -> fg.VideoOutput:
    return fg.VideoOutput(out, preset="veryfast")


def job_of(source: Path, out: Path) -> fg.Job:
    return fg.Job(fg.VideoFile(source), sink_of(out), (fg.Interpolate(factor=2),))


def run_until(job: fg.Job, commits: int, **options: Any) -> RunDirectory:
    """Run the job, stop after that many commits and return the run's directory."""
    events = fg.events(job, PLAN, **options)
    for _ in range(commits):
        while not isinstance(next(events), fg.Committed):
            pass
    events.close()
    assert isinstance(job.sink, fg.VideoOutput)
    assert not job.sink.path.exists()
    return RunDirectory.for_result(job.sink.path)


def resume(job: fg.Job) -> tuple[int, list[str]]:
    """Resume to the end; return the first source frame and the warnings."""
    events = list(fg.events(job, PLAN))
    (first,) = [event.read for event in events if isinstance(event, fg.Started)]
    assert isinstance(events[-1], fg.Done)
    assert (events[-1].read, events[-1].written) == (30, 60)
    return first, [event.message for event in events if isinstance(event, fg.Warned)]


@pytest.mark.parametrize("commits", [1, 2, 3])
def test_run_stopped_at_a_commit_resumes_from_there(
    commits: int, source: Path, tmp_path: Path, reference: bytes
) -> None:
    job = job_of(source, tmp_path / "out.mp4")
    run_until(job, commits)
    assert resume(job)[0] == 8 * commits
    assert (tmp_path / "out.mp4").read_bytes() == reference
    assert os.listdir(tmp_path) == ["out.mp4"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


PIECE, STATE, FIRST, TABLE = (
    ("000003.nut", 16),
    ("000003.snapshot", 16),
    ("000001.nut", 0),
    ("commits.json", 0),
)
# every file once, every damage once, and a changed list, which may still be valid
DAMAGES = [
    (PIECE, truncate),
    (STATE, flip_bit),
    (FIRST, Path.unlink),
    (TABLE, truncate),
    (TABLE, flip_bit),
]


@pytest.mark.parametrize(
    ("name", "expected", "harm"),
    mark_slow_combinations(
        DAMAGES, [PIECE, STATE, FIRST, TABLE], [truncate, flip_bit, Path.unlink]
    ),
)
def test_damage_is_reported_and_computed_again(
    harm: Callable[[Path], None], name: str, expected: int, source: Path, tmp_path: Path,
    reference: bytes,
) -> None:  # fmt: skip
    """The latest two commits are kept: without them a run starts again."""
    job = job_of(source, tmp_path / "out.mp4")
    harm(run_until(job, 3).path / name)
    first, warnings = resume(job)
    assert first == expected or (name == "commits.json" and harm is flip_bit and first == 24)
    assert any(name in message for message in warnings) or name == "commits.json"
    assert (tmp_path / "out.mp4").read_bytes() == reference


@pytest.mark.parametrize("both", [("000002.snapshot", "000003.snapshot")])
def test_run_with_two_damaged_snapshots_starts_again(
    both: tuple[str, str], source: Path, tmp_path: Path, reference: bytes
) -> None:
    job = job_of(source, tmp_path / "out.mp4")
    folder = run_until(job, 3)
    for name in both:
        truncate(folder.path / name)
    assert resume(job)[0] == 0
    assert (tmp_path / "out.mp4").read_bytes() == reference


def test_other_settings_videos_and_versions_are_refused_with_their_names(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: bytes
) -> None:
    video = Path(shutil.copy(source, tmp_path / "in.mp4"))
    job = job_of(video, tmp_path / "out.mp4")
    run_until(job, 1)
    other = replace(job, tasks=(fg.Interpolate(factor=3),))
    with pytest.raises(BadSetting, match=r"tasks.0.factor was 2, is 3.*--restart"):
        list(fg.events(other, PLAN))
    with pytest.raises(BadSetting, match=r"output.crf was not set, is 20"):
        list(fg.events(replace(job, sink=replace(job.sink, crf=20)), PLAN))  # type: ignore[type-var]
    with pytest.raises(BadSetting, match=r"plan.chunk was 2, is 4"):
        list(fg.events(job, replace(PLAN, chunk=4)))
    with pytest.raises(BadSetting, match=r"limits.threads was not set, is 1"):
        list(fg.events(job, limits=fg.Limits(threads=1)))
    monkeypatch.setattr(identity, "version", lambda name: "0.0.1")
    with pytest.raises(BadSetting, match=r'versions.av was "[\d.]+", is "0.0.1"'):
        list(fg.events(job, PLAN))
    monkeypatch.undo()
    flip_bit(video)
    with pytest.raises(BadSetting, match=r"videos.0.sha256_of_samples was"):
        list(fg.events(job, PLAN))
    flip_bit(video)
    events = list(fg.events(job, PLAN, durable=fg.ResumeOptions(restart=True)))
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
    with pytest.raises(BadSetting, match=r"tasks.0.factor was 2, is 3.*--restart"):
        list(fg.events(other, PLAN))
    with pytest.raises(BadSetting, match=r"output\.png_level"):
        list(fg.events(replace(job, sink=replace(sink, png_level=9)), PLAN))
    assert resume(job)[0] == 8
    assert len(list(sink.path.parent.glob("*.png"))) == 60


def test_run_with_other_weights_is_refused(source: Path, tmp_path: Path) -> None:
    weights = Path(shutil.copy(tiny.weights("film"), tmp_path / "mine.safetensors"))
    task = fg.Interpolate(factor=2, model="film", options=FilmOptions(weights=weights))
    job = fg.Job(fg.VideoFile(source), sink_of(tmp_path / "out.mp4"), (task,))
    run_until(job, 1)
    flip_bit(weights)
    with pytest.raises(BadSetting, match=r"files.0.sha256_of_samples was"):
        list(fg.events(job, PLAN))
    flip_bit(weights)
    assert resume(job)[0] == 8


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


@pytest.mark.parametrize("name", ["000002.nut", "000002.snapshot", "commits.json", "result.mp4"])
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
    assert resume(job)[0] >= 8
    assert (tmp_path / "out.mp4").read_bytes() == reference


def test_run_killed_before_its_directory_is_removed_is_done(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: bytes
) -> None:
    job = job_of(source, tmp_path / "out.mp4")
    monkeypatch.setattr(RunDirectory, "remove", lambda self: None)
    list(fg.events(job, PLAN))
    monkeypatch.undo()
    assert sorted(os.listdir(tmp_path)) == ["out.mp4", "out.mp4.filmgate"]
    (done,) = fg.events(job, PLAN)
    assert isinstance(done, fg.Done)
    assert (done.read, done.written) == (30, 60)
    assert os.listdir(tmp_path) == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_bytes() == reference


def test_work_is_the_folder_of_the_run(source: Path, tmp_path: Path, reference: bytes) -> None:
    job, work = job_of(source, tmp_path / "out.mp4"), fg.ResumeOptions(work=tmp_path / "elsewhere")
    run_until(job, 1, durable=work)
    assert sorted(os.listdir(tmp_path)) == ["elsewhere"]
    list(fg.events(job, PLAN, durable=work))
    assert os.listdir(tmp_path) == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_bytes() == reference


def test_work_folder_that_cannot_be_created_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    work = fg.ResumeOptions(work=tmp_path / "file" / "work")
    with pytest.raises(BadSetting, match="Pass another folder to --work"):
        list(fg.events(job_of(source, tmp_path / "out.mp4"), PLAN, durable=work))


def test_pause_is_at_a_commit(source: Path, tmp_path: Path, reference: bytes) -> None:
    job = job_of(source, tmp_path / "out.mp4")
    with pytest.raises(Interrupted, match="paused at frame 8: the same command resumes"):
        list(fg.events(job, PLAN, durable=fg.ResumeOptions(pause_after=Fraction(0))))
    assert resume(job)[0] == 8
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
    plan = replace(PLAN, chunk=4, batches=(1, 4, 1))
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


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture
def paused(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    said = f"interpolate {source} out.mp4 --preset veryfast --segment 0.3 --pause-after 0 --quiet"
    assert main(said.split()) == Exit.INTERRUPTED
    return tmp_path / "out.mp4"


def test_unfinished_run_is_listed_resumed_and_removed(
    paused: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["jobs", "--json"]) == Exit.DONE
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["result"], shown["read"], shown["frames"]) == (str(paused), 8, 30)
    assert (shown["holder"], shown["place"]) == ("", "out.mp4.filmgate")
    assert main(["jobs"]) == Exit.DONE
    assert "filmgate resume out.mp4.filmgate" in capsys.readouterr().out
    assert main(["resume", "out.mp4", "--quiet"]) == Exit.DONE
    assert paused.exists()
    assert main(["jobs"]) == Exit.DONE
    assert "no unfinished run here" in capsys.readouterr().out
    assert main(["resume", "out.mp4"]) == Exit.USER


def test_refusals_are_user_errors_and_a_lock_is_busy(
    paused: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ["interpolate", str(source), "out.mp4", "--segment", "0.3", "--quiet"]
    assert main([*said, "--preset", "fast"]) == Exit.USER
    assert 'output.preset was "veryfast", is "fast"' in capsys.readouterr().err
    folder = RunDirectory.for_result(paused)
    with folder.lock():
        assert main([*said, "--preset", "veryfast", "--in-process"]) == Exit.BUSY
    assert main([*said, "--preset", "fast", "--restart", "--in-process"]) == Exit.DONE
    assert os.listdir(paused.parent) == ["out.mp4"]


def test_clean_needs_to_know_which_runs(paused: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "clean"]) == Exit.USER
    assert "pass results" in capsys.readouterr().err
    assert main(["jobs", "clean", "out.mp4"]) == Exit.DONE
    assert os.listdir(paused.parent) == []


def test_signal_pauses_the_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], reference: bytes,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    events = fg.events

    def signalled(job: fg.Job, **said: Any) -> Any:
        for event in events(job, PLAN, **said):
            yield event
            if isinstance(event, fg.Committed):
                os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(fg, "events", signalled)
    said = ["interpolate", str(source), "out.mp4", "--preset", "veryfast", "--factor", "2"]
    assert main(said) == Exit.INTERRUPTED
    assert "the same command resumes from frame 8" in capsys.readouterr().err
    monkeypatch.undo()
    assert resume(job_of(source, tmp_path / "out.mp4"))[0] == 8
    assert (tmp_path / "out.mp4").read_bytes() == reference


def test_no_module_reads_the_wall_clock() -> None:
    """A clock that is set back must not matter: only monotonic clocks are imported."""
    places = ("src/filmgate/jobs", "src/filmgate/core", "src/filmgate/backends")
    trees = {name: tree for place in places for name, tree in parse_files(place).items()}
    trees |= {name: tree for name, tree in parse_files("src/filmgate/media").items()
              if "/writing/" in name}  # fmt: skip
    assert len(trees) > 20
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                asked = {alias.name for alias in node.names} & {"time", "datetime"}
                assert not asked, name
            elif isinstance(node, ast.ImportFrom) and node.module in ("time", "datetime"):
                steady = {"perf_counter", "monotonic", "process_time"}
                assert {alias.name for alias in node.names} <= steady, name
