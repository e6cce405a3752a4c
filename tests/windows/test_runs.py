"""What people do on Windows, from the command line, with the worker process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import pytest

from filmgate.errors import Exit
from tests import videos
from tests.net.decoded import hash_outputs

pytestmark = [
    pytest.mark.skipif(sys.platform != "win32", reason="is about Windows"),
    pytest.mark.timeout(400),  # under Wine on two busy cores
]
LOSSLESS = ("--codec", "ffv1")
FRAMES = 48


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    video = videos.Video(frames=FRAMES, sounds=("aac",))
    return videos.make(video, tmp_path_factory.mktemp("clip") / "in.mp4")


def start(
    folder: Path,
    *words: str | Path,
    fault: str = "",
    env: Mapping[str, str] | None = None,
    **settings: Any,
) -> subprocess.Popen[bytes]:
    """Start a command in a folder, as a user does: with the worker."""
    folder.mkdir(exist_ok=True)
    env = {**os.environ, "FILMGATE_IN_PROCESS": "no", "FILMGATE_FAULT": fault, **(env or {})}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
    return subprocess.Popen(
        [sys.executable, "-m", "filmgate", *map(str, words)], cwd=folder, env=env, **pipes
    )


def run(
    folder: Path, *words: str | Path, code: int = 0, data: bytes | None = None, **settings: Any
) -> bytes:
    """Run a command and return what it writes to standard output."""
    stdin = None if data is None else subprocess.PIPE
    with start(folder, *words, stdin=stdin, **settings) as process:
        out, errors = process.communicate(data)
    assert process.returncode == code, errors.decode()
    return out


def read_frames(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]


def count_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_demo(tmp_path: Path) -> None:
    text = run(tmp_path, "demo", "demo")
    assert b"all checks passed" in text
    assert {"smooth.mp4", "sheet.png", "video.mp4"} <= set(os.listdir(tmp_path / "demo"))


@pytest.mark.parametrize(
    ("words", "frames"),
    [
        (("convert",), FRAMES),
        (("interpolate", "--factor", "2"), 2 * FRAMES),
        (("upscale", "--scale", "2"), FRAMES),
    ],
    ids=["convert", "interpolate", "upscale"],
)
def test_the_worker_and_this_process_make_the_same(
    words: Sequence[str], frames: int, clip: Path, tmp_path: Path
) -> None:
    task, *flags = words
    made = []
    for name, more in (("worker", ()), ("alone", ("--in-process",))):
        run(tmp_path / name, task, clip, "out.mkv", *flags, *LOSSLESS, *more)
        assert os.listdir(tmp_path / name) == ["out.mkv"]
        made.append(hash_outputs(tmp_path / name))
    assert made[0] == made[1]
    assert count_frames(tmp_path / "worker" / "out.mkv") == frames


def test_a_worker_that_crashes_is_replaced(clip: Path, tmp_path: Path) -> None:
    """An access violation is reported by its exit code: Windows has no signals."""
    words = ("convert", clip, "out.mkv", "--segment", "0.3", *LOSSLESS)
    run(tmp_path / "wanted", *words)
    with start(tmp_path / "crashed", *words, "--json", fault="commit.listed=crash@2") as process:
        out, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    events = [json.loads(line) for line in out.splitlines()]
    causes = [one["crash"]["cause"] for one in events if one["event"] == "Died"]
    assert len(causes) >= 1
    assert set(causes) == {"exit code 0xC0000005 (access violation)"}
    assert hash_outputs(tmp_path / "crashed") == hash_outputs(tmp_path / "wanted")


def test_images_out_and_in_again(clip: Path, tmp_path: Path) -> None:
    run(tmp_path, "convert", clip, "frames\\%04d.png", "--max-frames", "10")
    images = sorted(os.listdir(tmp_path / "frames"))
    assert images == [f"{number:04}.png" for number in range(10)]
    run(tmp_path, "convert", "frames", "out.mkv", "--in-fps", "25", *LOSSLESS)
    assert count_frames(tmp_path / "out.mkv") == 10


def test_redirected_output_is_utf8(clip: Path, tmp_path: Path) -> None:
    """Without Python's UTF-8 mode, pipes have a code page that lacks most names."""
    name = "映画 é.mkv"
    (tmp_path / name).write_bytes(clip.read_bytes())
    env = {"PYTHONUTF8": "0"}
    assert name.encode() in run(tmp_path, "probe", name, env=env)
    run(tmp_path, "convert", name, "キネ.mkv", "--max-frames", "5", env=env)
    with start(tmp_path, "convert", "no 映画.mkv", "out.mkv", env=env) as process:
        _, errors = process.communicate()
    assert process.returncode == Exit.USER
    assert "no 映画.mkv" in errors.decode()


