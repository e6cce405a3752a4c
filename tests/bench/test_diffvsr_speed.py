"""The speed of Stream-DiffVSR: both ways draw one film, and what a card would be asked is tried."""

import json
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from filmgate.errors import OutOfMemory

BENCH = Path(__file__).parents[2] / "bench"
APART = 1e-4  # of full scale: each way finds flow by its own RAFT


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """As on the CPU, whatever is here."""
    monkeypatch.syspath_prepend(BENCH)
    import diffvsr_speed

    monkeypatch.setattr(diffvsr_speed, "CUDA", False)
    monkeypatch.setattr(diffvsr_speed, "DEVICE", "cpu")
    return diffvsr_speed


@pytest.fixture
def card(bench: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The bench believes in a card, which is the CPU and holds 2 GB of 24."""
    monkeypatch.setattr(bench, "CUDA", True)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda _: None)
    answers = {"synchronize": None, "empty_cache": None, "reset_peak_memory_stats": None,
               "max_memory_allocated": 2e9, "max_memory_reserved": 3e9,
               "get_device_name": "a card",
               "get_device_properties": SimpleNamespace(total_memory=24e9)}  # fmt: skip
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    return bench


def test_without_a_card_nothing_is_measured(
    bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "child", None)
    bench.main([])
    assert capsys.readouterr().out == "skipped: no GPU here\n"


def test_a_row_is_known_by_its_name(card: Any) -> None:
    rows = list(card.rows(False))
    assert [card.Row.of(row.name) for row in rows] == rows
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

    monkeypatch.setattr(bench, "measured", fails)
    line = bench.told(next(bench.rows(True)), True, 1)
    assert line["said"].startswith("out of memory: ")
    assert line["said"].endswith("Tried to allocate 60.50 GiB")
    assert line["seconds"] == line["gb"] == "-"
    error = ValueError("ours")
    with pytest.raises(ValueError, match="ours"):
        bench.told(next(bench.rows(True)), True, 1)


def test_what_a_card_says_becomes_a_table(
    card: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    line = {"seconds": 0.25, "flow_s": 0.05, "networks_s": 0.15, "decoder_s": 0.05, "gb": 2.0,
            "reserved_gb": 2.5, "predicted_gb": 2.1, "measured_of_predicted": 0.95,
            "said": ""}  # fmt: skip
    said = {"ours": line, "plain": {"said": "out of memory: 60 GiB"}}
    monkeypatch.setattr(card, "child", lambda words: {"1": 1e-6} if words == ["--apart"] else
                        said[card.Row.of(words[1]).way])  # fmt: skip
    write = run_path(str(BENCH / "_film.py"))["write_result"]
    write.__globals__["__file__"] = str(tmp_path / "_film.py")
    monkeypatch.setattr(card, "write_result", write)
    card.main([])
    path = tmp_path / "results" / "diffvsr_speed.json"
    assert json.loads(path.read_text())["machine"]["card"] == "a card, 24 GB"
    table = run_path(str(BENCH / "tables.py"))["block"](path, "ways")
    assert "| 180x320 ours float16 flow 1 | 0.250 | 0.050 | 0.150 | 0.050 | 2.000 |" in table
    assert "| 512x704 plain float16 flow 1 | - | - | - | - | - | - | - | - | out of mem" in table
    assert "Measured by `bench/diffvsr_speed.py`: python" in table


# --- with diffusers, whose import alone takes ten seconds of the CPU ---------------------------


@pytest.mark.slow
def test_both_ways_draw_one_film(bench: Any) -> None:
    """On equal weights, noise and film; so the plain loop is a fair one."""
    for scale in bench.SCALES:
        assert bench.apart(scale) < APART
    videos = []
    for scale in bench.SCALES:
        nets = bench.built("cpu", torch.float32, True, bench.Parts())
        step = bench.plain(nets, bench.TINY_SIZE, scale)
        videos.append([step(n, picture) for n, picture in
                      enumerate(bench.pictures(bench.TINY_SIZE, 3))])  # fmt: skip
    apart = [float((a - b).abs().max()) for a, b in zip(*videos, strict=True)]
    assert apart[0] == 0
    assert min(apart[1:]) > 100 * APART, "what flow says is to be seen"


@pytest.mark.slow
def test_small_networks_give_every_figure_that_needs_no_card(
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
    assert max(found[0].values()) < APART
    assert len(found) == 5
    for line in found[1:]:
        assert line["seconds"] > 0 < min(line[f"{part}_s"] for part in bench.PARTS)
        assert (line["gb"], line["predicted_gb"], line["said"]) == ("-", "-", "")


@pytest.mark.slow
def test_a_card_is_asked_for_its_memory(card: Any) -> None:
    line = card.told(card.Row("plain", card.TINY_SIZE, card.SCALES[1], "float16"), True, 1)
    assert (line["gb"], line["reserved_gb"], line["said"]) == (2.0, 3.0, "")
    assert line["seconds"] > 0
    assert all(line[f"{part}_s"] > 0 for part in card.PARTS)


@pytest.mark.slow
def test_what_is_predicted_stands_beside_it(bench: Any) -> None:
    row = bench.Row("plain", bench.TINY_SIZE, bench.SCALES[1], "float16")
    assert 1.3 < bench.foreseen(row) < 2, "weights of 1.37 GB"


@pytest.mark.slow
def test_a_row_that_dies_is_told_and_the_others_go_on(bench: Any) -> None:
    found = bench.child(["--row", "nonsense"])
    assert list(found) == ["said"]
    assert found["said"].startswith("died with 1: ValueError: not enough values")
