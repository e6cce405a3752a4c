"""The service on Windows: served, submitted to, killed by TerminateProcess, and resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import psutil
import pytest

from filmgate.cli.main import main as filmgate
from tests import videos

pytestmark = [
    pytest.mark.skipif(sys.platform != "win32", reason="is about Windows"),
    pytest.mark.timeout(1500),  # under Wine on two busy cores
]
FILMGATE = (sys.executable, "-m", "filmgate")
FLAGS = ("--preset", "veryfast", "--segment", "1")


@contextmanager
def serve(folder: Path, fault: str = "") -> Iterator[str]:
    """Yield the address of a server; at the end it is killed, with its workers."""
    command = [*FILMGATE, "serve", str(folder), "--port", "0", "--devices", "cpu"]
    env = {**os.environ, "FILMGATE_FAULT": fault}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().decode()
            while "http://" not in line:
                assert line, "it ended"
                line = process.stdout.readline().decode()
            yield "http://" + line.split("http://")[1].split()[0]
        finally:
            for one in (*psutil.Process(process.pid).children(recursive=True), process):
                one.kill()


def ask(address: str, *words: str | Path) -> str:
    """Run a command of the client and return what it prints."""
    command = [*FILMGATE, *map(str, words), "--server", address]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return videos.make(videos.Video(frames=150), tmp_path_factory.mktemp("clip") / "my clip.mp4")


def read_frames(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]


def test_a_killed_server_and_killed_workers_change_nothing(clip: Path, tmp_path: Path) -> None:
    """The server is killed when it has accepted the job, each worker at its third segment."""
    fault = "commit.listed=kill@3"
    with serve(tmp_path / "service", fault) as address:
        job = ask(address, "submit", "convert", clip, *FLAGS).split()[-1]
    with serve(tmp_path / "service", fault) as address:
        ask(address, "get", job, tmp_path / "got.mp4")  # it waits for the end
        attempts = json.loads(ask(address, "watch", job, "--json").splitlines()[-1])["attempts"]
    ends = [one["end"] for one in attempts]
    assert ends[-1] == "done"
    assert "died" in ends
    wanted = tmp_path / "wanted.mp4"
    assert filmgate(["convert", str(clip), str(wanted), *FLAGS, "--in-process", "--quiet"]) == 0
    assert read_frames(tmp_path / "got.mp4") == read_frames(wanted)
