"""Law 8 in one process: left anywhere, torn anywhere, the same film, or words that say why not."""

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
from tests import videos
from tests.cases import crossed
from tests.house.tree import code
from tests.models import tiny

VIDEO = videos.Video(frames=30, times=(), sounds=("aac",))
PLAN = fg.Plan(chunk=2, segment_frames=8, guard=False)  # networks here are tiny


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return videos.make(VIDEO, tmp_path_factory.mktemp("source") / "in.mp4")


@pytest.fixture(scope="module")
def reference(source: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The film that an undisturbed run makes."""
    out = tmp_path_factory.mktemp("whole") / "out.mp4"
    fg.run(fg.Interpolate(factor=2), source, sink_of(out), plan=PLAN)
    return out.read_bytes()


def sink_of(out: Path) -> fg.VideoOutput:
    return fg.VideoOutput(out, preset="veryfast")


def job_of(source: Path, out: Path) -> fg.Job:
    return fg.Job(fg.VideoFile(source), sink_of(out), (fg.Interpolate(factor=2),))


def leave(job: fg.Job, commits: int, **said: Any) -> RunDirectory:
    """Runs the job and leaves it behind that many commits; the folder it leaves."""
    events = fg.events(job, PLAN, **said)
    for _ in range(commits):
        while not isinstance(next(events), fg.Committed):
            pass
    events.close()
    assert isinstance(job.sink, fg.VideoOutput)
    assert not job.sink.path.exists()
    return RunDirectory.beside(job.sink.path)


def go_on(job: fg.Job) -> tuple[int, list[str]]:
    """Goes on to the end; from which source frame, and what was warned of."""
    events = list(fg.events(job, PLAN))
    (begun,) = [event.read for event in events if isinstance(event, fg.Started)]
    assert isinstance(events[-1], fg.Done)
    assert (events[-1].read, events[-1].written) == (30, 60)
    return begun, [event.message for event in events if isinstance(event, fg.Warned)]


@pytest.mark.parametrize("commits", [1, 2, 3])
def test_left_at_a_commit_it_goes_on_from_there(
    commits: int, source: Path, tmp_path: Path, reference: bytes
) -> None:
    job = job_of(source, tmp_path / "out.mp4")
    leave(job, commits)
    assert go_on(job)[0] == 8 * commits
    assert (tmp_path / "out.mp4").read_bytes() == reference
    assert os.listdir(tmp_path) == ["out.mp4"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def turned(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


PIECE, STATE, FIRST, TABLE = (
    ("000003.nut", 16),
    ("000003.snapshot", 16),
    ("000001.nut", 0),
    ("commits.json", 0),
)
# every file once, every harm once, and a changed table, which alone may still be right
TORN = [(PIECE, cut), (STATE, turned), (FIRST, Path.unlink), (TABLE, cut), (TABLE, turned)]


@pytest.mark.parametrize(
    ("name", "begins", "harm"),
    crossed(TORN, [PIECE, STATE, FIRST, TABLE], [cut, turned, Path.unlink]),
)
def test_what_is_torn_is_told_and_made_again(
    harm: Callable[[Path], None], name: str, begins: int, source: Path, tmp_path: Path,
    reference: bytes,
) -> None:  # fmt: skip
    """The latest two commits are kept: behind them a run begins anew."""
    job = job_of(source, tmp_path / "out.mp4")
    harm(leave(job, 3).path / name)
    begun, warned = go_on(job)
    assert begun == begins or (name == "commits.json" and harm is turned and begun == 24)
    assert any(name in message for message in warned) or name == "commits.json"
    assert (tmp_path / "out.mp4").read_bytes() == reference


@pytest.mark.parametrize("both", [("000002.snapshot", "000003.snapshot")])
def test_where_both_snapshots_are_torn_it_begins_anew(
    both: tuple[str, str], source: Path, tmp_path: Path, reference: bytes
) -> None:
    job = job_of(source, tmp_path / "out.mp4")
    folder = leave(job, 3)
    for name in both:
        cut(folder.path / name)
    assert go_on(job)[0] == 0
    assert (tmp_path / "out.mp4").read_bytes() == reference


def test_other_settings_other_films_and_other_versions_are_refused_by_name(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: bytes
) -> None:
    video = Path(shutil.copy(source, tmp_path / "in.mp4"))
    job = job_of(video, tmp_path / "out.mp4")
    leave(job, 1)
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
    turned(video)
    with pytest.raises(BadSetting, match=r"films.0.sha256_of_samples was"):
        list(fg.events(job, PLAN))
    turned(video)
    events = list(fg.events(job, PLAN, durable=fg.ResumeOptions(restart=True)))
    assert [event.read for event in events if isinstance(event, fg.Started)] == [0]
    assert (tmp_path / "out.mp4").read_bytes() == reference


def test_other_weights_are_another_run(source: Path, tmp_path: Path) -> None:
    weights = Path(shutil.copy(tiny.weights("film"), tmp_path / "mine.safetensors"))
    task = fg.Interpolate(factor=2, model="film", weights=weights)
    job = fg.Job(fg.VideoFile(source), sink_of(tmp_path / "out.mp4"), (task,))
    leave(job, 1)
    turned(weights)
    with pytest.raises(BadSetting, match=r"weights.0.sha256_of_samples was"):
        list(fg.events(job, PLAN))
    turned(weights)
    assert go_on(job)[0] == 8


def test_two_at_once_the_second_is_told_who_is_first(source: Path, tmp_path: Path) -> None:
    job = job_of(source, tmp_path / "out.mp4")
    first = fg.events(job, PLAN)
    next(first)
    with pytest.raises(Busy, match=f"in use by process {os.getpid()}") as caught:
        list(fg.events(job, PLAN))
    assert caught.value.exit_code == Exit.BUSY
    first.close()
    go_on(job)


def test_a_film_that_is_there_already_stays(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"precious")
    with pytest.raises(OutputExists):
        list(fg.events(job_of(source, tmp_path / "out.mp4"), PLAN))
    assert os.listdir(tmp_path) == ["out.mp4"]


@pytest.mark.parametrize("name", ["000002.nut", "000002.snapshot", "commits.json", "result.mp4"])
def test_a_full_disk_stops_it_with_words_and_it_goes_on(
    name: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: bytes
) -> None:
    job, sync, full = job_of(source, tmp_path / "out.mp4"), os.fsync, []

    def fsync(handle: int) -> None:
        """Where a file that is written later is found to have no room."""
        if name.split(".")[0] in os.readlink(f"/proc/self/fd/{handle}"):
            full.append(name)
            if name != "commits.json" or len(full) > 1:
                raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(FilmgateError, match=r"make room, and the same command goes on"):
        list(fg.events(job, PLAN))
    assert os.listdir(tmp_path) == ["out.mp4.filmgate"]
    monkeypatch.undo()
    assert go_on(job)[0] >= 8
    assert (tmp_path / "out.mp4").read_bytes() == reference


def test_killed_before_its_folder_is_gone_the_same_command_says_done(
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


def test_it_works_where_it_is_told_to(source: Path, tmp_path: Path, reference: bytes) -> None:
    job, work = job_of(source, tmp_path / "out.mp4"), fg.ResumeOptions(work=tmp_path / "elsewhere")
    leave(job, 1, durable=work)
    assert sorted(os.listdir(tmp_path)) == ["elsewhere"]
    list(fg.events(job, PLAN, durable=work))
    assert os.listdir(tmp_path) == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_bytes() == reference


def test_where_no_folder_can_be_another_is_asked_for(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    work = fg.ResumeOptions(work=tmp_path / "file" / "work")
    with pytest.raises(BadSetting, match="name another with --work"):
        list(fg.events(job_of(source, tmp_path / "out.mp4"), PLAN, durable=work))


def test_a_pause_is_at_a_commit(source: Path, tmp_path: Path, reference: bytes) -> None:
    job = job_of(source, tmp_path / "out.mp4")
    with pytest.raises(Interrupted, match="paused at frame 8: the same command goes on"):
        list(fg.events(job, PLAN, durable=fg.ResumeOptions(pause_after=Fraction(0))))
    assert go_on(job)[0] == 8
    assert (tmp_path / "out.mp4").read_bytes() == reference


def test_what_out_of_memory_made_smaller_stays_so(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filmgate.tasks.interpolate import Draw

    draw, failed = Draw.__call__, []

    def small(self: Any, windows: Any) -> Any:
        if len(windows) > 2 and windows[-1].centre.index >= 10:
            failed.append(windows[0].centre.index)
            raise MemoryError("4 GB wanted")
        return draw(self, windows)

    monkeypatch.setattr(Draw, "__call__", small)
    plan = replace(PLAN, chunk=4, batches=(1, 4, 1))
    sink = fg.VideoOutput(tmp_path / "out.mkv", codec="ffv1")
    job = fg.Job(fg.VideoFile(source), sink, (fg.Interpolate(factor=2),))
    events = fg.events(job, plan)
    told = [next(events)]
    while not isinstance(told[-1], fg.Committed) or told[-1].snapshot.cursor.index < 16:
        told.append(next(events))
    events.close()
    (replanned,) = [event for event in told if isinstance(event, fg.Replanned)]
    kept = json.loads((RunDirectory.beside(sink.path).path / "plan.json").read_text())["plan"]
    assert kept["shrunk"] == [{"index": replanned.index, "stage": 1, "batch": 2}]
    once = len(failed)
    rest = list(fg.events(job, plan))
    assert not [event for event in rest if isinstance(event, fg.Replanned)]
    assert len(failed) == once, "the batch that does not fit was tried again"


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture
def paused(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    said = f"interpolate {source} out.mp4 --preset veryfast --segment 0.3 --pause-after 0 --quiet"
    assert main(said.split()) == Exit.INTERRUPTED
    return tmp_path / "out.mp4"


def test_what_waits_is_shown_gone_on_with_and_cleaned(
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
    assert "no run waits here" in capsys.readouterr().out
    assert main(["resume", "out.mp4"]) == Exit.USER


def test_what_is_refused_is_the_users_mistake(
    paused: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ["interpolate", str(source), "out.mp4", "--segment", "0.3", "--quiet"]
    assert main([*said, "--preset", "fast"]) == Exit.USER
    assert 'output.preset was "veryfast", is "fast"' in capsys.readouterr().err
    folder = RunDirectory.beside(paused)
    with folder.held():
        assert main([*said, "--preset", "veryfast", "--in-process"]) == Exit.BUSY
    assert main([*said, "--preset", "fast", "--restart", "--in-process"]) == Exit.DONE
    assert os.listdir(paused.parent) == ["out.mp4"]


def test_cleaning_asks_what(paused: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "clean"]) == Exit.USER
    assert "wanted results" in capsys.readouterr().err
    assert main(["jobs", "clean", "out.mp4"]) == Exit.DONE
    assert os.listdir(paused.parent) == []


def test_a_signal_pauses(
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
    assert "the same command goes on from frame 8" in capsys.readouterr().err
    monkeypatch.undo()
    assert go_on(job_of(source, tmp_path / "out.mp4"))[0] == 8
    assert (tmp_path / "out.mp4").read_bytes() == reference


def test_nobody_asks_the_clock() -> None:
    """One that is set back must change nothing: only clocks that can't be set are imported."""
    places = ("src/filmgate/jobs", "src/filmgate/core", "src/filmgate/backends")
    trees = {name: tree for place in places for name, tree in code(place).items()}
    trees |= {name: tree for name, tree in code("src/filmgate/media").items()
              if name.endswith(("segments.py", "write.py"))}  # fmt: skip
    assert len(trees) > 20
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                asked = {alias.name for alias in node.names} & {"time", "datetime"}
                assert not asked, name
            elif isinstance(node, ast.ImportFrom) and node.module in ("time", "datetime"):
                steady = {"perf_counter", "monotonic", "process_time"}
                assert {alias.name for alias in node.names} <= steady, name
