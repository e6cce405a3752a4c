"""Tables in README.md and docs/ show only measured figures."""

import json
from pathlib import Path
from runpy import run_path

import pytest

ROOT = Path(__file__).parents[2]
fill_blocks = run_path(str(ROOT / "bench" / "tables.py"))["fill_blocks"]

TEXT = "before\n<!-- bench:speed mean -->\nold\n<!-- /bench -->\nafter\n"


PAGES = [
    page.relative_to(ROOT).as_posix()
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if "<!-- bench:" in page.read_text()
]


def test_every_page_with_figures_is_checked() -> None:
    """A page that loses its table would drop out of the list."""
    pages = ("colour", "durable", "flow", "guard", "memory", "models", "seams", "segments")
    assert set(PAGES) >= {"README.md", *(f"docs/{page}.md" for page in pages)}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_the_measured_figures(page: str) -> None:
    text = (ROOT / page).read_text()
    assert fill_blocks(text, ROOT / "bench" / "results") == text, "run bench/tables.py"


def test_a_block_is_filled_from_its_result(tmp_path: Path) -> None:
    rows = {"ours": {"dB": 37.25, "SSIM": 0.9754, "clips": 12}, "average": {
        "dB": 33.0, "SSIM": 0.9, "clips": 12}}  # fmt: skip
    result = {"machine": {"cores": 2}, "mean": rows}
    (tmp_path / "speed.json").write_text(json.dumps(result))
    text = fill_blocks(TEXT, tmp_path)
    assert "| ours | 37.25 | 0.975 | 12 |\n| average | 33.00 | 0.900 | 12 |" in text
    assert "`bench/speed.py`: cores 2." in text
    assert "old" not in text
    assert fill_blocks(text, tmp_path) == text


def test_published_figures_are_not_called_measured(tmp_path: Path) -> None:
    result = {"machine": {"cores": 2}, "published": {"theirs": {"dB": 36.06}}}
    (tmp_path / "speed.json").write_text(json.dumps(result))
    text = fill_blocks(TEXT.replace("mean", "published"), tmp_path)
    assert "| theirs | 36.06 |" in text
    assert "Published by its authors; not measured by us." in text
    assert "Measured by" not in text


def test_missing_figures_are_reported(tmp_path: Path) -> None:
    assert "Not measured yet" in fill_blocks(TEXT, tmp_path)
    (tmp_path / "speed.json").write_text("{}")
    with pytest.raises(KeyError, match="no rows under 'mean'"):
        fill_blocks(TEXT, tmp_path)
