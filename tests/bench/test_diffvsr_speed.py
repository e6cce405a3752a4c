"""The speed of Stream-DiffVSR: both methods give one video, and GPU code runs on a fake GPU."""

import json
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from filmgate.errors import OutOfMemory

BENCH = Path(__file__).parents[2] / "bench"
MAX_DIFFERENCE = 1e-4  # of full scale: each method estimates flow by its own RAFT


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the benchmark as if there were no GPU."""
    monkeypatch.syspath_prepend(BENCH)
    import diffvsr_speed

    monkeypatch.setattr(diffvsr_speed, "CUDA", False)
    monkeypatch.setattr(diffvsr_speed, "DEVICE", "cpu")
    return diffvsr_speed


@pytest.fixture
def gpu(bench: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the benchmark with a fake GPU, which is the CPU and holds 2 GB of 24."""
    monkeypatch.setattr(bench, "CUDA", True)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda _: None)
    answers = {"synchronize": None, "empty_cache": None, "reset_peak_memory_stats": None,
               "max_memory_allocated": 2e9, "max_memory_reserved": 3e9,
               "get_device_name": "a GPU",
               "get_device_properties": SimpleNamespace(total_memory=24e9)}  # fmt: skip
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    return bench


def test_without_a_gpu_nothing_is_measured(
    bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "child", None)
    bench.main([])
    assert capsys.readouterr().out == "skipped: no GPU here\n"


def test_a_row_is_restored_from_its_name(gpu: Any) -> None:
    rows = list(gpu.list_rows(False))
    assert [gpu.Row.of(row.name) for row in rows] == rows
    names = [row.name for row in rows]
    assert len(set(names)) == 10
    assert "512x704 ours float16 flow 1/4" in names
    assert "180x320 plain float32 flow 1" in names


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 60.50 GiB. GPU 0 has 24 GiB"),
        OutOfMemory(0, 1, "CUDA out of memory. Tried to allocate 60.50 GiB. GPU 0 has 24 GiB"),
    ],
)
def test_out_of_memory_is_a_result(
    error: Exception, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(bench, "measure", fails)
    line = bench.make_line(next(bench.list_rows(True)), True, 1)
    assert line["error"].startswith("out of memory: ")
    assert line["error"].endswith("Tried to allocate 60.50 GiB")
    assert line["seconds"] == line["gb"] == "-"
    error = ValueError("ours")
    with pytest.raises(ValueError, match="ours"):
        bench.make_line(next(bench.list_rows(True)), True, 1)


def test_measurements_on_a_gpu_become_a_table(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    line = {"seconds": 0.25, "flow_s": 0.05, "networks_s": 0.15, "decoder_s": 0.05, "gb": 2.0,
            "reserved_gb": 2.5, "predicted_gb": 2.1, "measured_of_predicted": 0.95,
            "error": ""}  # fmt: skip
    results = {"ours": line, "plain": {"error": "out of memory: 60 GiB"}}
    monkeypatch.setattr(gpu, "child", lambda words: {"1": 1e-6} if words == ["--difference"] else
                        results[gpu.Row.of(words[1]).method])  # fmt: skip
    write = run_path(str(BENCH / "_common.py"))["write_result"]
    write.__globals__["__file__"] = str(tmp_path / "_common.py")
    monkeypatch.setattr(gpu, "write_result", write)
    gpu.main([])
    path = tmp_path / "results" / "diffvsr_speed.json"
    assert json.loads(path.read_text())["machine"]["gpu"] == "a GPU, 24 GB"
    table = run_path(str(BENCH / "tables.py"))["make_block"](path, "ways")
    assert "| 180x320 ours float16 flow 1 | 0.250 | 0.050 | 0.150 | 0.050 | 2.000 |" in table
    assert "| 512x704 plain float16 flow 1 | - | - | - | - | - | - | - | - | out of mem" in table
    assert "Measured by `bench/diffvsr_speed.py`: python" in table


# --- with diffusers, whose import alone takes ten seconds of the CPU ---------------------------


@pytest.mark.slow
def test_both_methods_give_one_video(bench: Any) -> None:
    """Weights, noise and video are equal, so the plain loop is a fair comparison."""
    for scale in bench.SCALES:
        assert bench.measure_difference(scale) < MAX_DIFFERENCE
    videos = []
    for scale in bench.SCALES:
        nets = bench.build_networks("cpu", torch.float32, True, bench.Parts())
        step = bench.build_plain(nets, bench.TINY_SIZE, scale)
        videos.append([step(n, image) for n, image in
                      enumerate(bench.make_images(bench.TINY_SIZE, 3))])  # fmt: skip
    differences = [float((a - b).abs().max()) for a, b in zip(*videos, strict=True)]
    assert differences[0] == 0
    assert min(differences[1:]) > 100 * MAX_DIFFERENCE, "the scale of flow must matter"


@pytest.mark.slow
def test_small_networks_give_every_figure_that_needs_no_gpu(
    bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = list[dict[str, Any]]()

    def child(words: list[str]) -> dict[str, Any]:
        bench.main(words)
        found.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
        return found[-1]

    monkeypatch.setattr(bench, "child", child)
    monkeypatch.setattr(bench, "write_result", None)
    bench.main(["--tiny", "--frames", "1"])
    assert max(found[0].values()) < MAX_DIFFERENCE
    assert len(found) == 5
    for line in found[1:]:
        assert line["seconds"] > 0 < min(line[f"{part}_s"] for part in bench.PARTS)
        assert (line["gb"], line["predicted_gb"], line["error"]) == ("-", "-", "")


@pytest.mark.slow
def test_the_memory_of_a_gpu_is_read(gpu: Any) -> None:
    line = gpu.make_line(gpu.Row("plain", gpu.TINY_SIZE, gpu.SCALES[1], "float16"), True, 1)
    assert (line["gb"], line["reserved_gb"], line["error"]) == (2.0, 3.0, "")
    assert line["seconds"] > 0
    assert all(line[f"{part}_s"] > 0 for part in gpu.PARTS)


@pytest.mark.slow
def test_the_peak_is_predicted(bench: Any) -> None:
    row = bench.Row("plain", bench.TINY_SIZE, bench.SCALES[1], "float16")
    assert 1.3 < bench.predict(row) < 2, "weights of 1.37 GB"


@pytest.mark.slow
def test_a_row_that_dies_is_reported(bench: Any) -> None:
    found = bench.child(["--row", "nonsense"])
    assert list(found) == ["error"]
    assert found["error"].startswith("died with 1: ValueError: not enough values")
