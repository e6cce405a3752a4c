"""Comparisons of videos: each metric against a known value, frames matched by time."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from math import isnan
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
from torch import Tensor

from filmgate.cli.main import main
from filmgate.core.frame import Frame, StreamSpec
from filmgate.errors import Exit
from filmgate.media.pixels.planes import Planes
from filmgate.quality import comparison
from filmgate.quality.comparison import (
    UNITS,
    _match_frames,
    _measure_pair,
    compare_videos,
    describe_unmatched,
    write_comparison_page,
)
from filmgate.quality.metrics import lpips, vmaf
from tests import videos
from tests.flow.scenes import texture, view

FFV1 = videos.Video(frames=12, codec="ffv1", pixels="gray", options={}, suffix=".mkv",
                  tick=Fraction(1, 1000))  # fmt: skip


@pytest.fixture(autouse=True)
def no_optional_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide what is installed on this machine."""
    monkeypatch.setattr(
        vmaf, "explain_missing_vmaf", lambda: "not installed: put an ffmpeg on your path"
    )


def make_frame(i: int, time: Fraction, array: npt.NDArray[np.uint8] | None = None) -> Frame:
    image = np.full((64, 96), 100, np.uint8) if array is None else array
    return Frame(i, time, Fraction(1, 25), Planes((image,), "gray"))


def test_a_video_equals_itself(tmp_path: Path) -> None:
    video = videos.make(FFV1, tmp_path / "a.mkv")
    found = compare_videos(video, video)
    mean = {metric.name: metric.mean for metric in found.metrics}
    assert mean == {"psnr": 100.0, "ssim": 1.0, "tof": 0.0, "warping": 0.0}
    assert (found.pairs, found.unmatched_a, found.unmatched_b) == (12, 0, 0)
    assert "not installed" in found.skipped["vmaf"]


def test_psnr_is_the_known_value_at_any_bit_depth() -> None:
    one, two = (
        make_frame(0, Fraction(0)),
        make_frame(0, Fraction(0), np.full((64, 96), 101, np.uint8)),
    )
    deep = replace(two, image=Planes((np.full((64, 96), 404, np.uint16),), "gray10le"))
    for other in (two, deep):
        found, _ = _measure_pair(one, other, None)
        assert found["psnr"] == pytest.approx(48.1308, abs=1e-3)
        assert isnan(found["tof"])


def test_tof_is_the_difference_of_motion_in_pixels() -> None:
    scene = texture(5)
    a = [make_frame(i, Fraction(i, 25), view(scene, 20 + 2 * i, 20)) for i in range(2)]
    b = [make_frame(i, Fraction(i, 25), view(scene, 20 + 6 * i, 20)) for i in range(2)]
    _, before = _measure_pair(a[0], b[0], None)
    found, _ = _measure_pair(a[1], b[1], before)
    assert found["tof"] == pytest.approx(4, abs=1)


def test_flicker_raises_the_warping_error() -> None:
    scene = texture(5)
    a = [make_frame(i, Fraction(i, 25), view(scene, 20 + 2 * i, 20)) for i in range(2)]
    dark = view(scene, 22, 20) // 2
    _, before = _measure_pair(a[0], a[0], None)
    found, _ = _measure_pair(a[1], make_frame(1, Fraction(1, 25), dark), before)
    same, _ = _measure_pair(a[1], a[1], before)
    assert found["warping"] > 20
    assert same["warping"] == 0


def test_frames_are_matched_by_time_and_not_by_number() -> None:
    complete = [make_frame(i, Fraction(i, 25)) for i in range(8)]
    partial = [make_frame(k, Fraction(i, 25)) for k, i in enumerate((0, 1, 3, 4, 7, 8))]
    pairs = list(_match_frames(iter(complete), iter(partial)))
    assert [(x.time, y.time) for x, y in pairs if x and y] == [
        (Fraction(i, 25),) * 2 for i in (0, 1, 3, 4, 7)
    ]
    assert [x.index for x, y in pairs if x and not y] == [2, 5, 6]
    assert [y.index for x, y in pairs if y and not x] == [5]


def test_frames_at_other_times_are_no_pair() -> None:
    """Of 25 frames a second and 60, every fifth is at the time of a twelfth."""
    slow = [make_frame(i, Fraction(i, 25)) for i in range(50)]
    fast = [make_frame(i, Fraction(i, 60)) for i in range(120)]
    pairs = [(x.index, y.index) for x, y in _match_frames(iter(slow), iter(fast)) if x and y]
    assert pairs == [(5 * k, 12 * k) for k in range(10)]


