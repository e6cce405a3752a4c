"""Tables: no figure in our papers but those that were measured."""

import json
from pathlib import Path
from runpy import run_path

import pytest

ROOT = Path(__file__).parents[2]
filled = run_path(str(ROOT / "bench" / "tables.py"))["filled"]

TEXT = "before\n<!-- bench:speed mean -->\nold\n<!-- /bench -->\nafter\n"


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/colour.md",
        "docs/flow.md",
        "docs/guard.md",
        "docs/memory.md",
        "docs/models.md",
        "docs/segments.md",
        "docs/upscale.md",
    ],
)
def test_a_paper_shows_what_was_measured(page: str) -> None:
    text = (ROOT / page).read_text()
    assert filled(text, ROOT / "bench" / "results") == text, "run bench/tables.py"
    assert "<!-- bench:" in text


def test_a_block_is_filled_from_its_result(tmp_path: Path) -> None:
    rows = {"ours": {"dB": 37.25, "SSIM": 0.9754, "clips": 12}, "average": {
        "dB": 33.0, "SSIM": 0.9, "clips": 12}}  # fmt: skip
    result = {"machine": {"cores": 2}, "mean": rows}
    (tmp_path / "speed.json").write_text(json.dumps(result))
    text = filled(TEXT, tmp_path)
    assert "| ours | 37.25 | 0.975 | 12 |\n| average | 33.00 | 0.900 | 12 |" in text
    assert "`bench/speed.py`: cores 2." in text
    assert "old" not in text
    assert filled(text, tmp_path) == text


def test_what_others_published_is_not_called_measured(tmp_path: Path) -> None:
    result = {"machine": {"cores": 2}, "published": {"theirs": {"dB": 36.06}}}
    (tmp_path / "speed.json").write_text(json.dumps(result))
    text = filled(TEXT.replace("mean", "published"), tmp_path)
    assert "| theirs | 36.06 |" in text
    assert "Published by its authors; not measured by us." in text
    assert "Measured by" not in text


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    assert "Not measured yet" in filled(TEXT, tmp_path)
    (tmp_path / "speed.json").write_text("{}")
    with pytest.raises(KeyError, match="no rows under 'mean'"):
        filled(TEXT, tmp_path)
