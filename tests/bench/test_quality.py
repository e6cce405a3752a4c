"""The quality bench: the Xiph protocol on a tiny film, FILM where its weights are and where not."""

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
    """The bench, whose result goes into a folder that goes again, where no weights are."""
    monkeypatch.syspath_prepend(BENCH)
    monkeypatch.setenv("FILMGATE_MODELS", str(tmp_path / "models"))
    import _film
    import interpolate_quality

    monkeypatch.setattr(_film, "__file__", str(tmp_path / "_film.py"))
    return interpolate_quality


def asked(bench: Any, monkeypatch: pytest.MonkeyPatch, *flags: object) -> None:
    monkeypatch.setattr(sys, "argv", ["interpolate_quality.py", *map(str, flags)])
    bench.main()


def test_xiph_predicts_even_frames_at_half_size_and_in_the_middle(
    quality: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (clips := tmp_path / "clips").mkdir()
    for name in ("one", "two"):
        videos.make(videos.Video(8, (128, 96)), clips / f"{name}.mp4")
    asked(quality, monkeypatch, "--xiph", clips, "--weights", tiny.weights("film"))
    assert "the protocol has 8" in capsys.readouterr().out
    result = json.loads((tmp_path / "results" / "interpolate_quality_xiph.json").read_text())
    rows = result["xiph"]
    assert list(rows) == [f"{cut} {way}" for cut in ("2K", "4K")
                          for way in ("average", "ours", "film")]  # fmt: skip
    assert {row["predictions"] for row in rows.values()} == {6}, "2, 4 and 6 of 8, in two clips"
    assert all(0 < row["psnr"] <= 100 and -1 <= row["ssim"] <= 1 for row in rows.values())
    assert result["published"]["Xiph-2K"]["psnr"] == 36.66


def test_xiph_cuts_and_predicts_what_it_says(quality: Any) -> None:
    import _xiph
    import numpy as np

    picture = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)
    assert _xiph.half(picture).shape == (4, 6, 3)
    assert np.array_equal(_xiph.middle(picture), picture[2:6, 3:9])
    seen = [np.full((2, 2, 3), n, np.uint8) for n in range(1, 101)]
    threes = [(a.arrays[0][0, 0], b[0, 0, 0], c.arrays[0][0, 0])
              for a, b, c in _xiph._threes(iter(seen))]  # fmt: skip
    assert threes == [(n - 1, n, n + 1) for n in range(2, 100, 2)]
    assert len(threes) == 49


def test_without_weights_film_has_a_row_that_says_so(
    quality: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clips := tmp_path / "clips").mkdir()
    videos.make(videos.Video(5), clips / "one.mp4")
    asked(quality, monkeypatch, "--clips", clips, "--frames", 2)
    result = json.loads((tmp_path / "results" / "interpolate_quality.json").read_text())
    assert result["mean"]["film"] == {
        "psnr": "not measured: weights not here", "ssim": "", "seconds": ""
    }  # fmt: skip
    assert result["mean"]["ours"]["psnr"] > 0
