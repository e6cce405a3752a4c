"""The benchmark of flow scales: on a sliding video flow helps, and finer flow helps no less."""

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from filmgate.models import flow_model
from filmgate.models.families.raft.estimator import RaftEstimator
from filmgate.models.families.raft.net import SMALL, Raft

BENCH = Path(__file__).parents[2] / "bench"
FRAMES = 3


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return the benchmark, with results in a temporary folder and without weights."""
    monkeypatch.syspath_prepend(BENCH)
    monkeypatch.setenv("FILMGATE_MODELS", str(tmp_path / "models"))
    import _common
    import flow_scale
    import upscale_quality

    monkeypatch.setattr(_common, "__file__", str(tmp_path / "_common.py"))
    monkeypatch.setattr(upscale_quality, "SKIPPED", 0)
    _common.make_video(tmp_path / "one.mp4", 256, 192, FRAMES)
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    yield flow_scale
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])


def make_videos(bench: Any, tmp_path: Path) -> tuple[Any, Any]:
    """Return the sliding video, and the same downscaled four times."""
    truth = bench.read_frames(tmp_path / "one.mp4", FRAMES, 8)
    return truth, bench.downscale(truth, 4, bench.Image.Resampling.BICUBIC)


def test_a_guide_beats_no_motion_and_the_finest_beats_the_coarsest(
    bench: Any, tmp_path: Path
) -> None:
    rows = bench.measure_guide(*make_videos(bench, tmp_path))
    assert list(rows) == ["no motion", "dis, true video",
                          *(f"dis 1/{n}" for n in (1, 2, 4, 8, 16))]  # fmt: skip
    near = {name: row["psnr_db"] for name, row in rows.items()}
    assert near["dis, true video"] >= near["dis 1/1"] - 0.5
    assert near["dis 1/1"] > near["no motion"] + 6
    assert near["dis 1/1"] > near["dis 1/16"]
    assert rows["dis 1/1"]["pixels_apart"] == 0 < rows["dis 1/16"]["pixels_apart"]
    assert rows["no motion"]["pixels_apart"] == pytest.approx(2, abs=0.5), "it slides by 2"


def test_raft_has_rows_only_with_its_weights(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "SCALES", [bench.FULL])
    monkeypatch.setattr(bench, "FRACTIONS", [bench.FAR])
    monkeypatch.setattr(bench, "measure_loop", lambda *_: {"1/1": {"psnr_db": 1.0}})
    assert not bench.has_weights("raft_large")
    net = Raft(SMALL).eval().requires_grad_(False)
    monkeypatch.setattr(flow_model, "build_flow", lambda *_: RaftEstimator(net, updates=1))
    monkeypatch.setattr(bench, "has_weights", lambda model: model == "raft_small")
    found = bench.measure_clips([tmp_path / "one.mp4"], 2)
    assert found["guide"]["raft_large"]["psnr_db"] == "not measured: no weights here"
    assert found["guide"]["raft_small 1/8"]["psnr_db"] > 0


def test_steady_is_measured_at_every_scale(bench: Any, tmp_path: Path) -> None:
    rows = bench.measure_steady(*make_videos(bench, tmp_path))
    assert list(rows) == ["not steady", *(f"1/{n}" for n in (1, 2, 4, 8, 16))]
    assert rows["1/1"]["flicker"] < rows["not steady"]["flicker"]
    assert rows["1/1"]["psnr_db"] != rows["1/16"]["psnr_db"]


@pytest.mark.slow
def test_results_are_written_and_the_loop_is_measured_by_distance(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "SIZE", (32, 48))
    monkeypatch.setattr(bench, "NETS", 1)
    monkeypatch.setattr(bench, "predict", lambda: ({}, {}))
    flags = ["--clips", tmp_path, "--only", "one", "--frames", 3, "--turns", 1]
    monkeypatch.setattr(sys, "argv", ["flow_scale.py", *map(str, flags)])
    bench.main()
    result = json.loads((tmp_path / "results" / "flow_scale.json").read_text())
    rows = result["loop"]
    assert rows["1/1"]["psnr_db"] == "the same"
    assert 20 < rows["no motion"]["psnr_db"] < rows["1/8"]["psnr_db"] < 100
    assert rows["no motion"]["relative_to_no_motion"] == pytest.approx(1)
    assert result["seconds"]["1/8: 24x16"]["raft_large s"] > 0


@pytest.mark.slow
def test_a_quarter_of_the_pixels_saves_three_quarters_of_raft_and_little_of_a_frame(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "SIZE", (256, 512))
    monkeypatch.setattr(bench, "SCALES", [bench.NEAR, bench.FAR])
    rows, claims = bench.predict()
    assert rows["1/4"]["RAFT volume GB"] > 4 * rows["1/8"]["RAFT volume GB"]
    for row in rows.values():
        assert row["frame TFLOP"] > row["RAFT TFLOP"] > 0
    assert {row["claimed, % less"] for row in claims.values()} == {17, 75}
    time = claims["time, if proportional to operations"]
    assert 72 < time["RAFT alone, % less"] < 78
    assert 0 < time["complete frame, % less"] < 1
