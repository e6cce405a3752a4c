"""Upscale: from file to file, larger at the same times, alone and with other tasks."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import filmgate as fg
from filmgate.cli.main import main
from filmgate.core.chain import Chain
from filmgate.core.frame import ColorTags, StreamSpec
from filmgate.errors import BadSetting, Exit, Unsupported
from filmgate.media.pixels.planes import Planes
from filmgate.quality.verify import check
from filmgate.tasks.upscale import Upscale
from tests import videos
from tests.cases import mark_slow_cases

HDR = {"color_range": 1, "colorspace": 9, "color_primaries": 9, "color_trc": 16}


def read_frames(path: Path) -> list[fg.Frame]:
    return list(fg.frames((), path))


def planes_of(frame: fg.Frame) -> Planes:
    assert isinstance(frame.image, Planes)
    return frame.image


def run_task(tasks: Any, source: Path, sink: Path) -> list[fg.Frame]:
    fg.run(tasks, source, fg.VideoOutput(sink, preset="ultrafast"))
    report = check(sink, source)
    assert report.ok, report
    return read_frames(sink)


@pytest.mark.parametrize(
    ("name", "scale"),
    mark_slow_cases(
        [("uneven", 4), ("ten_bits", 2), ("odd", 2)],
        [("sound", 2), ("uneven", 4), ("ten_bits", 2), ("odd", 2), ("turned", 2)],
    ),
)
def test_frames_are_larger_at_the_same_times(name: str, scale: int, tmp_path: Path) -> None:
    source = videos.make(videos.VIDEOS[name], tmp_path / "in.mp4")
    large, small = run_task(Upscale(scale=scale), source, tmp_path / "out.mp4"), read_frames(source)
    assert [(f.time, f.duration) for f in large] == [(f.time, f.duration) for f in small]
    for a, b in zip(small, large, strict=True):
        one, two = planes_of(a), planes_of(b)
        assert two.size == tuple(scale * n for n in one.size)
        assert two.pixels == one.pixels
        means = [float(x.arrays[0].mean()) / (1 << x.bits - 8) for x in (one, two)]
        assert means[0] == pytest.approx(means[1], abs=1.5)


@pytest.mark.parametrize("order", [1, -1])
def test_interpolate_and_upscale_run_in_one_pass(order: int, tmp_path: Path) -> None:
    source = videos.make(videos.VIDEOS["uneven"], tmp_path / "in.mp4")
    tasks: Sequence[fg.Task] = (fg.Interpolate(factor=2), Upscale())[::order]
    frames = run_task(tasks, source, tmp_path / "out.mp4")
    assert len(frames) == 24
    assert planes_of(frames[0]).size == (128, 96)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["in.mp4", "out.mp4"], "there is no intermediate file"


def test_stages_of_both_orders_declare_their_output(tmp_path: Path) -> None:
    source = videos.make(videos.VIDEOS["even"], tmp_path / "in.mp4")
    with fg.VideoFile(source).open() as video:
        for order in (1, -1):
            chain = Chain(())
            for task in (fg.Interpolate(factor=2), Upscale())[::order]:
                chain = Chain((chain, *task.stages(chain.output(video.spec))))
            out = chain.output(video.spec)
            assert (out.width, out.height, out.rate) == (128, 96, Fraction(50))


def test_a_matrix_that_was_never_reported_is_that_of_the_small_image() -> None:
    """A video of 360 rows without tags is BT.601; at 720 rows it would be taken for BT.709."""
    spec = StreamSpec(width=32, height=360, rate=Fraction(25), time_base=Fraction(1, 25),
                pixels="yuv420p")  # fmt: skip
    chain = Chain(Upscale().stages(spec))
    assert chain.output(spec).colour.matrix == "smpte170m"
    grey = [np.full((360 // n, 32 // n), 128, np.uint8) for n in (1, 2, 2)]
    frame = fg.Frame(0, Fraction(0), Fraction(1, 25), Planes(tuple(grey), "yuv420p"))
    _, (large,) = chain.step(chain.start(spec, frame.position), [frame])
    assert planes_of(large).colour == chain.output(spec).colour == ColorTags(matrix="smpte170m")
    assert len(Upscale().stages(chain.output(spec))) == 1


def test_check_accepts_the_new_matrix(tmp_path: Path) -> None:
    source = videos.make(videos.Video(frames=2, size=(64, 192)), tmp_path / "in.mp4")
    (large, _) = run_task(Upscale(scale=4), source, tmp_path / "out.mp4")
    assert planes_of(large).colour.matrix == "smpte170m"


def test_the_command_line_needs_no_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILMGATE_MODELS", str(tmp_path / "nothing"))
    source = videos.make(videos.VIDEOS["even"], tmp_path / "in.mp4")
    words = ["upscale", str(source), str(tmp_path / "out.mkv"), "--scale", "2", "--steady"]
    assert main([*words, "--quiet"]) == Exit.DONE
    assert planes_of(read_frames(tmp_path / "out.mkv")[0]).size == (128, 96)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("diffvrs", "there is no model 'diffvrs' for upscale: did you mean 'diffvsr'?"),
        ("raft_large", "there is no model 'raft_large' for upscale: known are compact, diffvsr"),
        ("raft", "the model raft estimates optical flow for other models: upscale has compact, "),
        ("film", "the model film is for interpolate: upscale has compact, diffvsr and image"),
        ("in.mp4", "model is 'in.mp4', which is not the name of a model: upscale has compact"),
        ("models/film", "which is not the name of a model: upscale has compact, diffvsr and image"),
        ("nothing.pth", "model is the file nothing.pth, which does not exist: pass a file of"),
    ],
)
def test_unknown_models_are_refused(
    model: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = videos.make(videos.VIDEOS["even"], tmp_path / "in.mp4")
    words = ["upscale", str(source), str(tmp_path / "out.mkv"), "--model", model]
    assert main(words) == Exit.USER
    assert said in capsys.readouterr().err


def test_invalid_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="scale is 0: pass 2 or 4, which the model compact has"):
        Upscale(scale=0)
    source = videos.make(videos.Video(colour=HDR), tmp_path / "in.mp4")
    with pytest.raises(Unsupported, match="--tonemap"):
        fg.run(Upscale(), source, tmp_path / "out.mp4")
