"""Records as the only output: one JSON line each, resumed without a trace."""

import json
import os
import subprocess
import sys
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import pytest

import filmgate as fg
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.outputs import open_outputs
from filmgate.core.snapshot import Cursor, Snapshot
from filmgate.core.source_metadata import SourceMetadata
from filmgate.errors import FilmgateError, OutputExists
from filmgate.media.records.text import format_records
from filmgate.media.sinks import RecordOutput
from filmgate.tasks.job_config import job_from
from tests.media.records.counting import PLAN, Count
from tests.processes import KILLED
from tests.videos import Video, make

WANTED = [
    {"frame": n, "time": n / 25, "duration": 1 / 25, "number": n, "copy": k}
    for n in range(24)
    for k in range(n % 3)
]


@pytest.fixture
def job(tmp_path: Path) -> fg.Job:
    make(Video(frames=24), tmp_path / "in.mp4")
    return fg.Job(
        fg.VideoFile(tmp_path / "in.mp4"), RecordOutput(tmp_path / "out.jsonl"), (Count(),)
    )


def read_lines(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def test_each_record_is_a_line_with_its_time(job: fg.Job, tmp_path: Path) -> None:
    done = list(fg.events(job, PLAN))[-1]
    assert isinstance(done, fg.Done)
    assert (done.read, done.written) == (24, 24)
    assert read_lines(tmp_path) == WANTED
    assert sorted(os.listdir(tmp_path)) == ["in.mp4", "out.jsonl"]


@pytest.mark.parametrize("commits", [1, 2, 3])
def test_stopped_at_a_commit_it_resumes(job: fg.Job, tmp_path: Path, commits: int) -> None:
    events = fg.events(job, PLAN)
    for _ in range(commits):
        while not isinstance(next(events), fg.Committed):
            pass
    events.close()
    assert not (tmp_path / "out.jsonl").exists()
    starts = [event.read for event in fg.events(job, PLAN) if isinstance(event, fg.Started)]
    assert starts == [8 * commits]
    assert read_lines(tmp_path) == WANTED
    assert sorted(os.listdir(tmp_path)) == ["in.mp4", "out.jsonl"]


def test_killed_it_resumes(job: fg.Job, tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path\n"
        "import filmgate as fg\n"
        "from filmgate.media.sinks import RecordOutput\n"
        "from tests.media.records.counting import PLAN, Count\n"
        "folder = Path(sys.argv[1])\n"
        "job = fg.Job(fg.VideoFile(folder / 'in.mp4'), RecordOutput(folder / 'out.jsonl'), "
        "(Count(),))\n"
        "for event in fg.events(job, PLAN):\n"
        "    if isinstance(event, fg.Committed): os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert killed.returncode == KILLED
    starts = [event.read for event in fg.events(job, PLAN) if isinstance(event, fg.Started)]
    assert starts == [8]
    assert read_lines(tmp_path) == WANTED


def test_a_damaged_segment_is_made_again(job: fg.Job, tmp_path: Path) -> None:
    events = fg.events(job, PLAN)
    for _ in range(2):
        while not isinstance(next(events), fg.Committed):
            pass
    events.close()
    (tmp_path / "out.jsonl.filmgate" / "000002.jsonl").write_bytes(b"{}")
    again = list(fg.events(job, PLAN))
    assert any("000002.jsonl was changed" in e.message for e in again if isinstance(e, fg.Warned))
    assert [event.read for event in again if isinstance(event, fg.Started)] == [8]
    assert read_lines(tmp_path) == WANTED


def test_without_a_run_directory_lines_go_to_a_hidden_file(job: fg.Job, tmp_path: Path) -> None:
    """They are not held in memory, and a run that is left leaves nothing."""
    assert isinstance(job.sink, RecordOutput)
    for complete in (False, True):
        spec = StreamSpec(width=1, height=1, rate=F(25), time_base=F(1, 25), pixels="gray")
        with open_outputs([job.sink], SourceMetadata(), spec, run_name="abc") as writer:
            for n in range(3):
                writer.write([Frame(n, F(n), F(1), (), {"records": ({"number": n},)})])
            (hidden,) = job.sink.find_leftovers("abc")
            assert not job.sink.path.exists()
            if complete:
                writer.commit(Snapshot(Cursor(3, 3), None, (), 1))
        assert not hidden.exists()
        assert job.sink.path.exists() == complete
    assert [line["number"] for line in read_lines(tmp_path)] == [0, 1, 2]


def test_many_commits_need_few_open_files(tmp_path: Path) -> None:
    """The join held every segment open: a long video has thousands."""
    resource = pytest.importorskip("resource", reason="only POSIX limits open files")
    make(Video(frames=120), tmp_path / "in.mp4")
    job = fg.Job(
        fg.VideoFile(tmp_path / "in.mp4"), RecordOutput(tmp_path / "out.jsonl"), (Count(),)
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_now = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 60
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 12, hard))
    try:
        list(fg.events(job, fg.Plan(chunk=1, segment_frames=8)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(read_lines(tmp_path)) == sum(n % 3 for n in range(120))


def test_an_existing_file_stays(job: fg.Job, tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("precious")
    with pytest.raises(OutputExists, match="--overwrite"):
        list(fg.events(job, PLAN))
    assert (tmp_path / "out.jsonl").read_text() == "precious"


def test_a_job_file_chooses_records_by_the_name(tmp_path: Path) -> None:
    assert job_from({"input": "a.mp4", "output": "b.jsonl"}, tmp_path).sink == RecordOutput(
        tmp_path / "b.jsonl"
    )


@pytest.mark.parametrize("record", ["text", {"value": float("nan")}])
def test_what_is_no_record_is_refused(record: object) -> None:
    frame = Frame(3, F(1), F(1), (), {"records": (record,)})
    with pytest.raises(FilmgateError, match="a record of frame 3"):
        list(format_records([frame]))
