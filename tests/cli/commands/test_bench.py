"""A bench of a person's own film: what was foreseen beside what came, and nothing is left."""

import json
from pathlib import Path
from typing import Any

import pytest

from filmgate.cli.commands import bench
from filmgate.cli.main import main
from filmgate.core.chain import Chain
from filmgate.core.frame import StreamSpec
from filmgate.errors import Exit
from filmgate.flow.shot_detection import cuts
from filmgate.models.contracts import Knobs
from filmgate.models.families import compact
from filmgate.tasks.upscale import drawn
from tests import videos


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return videos.make(videos.Video(frames=30), tmp_path / "in.mp4")


def test_so_many_frames_are_run_and_told_with_what_was_foreseen(
    video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "interpolate", str(video), "--frames", "12", "--chunk", "2", "--json"]
    assert main(words) == Exit.DONE
    told = json.loads(capsys.readouterr().out)
    assert (told["read"], told["written"]) == (12, 24)
    assert list(told["parts"]) == ["decode", "cuts", "interpolate", "until next", "encode"]
    assert told["parts"]["interpolate"]["batch"] >= 1
    assert all(part["measured_s"] > 0 for part in told["parts"].values())
    assert told["fps"] == pytest.approx(12 / told["seconds"])
    assert told["host"]["predicted_bytes"] > 0 < told["host"]["measured_bytes"]
    assert [path.name for path in video.parent.iterdir()] == ["in.mp4"]


def test_ten_frames_are_run_where_nobody_says_how_many(
    video: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    frames = video.with_name("frames") / "%06d.png"
    assert main(["bench", "convert", str(video), str(frames)]) == Exit.DONE
    said = capsys.readouterr().out
    assert "10 frames in, 10 out" in said
    assert "predicted / measured" in said
    assert max(map(len, said.splitlines()[:10])) <= 80
    assert [path.name for path in video.parent.iterdir()] == ["in.mp4"]


def test_a_pipe_is_no_film_for_a_bench(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "convert", "-"]) == Exit.USER
    assert "a pipe can be read only once: give a file" in capsys.readouterr().err


@pytest.fixture
def led(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small upscaler as a line: cuts, then the network."""
    alone = compact.upscaler

    def upscaler(spec: StreamSpec, scale: int, knobs: Knobs) -> Chain:
        enlarge: Any = alone(spec, scale, knobs)
        return Chain((cuts(), drawn(enlarge, scale)))

    monkeypatch.setattr(compact, "upscaler", upscaler)


@pytest.mark.parametrize("more", [(), ("--no-guard",)])
@pytest.mark.usefixtures("led")
def test_the_parts_of_a_stage_that_is_a_line_are_told(
    more: tuple[str, ...], video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One number for flow and networks together did not say which of them takes the time.

    Without the guard the line fell into its parts, each was tried alone, and diffvsr missed the
    flow of a frame that had been the first.
    """
    words = ["bench", "upscale", str(video), "--frames", "2", "--json", *more]
    assert main(words) == Exit.DONE
    parts = json.loads(capsys.readouterr().out)["parts"]
    assert list(parts) == ["decode", "upscale", "encode"]
    apart = parts["upscale"]["within_s"]
    assert list(apart) == ["cuts", "upscale"]
    assert min(apart.values()) > 0
    assert "within_s" not in parts["decode"]
    assert [path.name for path in video.parent.iterdir()] == ["in.mp4"]


@pytest.mark.usefixtures("led")
def test_parts_are_shown_below_their_stage(video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "upscale", str(video), "--frames", "2"]) == Exit.DONE
    lines = capsys.readouterr().out.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("upscale"))
    assert [line[:10].rstrip() for line in lines[at + 1 : at + 3]] == ["  cuts", "  upscale"]


def test_a_part_is_counted_until_the_device_has_done_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cuda:
        waited = 0

        def synchronize(self) -> None:
            self.waited += 1

    cuda = Cuda()
    monkeypatch.setattr(bench, "cuda_in_use", lambda: cuda)
    clock = bench.Waiting()
    with clock.busy("flow"):
        assert cuda.waited == 0
    assert cuda.waited == 1
    assert list(clock.seconds) == ["flow"]
