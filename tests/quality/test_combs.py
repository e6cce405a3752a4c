"""The comb meter."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from filmgate.cli.main import main
from filmgate.errors import Exit
from filmgate.quality.combs import count_combs
from tests.media.old_videos import OldVideo, draw_bar, make_old, weave

LOSSLESS = OldVideo("ffv1", size=(128, 96), options={})


def test_combed_and_progressive_frames_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bars = [draw_bar(n) for n in range(40)]
    mixed = [*bars[:10], *weave(bars, "top")[:6], *bars[20:24]]
    path = make_old(replace(LOSSLESS), tmp_path / "a.mkv", mixed)
    found = count_combs(path)
    assert (found.frames, found.moving, found.combed, found.ok) == (20, 19, 6, False)
    assert (found.first, found.last) == (10 / LOSSLESS.rate, 15 / LOSSLESS.rate)
    assert main(["check", str(path), "--combs"]) == Exit.VERDICT_NO
    assert "6 of 19 moving frames are combed, from 0.400 s" in capsys.readouterr().out
    assert main(["check", str(path), "--combs", "--json"]) == Exit.VERDICT_NO
    assert json.loads(capsys.readouterr().out)["combs"]["combed"] == 6


def test_fine_detail_that_moves_is_not_combed(tmp_path: Path) -> None:
    spec = replace(LOSSLESS, size=(64, 48))
    assert count_combs(make_old(spec, tmp_path / "a.mkv")).ok
