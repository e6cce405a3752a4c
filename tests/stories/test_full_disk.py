"""A full disk, from the first byte to the last: a clear error, and then the same result."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

import filmgate as fg
from filmgate.errors import FilmgateError
from tests import videos

pytestmark = pytest.mark.slow
VIDEO = videos.Video(frames=16, sounds=("aac",))
PLAN = fg.Plan(chunk=4, segment_frames=8)
PAGE = 4096


class FreeSpace(NamedTuple):
    """Space that was free when it was checked."""

    free: int = 1 << 40


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root on Linux may mount a disk")
    try:
        yield place
    finally:
        # Lazily: PyAV keeps a file open whose header could not be written.
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path, but: int) -> None:
    """Fill the disk except for so many pages."""
    with suppress(OSError), open(disk / "ballast", "wb", buffering=0) as file:
        while True:
            file.write(bytes(PAGE))
    size = (disk / "ballast").stat().st_size
    os.truncate(disk / "ballast", size - but * PAGE)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
@pytest.mark.timeout(600)
def test_run_on_a_disk_that_is_full_anywhere_resumes_when_there_is_space(
    name: str, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process fills the disk during the run, so no check can predict it."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: FreeSpace())
    source = videos.make(VIDEO, tmp_path / "in.mp4")
    sink = fg.VideoOutput(disk / name, codec="ffv1" if name.endswith(".mkv") else None)
    job = fg.Job(fg.VideoFile(source), sink, (fg.Interpolate(factor=2),))
    list(fg.events(job, PLAN))
    reference, pages = (disk / name).read_bytes(), 0
    resumed = set()
    while True:
        (disk / name).unlink(missing_ok=True)
        fill(disk, pages)
        message = run_and_catch(job)
        (disk / "ballast").unlink()
        if not message:
            break
        assert "Free some space" in message, f"{pages} pages"
        assert not (disk / name).exists()
        events = list(fg.events(job, PLAN))
        resumed |= {event.read for event in events if isinstance(event, fg.Started)}
        assert (disk / name).read_bytes() == reference
        assert os.listdir(disk) == [name]
        pages += 1
    assert (disk / name).read_bytes() == reference
    assert resumed >= {0, 8}


def run_and_catch(job: fg.Job) -> str:
    """Return the error message of a run, "" if it is done."""
    try:
        list(fg.events(job, PLAN))
    except FilmgateError as error:
        return str(error)
    return ""
