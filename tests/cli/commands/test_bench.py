"""`filmgate bench`: predicted next to measured, and no files are left."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from filmgate.cli import trial
from filmgate.cli.main import main
from filmgate.core.chain import Chain
from filmgate.core.frame import StreamSpec
from filmgate.device.placement import Placement
from filmgate.errors import Exit
from filmgate.flow.shot_detection import detect_shots
from filmgate.models.families import compact
from filmgate.tasks.upscale import make_stage
from tests import videos


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return videos.make(videos.Video(frames=30, size=(32, 24)), tmp_path / "in.mp4")


def test_given_number_of_frames_is_run_and_compared_with_the_prediction(
    video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "interpolate", str(video), "--max-frames", "12", "--chunk", "2", "--json"]
    assert main(words) == Exit.DONE
    values = json.loads(capsys.readouterr().out)
    assert (values["read"], values["written"]) == (12, 24)
    assert list(values["parts"]) == ["decode", "shots", "interpolate", "durations", "encode"]
    assert values["parts"]["interpolate"]["batch"] >= 1
    assert all(part["measured_s"] > 0 for part in values["parts"].values())
    assert values["fps"] == pytest.approx(12 / values["seconds"])
    assert values["host"]["predicted_bytes"] > 0 < values["host"]["measured_bytes"]
    assert [path.name for path in video.parent.iterdir()] == ["in.mp4"]


def test_ten_frames_are_run_by_default(
    video: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    frames = video.with_name("frames") / "%06d.png"
    assert main(["bench", "convert", str(video), str(frames)]) == Exit.DONE
    text = capsys.readouterr().out
    assert "10 frames in, 10 out" in text
    assert "predicted / measured" in text
    assert max(map(len, text.splitlines()[:10])) <= 80
    assert [path.name for path in video.parent.iterdir()] == ["in.mp4"]


def test_pipe_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "convert", "-"]) == Exit.USER
    assert "a pipe can only be read once" in capsys.readouterr().err


@pytest.fixture
def led(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small upscaler as a chain: shot detection, then the network."""
    alone: Any = compact.FAMILY.build_upscaler

    def build_upscaler(spec: StreamSpec, scale: int, options: Any, placement: Placement) -> Chain:
        return Chain((detect_shots(), make_stage(alone(spec, scale, options, placement), scale)))

    family = replace(compact.FAMILY, build_upscaler=build_upscaler)
    monkeypatch.setattr(compact, "FAMILY", family)


@pytest.mark.parametrize("more", [(), pytest.param(("--no-guard",), marks=pytest.mark.slow)])
@pytest.mark.usefixtures("led")
def test_parts_of_a_stage_that_is_a_chain_are_measured_and_shown_below_it(
    more: tuple[str, ...], video: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """One number for flow and networks together did not say which of them takes the time.

    Without the guard the line fell into its parts, each was tried alone, and diffvsr missed the
    flow of a frame that had been the first.
    """
    run_trial, trials = trial.run_trial, list[trial.Trial]()

    def keep_trial(*arguments: Any) -> trial.Trial:
        trials.append(run_trial(*arguments))
        return trials[0]

    monkeypatch.setattr(trial, "run_trial", keep_trial)
    words = ["bench", "upscale", str(video), "--max-frames", "2", *more]
    assert main([*words, "--json"]) == Exit.DONE
    parts = json.loads(capsys.readouterr().out)["parts"]
    assert list(parts) == ["decode", "upscale", "encode"]
    apart = parts["upscale"]["within_s"]
    assert list(apart) == ["shots", "upscale"]
    assert min(apart.values()) > 0
    assert "within_s" not in parts["decode"]
    assert [path.name for path in video.parent.iterdir()] == ["in.mp4"]
    monkeypatch.setattr(trial, "run_trial", lambda *_: trials[0])
    assert main(words) == Exit.DONE
    lines = capsys.readouterr().out.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("upscale"))
    assert [line[:10].rstrip() for line in lines[at + 1 : at + 3]] == ["  shots", "  upscale"]


def test_clock_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cuda:
        waits = 0

        def synchronize(self) -> None:
            self.waits += 1

    cuda = Cuda()
    monkeypatch.setattr(trial, "get_loaded_cuda", lambda: cuda)
    clock = trial.SynchronizedClock()
    with clock.busy("flow"):
        assert cuda.waits == 0
    assert cuda.waits == 1
    assert list(clock.seconds) == ["flow"]
