"""The bench of flow scales: on a film that slides, flow helps, and finer flow no less."""

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from filmgate.models.families import raft
from filmgate.models.families.raft import RaftFlow
from filmgate.models.families.raft.net import SMALL, Raft

BENCH = Path(__file__).parents[2] / "bench"
FRAMES = 4


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The bench, whose result goes into a folder that goes again, where no weights are."""
    monkeypatch.syspath_prepend(BENCH)
    monkeypatch.setenv("FILMGATE_MODELS", str(tmp_path / "models"))
    import _film
    import flow_scale
    import upscale_quality

    monkeypatch.setattr(_film, "__file__", str(tmp_path / "_film.py"))
    monkeypatch.setattr(upscale_quality, "SKIPPED", 0)
    _film.moving_texture(tmp_path / "one.mp4", 256, 192, FRAMES)
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    yield flow_scale
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])


def reel(bench: Any, tmp_path: Path) -> tuple[Any, Any]:
    """The sliding film, and the same four times smaller."""
    truth = bench.shown(tmp_path / "one.mp4", FRAMES, 8)
    return truth, bench.shrunk(truth, 4, bench.Image.Resampling.BICUBIC)


def test_a_guide_is_nearer_than_no_motion_and_the_coarsest_is_no_nearer_than_the_finest(
    bench: Any, tmp_path: Path
) -> None:
    rows = bench.guide(*reel(bench, tmp_path))
    assert list(rows) == ["no motion", "dis, true film",
                          *(f"dis 1/{n}" for n in (1, 2, 4, 8, 16))]  # fmt: skip
    near = {name: row["psnr_db"] for name, row in rows.items()}
    assert near["dis, true film"] >= near["dis 1/1"] - 0.5
    assert near["dis 1/1"] > near["no motion"] + 6
    assert near["dis 1/1"] > near["dis 1/16"]
    assert rows["dis 1/1"]["pixels_apart"] == 0 < rows["dis 1/16"]["pixels_apart"]
    assert rows["no motion"]["pixels_apart"] == pytest.approx(2, abs=0.5), "it slides by 2"


def test_raft_has_rows_where_its_weights_are_and_a_word_where_not(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "SCALES", [bench.WHOLE])
    monkeypatch.setattr(bench, "FRACTIONS", [bench.FAR])
    monkeypatch.setattr(bench, "loop", lambda *_: {"1/1": {"psnr_db": 1.0}})
    found = bench.measured([tmp_path / "one.mp4"], 2)
    assert found["guide"]["raft_large"]["psnr_db"] == "not measured: weights not here"
    net = Raft(SMALL).eval().requires_grad_(False)
    monkeypatch.setattr(raft, "estimator", lambda *_: RaftFlow(net, updates=1))
    monkeypatch.setattr(bench, "here", lambda model: model == "raft_small")
    found = bench.measured([tmp_path / "one.mp4"], 2)
    assert found["guide"]["raft_large"]["psnr_db"] == "not measured: weights not here"
    assert found["guide"]["raft_small 1/8"]["psnr_db"] > 0


def test_steady_is_measured_at_every_scale(bench: Any, tmp_path: Path) -> None:
    rows = bench.steady(*reel(bench, tmp_path))
    assert list(rows) == ["not steady", *(f"1/{n}" for n in (1, 2, 4, 8, 16))]
    assert rows["1/1"]["flicker"] < rows["not steady"]["flicker"]
    assert rows["1/1"]["psnr_db"] != rows["1/16"]["psnr_db"]


@pytest.mark.slow
def test_what_is_measured_is_written_and_the_loop_is_told_by_its_distance(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "SIZE", (32, 48))
    monkeypatch.setattr(bench, "NETS", 1)
    monkeypatch.setattr(bench, "foreseen", lambda: ({}, {}))
    flags = ["--clips", tmp_path, "--only", "one", "--frames", 3, "--turns", 1]
    monkeypatch.setattr(sys, "argv", ["flow_scale.py", *map(str, flags)])
    bench.main()
    result = json.loads((tmp_path / "results" / "flow_scale.json").read_text())
    rows = result["loop"]
    assert rows["1/1"]["psnr_db"] == "the same"
    assert 20 < rows["no motion"]["psnr_db"] < rows["1/8"]["psnr_db"] < 100
    assert rows["no motion"]["beside_no_motion"] == pytest.approx(1)
    assert result["seconds"]["1/8: 24x16"]["raft_large s"] > 0


@pytest.mark.slow
def test_a_quarter_of_the_pixels_is_a_quarter_of_raft_and_hardly_less_of_a_frame(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "SIZE", (256, 512))
    monkeypatch.setattr(bench, "SCALES", [bench.NEAR, bench.FAR])
    rows, claims = bench.foreseen()
    assert rows["1/4"]["RAFT volume GB"] > 4 * rows["1/8"]["RAFT volume GB"]
    for row in rows.values():
        assert row["frame TFLOP"] > row["RAFT TFLOP"] > 0
    assert {row["said, % less"] for row in claims.values()} == {17, 75}
    time = claims["time, if it went as operations"]
    assert 72 < time["RAFT alone, % less"] < 78
    assert 0 < time["whole frame, % less"] < 1
