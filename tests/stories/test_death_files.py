"""Law 8 at every file operation: a run is killed before each one in turn, and resumes."""

import multiprocessing
import os
import sys
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import filmgate as fg
from filmgate.core.run import run as _loaded  # noqa: F401 - with av, before the server forks
from filmgate.errors import OutputExists
from tests import videos
from tests.processes import KILL, KILLED

pytestmark = pytest.mark.slow
STRIDE = int(os.environ.get("FILMGATE_STRIDE", "1"))  # kill before every so manyth operation
UNEVEN = tuple(Fraction(n, 25) for n in (0, 1, 2, 4, 5, 9, *range(10, 20)))
VIDEO = videos.Video(frames=16, times=UNEVEN, sounds=("aac",))
PLAN = fg.Plan(chunk=4, segment_frames=8)
# What Python reports to an audit hook before it touches a file, without FFmpeg's own writes.
OPERATIONS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir")
if sys.platform == "win32":
    FORKS = multiprocessing.get_context("spawn")
else:
    FORKS = multiprocessing.get_context("forkserver")
    FORKS.set_forkserver_preload([__name__])


def job_of(folder: Path, name: str = "out.mp4", *, overwrite: bool = False) -> fg.Job:
    sink = fg.VideoOutput(folder / name, preset="veryfast", overwrite=overwrite)
    if name.endswith(".mkv"):
        sink = replace(sink, codec="ffv1", preset=None)
    return fg.Job(fg.VideoFile(folder.parent / "in.mp4"), sink, (fg.Interpolate(factor=2),))


def run_until(number: int, job: fg.Job, options: fg.ResumeOptions) -> None:
    """Run the job in a process that kills itself before that file operation."""
    left, here = [number], str(job.sink.path.parent)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if (
            event in OPERATIONS
            and isinstance(args[0], str | Path)
            and str(args[0]).startswith(here)
        ):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), KILL)

    sys.addaudithook(hook)
    list(fg.events(job, PLAN, resume_options=options))


def run_and_kill(number: int, job: fg.Job, options: fg.ResumeOptions) -> int | None:
    """Return the exit code of a process killed before that operation; 0: it ended before that."""
    process = FORKS.Process(target=run_until, args=(number, job, options))
    process.start()
    process.join()
    code = process.exitcode
    process.close()
    return code


def run_to_first_commit(job: fg.Job) -> None:
    """Stop the job after its first commit."""
    events = fg.events(job, PLAN)
    while not isinstance(next(events), fg.Committed):
        pass
    events.close()


def run_again(job: fg.Job, options: fg.ResumeOptions) -> None:
    """Run a finished job again: a new run, which removes what was left."""
    with suppress(OutputExists):
        list(fg.events(job, PLAN, resume_options=options))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    videos.make(VIDEO, home / "in.mp4")
    return home


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "way"), [("out.mp4", "fresh"), ("out.mkv", "elsewhere"), ("out.mp4", "restarted")]
)
def test_run_killed_before_any_file_operation_resumes(name: str, way: str, home: Path) -> None:
    """`restarted` is an unfinished run that is restarted and may overwrite the result."""
    folder = home / way
    folder.mkdir()
    job, again = job_of(folder, name, overwrite=way == "restarted"), way == "restarted"
    work = fg.ResumeOptions(work=folder / "work" if way == "elsewhere" else None)
    out = folder / name
    list(fg.events(job, PLAN))
    reference, number = out.read_bytes(), 0
    code: int | None = KILLED
    out.unlink()
    while code:
        number += STRIDE
        if again:
            out.write_bytes(b"before")
            run_to_first_commit(job)
        code = run_and_kill(number, job, replace(work, restart=again))
        assert code in (0, KILLED), f"operation {number}"
        named = out.exists() and out.read_bytes() != b"before"
        assert not named or out.read_bytes() == reference, f"half-written at operation {number}"
        if named and not any("commits.json" in names for _, _, names in os.walk(folder)):
            run_again(job, work)
        else:
            (*_, done) = fg.events(job, PLAN, resume_options=work)
            assert isinstance(done, fg.Done), f"operation {number}"
            assert (done.read, done.written) == (16, 32)
        assert out.read_bytes() == reference, f"operation {number}"
        # a --work folder that was empty when this start found it may be the user's: it stays
        empty = {place for place, folders, names in os.walk(folder) if not folders + names}
        assert empty <= {str(work.work)}, f"operation {number}"
        assert set(os.listdir(folder)) <= {name, "work"}, f"operation {number}"
        out.unlink()
    assert number > 50
