r"""Files on a share, \\server\share, as inputs, outputs and work folder, in each spelling."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from filmgate.cli.main import main as filmgate
from filmgate.errors import Exit
from tests import videos
from tests.net.decoded import hash_outputs
from tests.processes import KILLED
from tests.windows.test_names import convert
from tests.windows.test_runs import LOSSLESS, count_frames, run

pytestmark = [
    pytest.mark.skipif(sys.platform != "win32", reason="is about Windows"),
    pytest.mark.timeout(400),  # under Wine on two busy cores
]
SPELLINGS = ("\\\\localhost\\{}", "//LOCALHOST/{}", "\\\\?\\UNC\\localhost\\{}",
             "\\\\?\\unc\\localhost\\{}")  # fmt: skip
FRAMES = 24


def find_share(folder: Path, spelling: str) -> Path:
    """Return a folder through the share that Windows has of each drive, with a video in it."""
    drive, rest = os.path.splitdrive(os.path.realpath(folder))
    share = Path(spelling.format(f"{drive[0]}$") + rest)
    if not share.is_dir():
        pytest.skip("this account may not open the share of a drive")
    videos.make(videos.Video(frames=FRAMES), folder / "in.mp4")
    return share


@pytest.fixture(params=SPELLINGS, ids=ascii)
def share(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return find_share(tmp_path, request.param)


@pytest.mark.parametrize("work", [None, "work"])
def test_a_run_on_a_share_that_is_killed_is_resumed(work: str | None, tmp_path: Path) -> None:
    share = find_share(tmp_path, SPELLINGS[0])
    flags = ("--segment", "0.3", *LOSSLESS, *(("--work", share / work) if work else ()))
    for folder in ("wanted", "out"):
        (tmp_path / folder).mkdir()
    wanted = tmp_path / "wanted" / "out.mkv"
    assert convert(tmp_path / "in.mp4", wanted, "--segment", "0.3", *LOSSLESS) == 0
    command = ("convert", share / "in.mp4", share / "out" / "out.mkv", *flags)
    env = {"FILMGATE_IN_PROCESS": "yes", "FILMGATE_FAULT": "commit.listed=kill@2"}
    run(tmp_path, *command, code=KILLED, env=env)
    assert (tmp_path / (work or "out/out.mkv.filmgate")).is_dir()
    run(tmp_path, *command)  # with the worker
    assert hash_outputs(tmp_path / "out") == hash_outputs(tmp_path / "wanted")
    assert {one.name for one in tmp_path.iterdir()} == {"in.mp4", "wanted", "out"}
    assert os.listdir(tmp_path / "out") == ["out.mkv"]


def test_patterns_images_and_long_names(share: Path, tmp_path: Path) -> None:
    words = ["convert", str(share / "*.mp4"), "-o", str(share / "batch")]
    assert filmgate([*words, "--in-process", "--quiet"]) == 0
    assert os.listdir(tmp_path / "batch") == ["in.mp4"]
    assert convert(share / "in.mp4", share / "images" / "%04d.png") == 0
    assert len(os.listdir(tmp_path / "images")) == FRAMES
    long = Path("a" * 120, "b" * 120)
    os.makedirs(f"\\\\?\\{tmp_path / long}")
    assert convert(share / "images", share / long / "out.mkv", "--in-fps", "25", *LOSSLESS) == 0
    assert count_frames(Path(f"\\\\?\\{tmp_path / long}\\out.mkv")) == FRAMES


def test_no_input_is_replaced_through_the_share(share: Path, tmp_path: Path) -> None:
    before = (tmp_path / "in.mp4").read_bytes()
    assert convert("in.mp4", share / "IN.mp4", "--overwrite") == Exit.USER
    assert convert(share / "in.mp4", "in.mp4", "--overwrite") == Exit.USER
    assert (tmp_path / "in.mp4").read_bytes() == before
    assert convert("in.mp4", "images\\%04d.png", "--max-frames", "3") == 0
    images = {path.name: path.read_bytes() for path in (tmp_path / "images").iterdir()}
    for source, out in (("images", share / "images"), (share / "images", Path("images"))):
        assert convert(source, out / "%04d.png", "--overwrite") == Exit.USER
    assert {path.name: path.read_bytes() for path in (tmp_path / "images").iterdir()} == images
