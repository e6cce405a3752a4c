"""A run that writes images is killed with SIGKILL, and resumes from its last commit."""

import json
import multiprocessing
import os
import subprocess
import sys
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
# Three commits each: the first, one in the middle, the last.
VIDEO = videos.Video(frames=24)  # segments of 8 frames
SHORT = videos.Video(frames=12)  # killed so often that each frame counts
PLAN = fg.Plan(chunk=2, segment_frames=4)  # of the short one
# What Python reports to an audit hook before it touches a file.
OPERATIONS = ("open", "os.link", "os.rename", "os.remove", "os.rmdir", "os.mkdir")
if sys.platform == "win32":
    FORKS = multiprocessing.get_context("spawn")
else:
    FORKS = multiprocessing.get_context("forkserver")
    FORKS.set_forkserver_preload([__name__])


def make_source(video: videos.Video, folder: Path) -> tuple[Path, dict[str, bytes]]:
    """Return a video, and the images of an undisturbed run."""
    folder.mkdir()
    source = videos.make(video, folder / "in.mp4")
    list(fg.events(fg.Job(fg.VideoFile(source), fg.ImageOutput(folder / "frames")), PLAN))
    return source, read_images(folder / "frames")


def read_images(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def start_and_kill(source: Path, output: Path) -> int:
    """Kill a run while it works after its second commit; return the frames that it committed."""
    command = [sys.executable, "-m", "filmgate.cli.main", "convert", str(source), str(output),
               "--segment", "0.3", "--json", "--in-process"]  # fmt: skip
    environment = os.environ | {"FILMGATE_FAULT": "encode.before_commit=hang@3"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    committed, commits = 0, 0
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "Progress":
            committed = event["written"]
        if event["event"] == "Committed":
            commits += 1
        if commits == 2 and event["event"] == "Committed":
            break
    process.kill()
    process.communicate()
    assert process.returncode != 0
    return committed


def test_killed_run_resumes_and_computes_no_committed_image_again(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source, reference = make_source(VIDEO, tmp_path_factory.mktemp("source") / "long")
    folder, output = tmp_path / "frames", tmp_path / "frames" / "%06d.png"
    committed = start_and_kill(source, output)
    assert 0 < committed < VIDEO.frames
    names = [f"{n:06}.png" for n in range(committed)]
    before = {name: (folder / name).stat().st_ino for name in names}
    (folder / "notes.txt").write_text("precious")
    command = [sys.executable, "-m", "filmgate.cli.main", "convert", str(source), str(output),
               "--segment", "0.3", "--json", "--in-process"]  # fmt: skip
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    events = [json.loads(line) for line in lines.splitlines()]
    (started,) = [event for event in events if event["event"] == "Started"]
    assert started["read"] == committed
    progress = [event for event in events if event["event"] == "Progress"]
    assert len(progress) > 0
    assert progress[0]["written"] > committed
    assert {name: (folder / name).stat().st_ino for name in names} == before
    assert read_images(folder) == reference
    assert (folder / "notes.txt").read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["frames"]


def run_until(number: int, job: fg.Job, here: str) -> None:
    """Run a job in a process that kills itself before that operation on a file under `here`."""
    left = [number]

    def count_operations(event: str, args: tuple[Any, ...]) -> None:
        names = [str(arg) for arg in args[:2] if isinstance(arg, str | Path)]
        if event in OPERATIONS and any(name.startswith(here) for name in names):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), KILL)

    sys.addaudithook(count_operations)
    list(fg.events(job, PLAN))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("overwrite", [False, True])
def test_run_killed_before_any_file_operation_resumes(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, overwrite: bool
) -> None:
    source, reference = make_source(SHORT, tmp_path_factory.mktemp("source") / "short")
    folder, number, code = tmp_path / "frames", 0, KILLED
    sink = fg.ImageOutput(folder / "%06d.png", overwrite=overwrite)
    job = fg.Job(fg.VideoFile(source), sink)
    while code:
        number += STRIDE
        folder.mkdir()
        if overwrite:
            (folder / "000003.png").write_bytes(b"old")
            (folder / "000099.png").write_bytes(b"old")
        process = FORKS.Process(target=run_until, args=(number, job, str(tmp_path)))
        process.start()
        process.join()
        code = process.exitcode or 0
        assert code in (0, KILLED), f"operation {number}"
        if overwrite:  # behind the last frame, so it is not this run's
            assert (folder / "000099.png").read_bytes() == b"old"
            (folder / "000099.png").unlink()
        images = read_images(folder)
        assert all(data in (reference.get(name), b"old") for name, data in images.items())
        if (tmp_path / "frames.filmgate").exists() or images != reference:
            try:
                list(fg.events(job, PLAN))
            except OutputExists:  # killed while the finished run's directory was removed
                assert images == reference, f"operation {number}"
        assert read_images(folder) == reference, f"operation {number}"
        assert not [name for name in os.listdir(folder) if name.startswith(".")]
        for name in reference:
            (folder / name).unlink()
        folder.rmdir()
        assert os.listdir(tmp_path) == [], f"operation {number}"
    assert number > 50
