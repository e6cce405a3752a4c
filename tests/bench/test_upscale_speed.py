"""The speed of `compact`: what is compared gives the same images."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filmgate.core.frame import ColorTags
from filmgate.media.pixels.planes import Planes
from filmgate.models.families.compact import find_weights
from filmgate.models.families.compact.upscaler import CompactUpscaler, open_network

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCH)
    import upscale_speed

    return upscale_speed


def test_strips_and_tiles_give_the_same_image(bench: Any) -> None:
    image = Planes(tuple(bench.make_planes(70, 54)), "yuv420p", ColorTags(matrix="bt709"))
    net = open_network(find_weights(2))
    before, now = bench.upscale_in_strips(net, image, 1), CompactUpscaler(net).upscale(image)
    assert before.size == now.size == (140, 108)
    for a, b in zip(before.arrays, now.arrays, strict=True):
        assert np.abs(a.astype(int) - b).max() <= 1
        assert np.mean(a != b) < 1e-3


def test_ratios_are_to_compact_in_the_same_round(
    bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = dict[str, Any]()
    monkeypatch.setattr(bench, "write_result", lambda name, result: written.update(result))
    monkeypatch.setattr(bench.shutil, "which", lambda name: None)
    calls = list[str]()

    def run(way: str, frames: int) -> dict[str, float]:
        calls.append(way)
        value = len(calls) * (3.0 if way == "compact before" else 1.0)
        return dict.fromkeys(bench.FIGURES, value)

    monkeypatch.setattr(bench, "run_way", run)
    monkeypatch.setattr(sys, "argv", ["upscale_speed", "--rounds", "1"])
    bench.main()
    assert "Lanczos by ffmpeg is left out" in capsys.readouterr().out
    assert calls == ["compact", "compact before", "realesr-animevideov3"]
    assert json.loads(json.dumps(written["ways"]))["compact before"]["seconds_x"] == 6.0