@pytest.mark.parametrize(("one", "two"), [(24, 25), (25, 30), (50, 60), (24, 60), (25, 50)])
@pytest.mark.parametrize("tick", [0, 1000])
def test_rounding_to_milliseconds_makes_no_pair_of_other_frames(
    one: int, two: int, tick: int
) -> None:
    def make(rate: int) -> list[Frame]:
        times = [Fraction(i, rate) for i in range(2 * rate)]
        rounded = [Fraction(round(t * tick), tick) if tick else t for t in times]
        return [make_frame(i, t) for i, t in enumerate(rounded)]

    rounding = Fraction(1, tick) if tick else Fraction(0)
    pairs = _match_frames(iter(make(one)), iter(make(two)), rounding)
    found = [(x.index, y.index) for x, y in pairs if x and y]
    assert found == [(i, i * two // one) for i in range(2 * one) if i * two % one == 0]


def test_times_that_a_container_rounds_are_equal(tmp_path: Path) -> None:
    """30 frames a second: exact in mp4, rounded to milliseconds in mkv."""
    times = tuple(Fraction(n, 30) for n in range(12))
    a = videos.make(replace(FFV1, times=times), tmp_path / "a.mkv")
    exact = replace(FFV1, times=times, tick=Fraction(1, 90_000), codec="libx264", suffix=".mp4",
                    options={"qp": "0"})  # fmt: skip
    found = compare_videos(videos.make(exact, tmp_path / "b.mp4"), a)
    assert (found.pairs, found.unmatched_a, found.unmatched_b) == (12, 0, 0)
    assert found.metrics[0].mean == 100


def test_motion_is_not_measured_over_the_shot_boundary_of_a_frame_without_a_match(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second shot starts at a frame of A that B does not have."""
    times = [Fraction(n, 25) for n in range(12)]
    a = videos.make(FFV1, tmp_path / "a.mkv")
    b = videos.make(replace(FFV1, times=(*times[:3], *times[4:])), tmp_path / "b.mkv")

    def mark(spec: StreamSpec, chunks: Iterable[list[Frame]]) -> Iterator[Frame]:
        for frame in (frame for chunk in chunks for frame in chunk):
            yield frame.with_extras(cut=frame.time == times[3])

    monkeypatch.setattr(comparison, "mark_shots", mark)
    found = compare_videos(a, b)
    assert (found.pairs, found.unmatched_a, found.unmatched_b) == (11, 1, 0)
    assert [float(t) for t in found.times[np.isnan(found.values["tof"])]] == [0.0, 0.16]
    assert describe_unmatched(found).startswith("not compared: 1 frames of A and 0 of B")


def test_a_video_without_some_frames_is_compared(tmp_path: Path) -> None:
    a = videos.make(FFV1, tmp_path / "a.mkv")
    times = tuple(Fraction(n, 25) for n in range(12))
    b = videos.make(replace(FFV1, times=times[:6]), tmp_path / "b.mkv")
    found = compare_videos(a, b)
    assert (found.pairs, found.unmatched_a, found.unmatched_b) == (6, 6, 0)
    assert found.metrics[0].mean == 100


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (replace(FFV1, size=(96, 48)), "is 96x48: only videos of one size can be compared"),
        (replace(FFV1, pixels="bgr0"), "first plane of one is green"),
        (replace(FFV1, size=(8, 8)), "only videos of one size"),
    ],
)
def test_videos_that_cannot_be_compared_are_refused(
    other: videos.Video, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = videos.make(FFV1, tmp_path / "a.mkv")
    b = videos.make(other, tmp_path / "b.mkv")
    assert main(["compare", str(a), str(b)]) == Exit.USER
    assert words in capsys.readouterr().err


def test_the_command_prints_text_or_json_and_writes_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = videos.make(FFV1, tmp_path / "a.mkv")
    b = videos.make(replace(FFV1, codec="libx264", pixels="yuv420p", options={"crf": "40"}),
                   tmp_path / "b.mkv")  # fmt: skip
    assert main(["compare", str(a), str(b)]) == Exit.DONE
    output = capsys.readouterr().out
    assert "psnr" in output
    assert "12 pairs of frames; all frames matched" in output
    page = tmp_path / "page.html"
    assert main(["compare", str(a), str(b), "--json", "--report", str(page)]) == Exit.DONE
    data = json.loads(capsys.readouterr().out)
    assert set(data["metrics"]) <= set(UNITS)
    assert len(data["per_frame"]["psnr"]) == 12
    assert data["per_frame"]["tof"][0] is None
    assert data["metrics"]["psnr"]["worst"] == min(data["per_frame"]["psnr"])
    assert "data:image/png;base64," in page.read_text()
    assert page.with_suffix(".png").exists()


def test_vmaf_is_measured_by_an_ffmpeg_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    program = tmp_path / "ffmpeg"
    data = json.dumps({"frames": [{"metrics": {"vmaf": 90.0 + n}} for n in range(12)]})
    filters = " .. libvmaf   VV->V   Calculate the VMAF."
    program.write_text(f"#!/bin/sh\ncase $2 in -filters) echo '{filters}';; "
                       f"*) echo '{data}' > vmaf.json;; esac\n")  # fmt: skip
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    video = videos.make(FFV1, tmp_path / "a.mkv")
    found = compare_videos(video, video)
    (measured,) = (metric for metric in found.metrics if metric.name == "vmaf")
    assert (measured.mean, measured.worst, measured.frame) == (95.5, 90.0, 0)
    write_comparison_page(found, tmp_path / "page.html")
    program.write_text("#!/bin/sh\necho nothing of the kind\n")
    assert "without libvmaf" in vmaf.explain_missing_vmaf()
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert "not installed" in vmaf.explain_missing_vmaf()


def test_lpips_gets_rgb_between_minus_one_and_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is not installed: a replacement with its interface checks the inputs."""

    class Net:
        def __init__(self, **settings: object) -> None:
            assert settings["net"] == "alex"

        def eval(self) -> "Net":
            return self

        def __call__(self, a: Tensor, b: Tensor) -> Tensor:
            assert a.shape == b.shape == (1, 3, 64, 96)
            assert (float(a.min()), float(b.max())) == (-1.0, 1.0)
            return (b - a).mean()

    monkeypatch.setitem(sys.modules, "lpips", SimpleNamespace(LPIPS=Net))
    black, white = (Planes((np.full((64, 96), n, np.uint8),) * 3, "gbrp") for n in (0, 255))
    assert lpips.load_lpips()(black, white) == pytest.approx(2)
