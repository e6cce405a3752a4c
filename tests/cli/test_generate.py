"""The command `generate`: an image and a result, several seeds, tasks in the same pass."""

from pathlib import Path

import numpy as np
import pytest

from filmgate.cli.main import main
from filmgate.cli.views.preparation_view import PreparationView, draw_preview
from filmgate.core.events import Prepared
from filmgate.core.stage import Preview
from filmgate.errors import Exit
from filmgate.media.frame_counter import FrameCounter
from filmgate.tasks.generate import Generate
from filmgate.tasks.interpolate import Interpolate
from filmgate.tasks.upscale import Upscale
from tests.cli.test_main import FakeEvents, runs

__all__ = ["runs"]
WORDS = ["generate", "in.png", "out.mp4", "--prompt", "a ball", "--device", "cpu", "--quiet"]


@pytest.fixture(autouse=True)
def _image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save("in.png")
    monkeypatch.setattr(Generate, "check_weights", lambda _: None)


def test_other_tasks_follow_in_the_same_pass(runs: FakeEvents) -> None:
    more = "--interpolate dis --factor 5/2 --upscale compact --scale 4 --frames 9 --fps 12"
    assert main([*WORDS, *more.split(), "--last", "in.png", "--variant", "i2v-a14b"]) == Exit.DONE
    (job,) = runs.jobs
    first, second, third = job.tasks
    assert isinstance(first, Generate)
    assert first.prompt == "a ball"
    assert first.last is not None
    assert isinstance(second, Interpolate)
    assert (second.model, float(second.factor or 0)) == ("dis", 2.5)
    assert isinstance(third, Upscale)
    assert third.scale == 4
    assert job.source == FrameCounter(frames=9, fps=12)


def test_each_seed_makes_a_video_of_its_own(runs: FakeEvents) -> None:
    assert main([*WORDS, "--seeds", "7", "--seeds", "8"]) == Exit.DONE
    assert [(job.seed, Path(job.sink.path).name) for job in runs.jobs] == [
        (7, "out-7.mp4"), (8, "out-8.mp4")
    ]  # fmt: skip
    assert all(job.source == FrameCounter(frames=121, fps=24) for job in runs.jobs)


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--factor", "3"], "pass --interpolate"), (["--scale", "2"], "pass --upscale"),
     (["--interpolate", "none"], "none"), (["--seed", "1", "--seeds", "2"], "omit one"),
     (["more.mp4"], "number of paths is 3"), (["--frames", "0"], "wanted more than 0"),
     (["--size", "big"], "832x480"), (["--join"], "join"), (["--stream", "1"], "stream")],
)  # fmt: skip
def test_flags_that_do_not_fit_are_refused(
    words: list[str], said: str, runs: FakeEvents, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*WORDS, *words]) == Exit.USER
    assert said in capsys.readouterr().err
    assert not runs.jobs


def test_moves_are_described_with_the_time_that_is_left() -> None:
    view = PreparationView()
    first = Prepared("generate", 0, 50, "step", 1.0, next_s=4.0)
    assert view.describe(first) == "generate: step 0/50  4.0 s each  3:20 left (predicted)"
    after = Prepared("generate", 10, 50, "step", 101.0, next_s=4.0)
    assert view.describe(after) == "generate: step 10/50  10.0 s each  6:40 left"
    assert view.describe(Prepared("generate", 4, 9, "frame decoded again", 120.0)) == (
        "generate: frame decoded again 4/9"
    )


def test_a_preview_is_drawn_two_pixels_a_character() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:2, :, 0], pixels[2:, :, 2] = 255, 255
    text = draw_preview(Preview(6, 4, pixels.tobytes()), width=5)
    assert text.plain == "▀▀▀▀▀\n▀▀▀▀▀"
    styles = [str(span.style) for span in text.spans]
    assert styles[0] == "#ff0000 on #ff0000"
    assert styles[-1] == "#0000ff on #0000ff"