def test_pipes_carry_every_byte(clip: Path, tmp_path: Path) -> None:
    """Standard input and output are binary: no line end or Ctrl-Z in a frame changes it."""
    run(tmp_path, "convert", clip, "file.nut", *LOSSLESS)
    piped = run(tmp_path, "convert", "file.nut", "-", "--container", "nut", *LOSSLESS)
    assert {b"\n", b"\r", b"\x1a"} <= {bytes([one]) for one in piped}
    again = run(tmp_path, "convert", "-", "-", "--container", "nut", *LOSSLESS, data=piped)
    (tmp_path / "piped.nut").write_bytes(piped)
    (tmp_path / "again.nut").write_bytes(again)
    frames = [read_frames(tmp_path / f"{name}.nut") for name in ("file", "piped", "again")]
    assert len(frames[0]) == FRAMES
    assert frames[0] == frames[1] == frames[2]


def test_a_pattern_is_a_batch(clip: Path, tmp_path: Path) -> None:
    """No shell on Windows replaces *.mp4 by names; names with brackets and spaces are files."""
    names = ["a.mp4", "b b.mp4", "c [1].mp4"]
    for name in names:
        (tmp_path / name).write_bytes(clip.read_bytes())
    (tmp_path / "notes.txt").write_text("no video")
    run(tmp_path, "convert", "*.mp4", "-o", "out", "--max-frames", "5")
    assert sorted(os.listdir(tmp_path / "out")) == names
    run(tmp_path, "convert", "c [1].mp4", "one.mkv", "--max-frames", "5")
    assert (tmp_path / "one.mkv").is_file()


def test_two_runs_on_one_output(clip: Path, tmp_path: Path) -> None:
    words = ("convert", clip, "out.mkv", "--segment", "0.3", *LOSSLESS, "--json", "--in-process")
    with start(tmp_path, *words, fault="commit.listed=hang@2") as first:
        assert first.stdout is not None
        while b"Committed" not in first.stdout.readline():
            assert first.poll() is None
        run(tmp_path, *words, code=Exit.BUSY)
        first.kill()
    run(tmp_path, *words)
    assert count_frames(tmp_path / "out.mkv") == FRAMES
    assert os.listdir(tmp_path) == ["out.mkv"]


def test_a_result_that_a_player_has_open(clip: Path, tmp_path: Path) -> None:
    """The run says so and keeps the finished video; the same command then names it at once."""
    out = tmp_path / "out.mkv"
    out.write_bytes(b"an older video")
    player = (
        "import sys\nwith open('out.mkv', 'rb') as video:\n print('playing', flush=True)\n"
        " sys.stdin.read()\nassert open('out.mkv', 'rb').read() == b'an older video'"
    )
    words = ("convert", clip, "out.mkv", "--overwrite", *LOSSLESS)
    with subprocess.Popen(
        [sys.executable, "-c", player],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as playing:
        assert playing.stdout is not None
        assert b"playing" in playing.stdout.readline()
        with start(tmp_path, *words) as process:
            _, errors = process.communicate()
        assert process.returncode == Exit.BUSY, errors.decode()
        said = " ".join(errors.decode().split())
        assert "another program has it open" in said
        kept = tmp_path / said.split("The complete video is ")[1].split()[0]
        assert count_frames(kept) == FRAMES
        playing.communicate(b"")
    assert playing.returncode == 0
    run(tmp_path, *words)
    assert count_frames(out) == FRAMES
    assert os.listdir(tmp_path) == ["out.mkv"]
