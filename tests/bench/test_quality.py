"""The interpolation benchmark: the Xiph protocol on tiny videos, FILM with and without weights."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import videos
from tests.models import tiny

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def quality(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return the benchmark, with results in a temporary folder and without weights."""
    monkeypatch.syspath_prepend(BENCH)
    monkeypatch.setenv("FILMGATE_MODELS", str(tmp_path / "models"))
    import _common
    import interpolate_quality

    monkeypatch.setattr(_common, "__file__", str(tmp_path / "_common.py"))
    return interpolate_quality


def run(bench: Any, monkeypatch: pytest.MonkeyPatch, *flags: object) -> None:
    monkeypatch.setattr(sys, "argv", ["interpolate_quality.py", *map(str, flags)])
    bench.main()


def test_xiph_predicts_even_frames_at_half_size_and_in_the_middle(
    quality: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (clips := tmp_path / "clips").mkdir()
    for name in ("one", "two"):
        videos.make(videos.Video(8, (128, 96)), clips / f"{name}.mp4")
    run(quality, monkeypatch, "--xiph", clips, "--weights", tiny.weights("film"))
    assert "the protocol has 8" in capsys.readouterr().out
    result = json.loads((tmp_path / "results" / "interpolate_quality_xiph.json").read_text())
    rows = result["xiph"]
    assert list(rows) == [f"{crop} {way}" for crop in ("2K", "4K")
                          for way in ("average", "dis (ours)", "FILM")]  # fmt: skip
    assert {row["predictions"] for row in rows.values()} == {6}, "2, 4 and 6 of 8, in two clips"
    assert all(0 < row["psnr"] <= 100 and -1 <= row["ssim"] <= 1 for row in rows.values())
    assert result["published"]["Xiph-2K"]["psnr"] == 36.66


def test_xiph_crops_and_predicts_the_right_frames(quality: Any) -> None:
    import _xiph
    import numpy as np

    image = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)
    assert _xiph.halve(image).shape == (4, 6, 3)
    assert np.array_equal(_xiph.crop_middle(image), image[2:6, 3:9])
    seen = [np.full((2, 2, 3), n, np.uint8) for n in range(1, 101)]
    threes = [(a.arrays[0][0, 0], b[0, 0, 0], c.arrays[0][0, 0])
              for a, b, c in _xiph._iter_triples(iter(seen))]  # fmt: skip
    assert threes == [(n - 1, n, n + 1) for n in range(2, 100, 2)]
    assert len(threes) == 49


def test_without_weights_a_row_says_so(
    quality: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clips := tmp_path / "clips").mkdir()
    videos.make(videos.Video(5), clips / "one.mp4")
    run(quality, monkeypatch, "--clips", clips, "--frames", 2)
    result = json.loads((tmp_path / "results" / "interpolate_quality.json").read_text())
    assert result["mean"]["FILM"] == {
        "psnr": "not measured: no weights here", "ssim": "", "seconds": ""
    }  # fmt: skip
    assert result["mean"]["dis (ours)"]["psnr"] > 0
