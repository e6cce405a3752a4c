"""A report replaces an earlier report, and no other file of the user."""

from pathlib import Path

import pytest
from PIL import Image

from filmgate.errors import BadSetting
from filmgate.media.records.page import render_page
from filmgate.quality.report.html import check_report, write_report


def test_report_replaces_an_earlier_one(tmp_path: Path) -> None:
    for title in ("first", "second"):
        page = render_page(title, "fine", True, [])
        paths = write_report(tmp_path / "page.html", page, Image.new("L", (8, 8)))
    assert paths == (tmp_path / "page.html", tmp_path / "page.png")
    assert "second" in paths[0].read_text()


@pytest.mark.parametrize(
    ("report", "existing"),
    [("in.mp4", "in.mp4"), ("page.html", "page.html"), ("page.html", "page.png"), ("a.png", "")],
)
def test_report_never_replaces_another_file(tmp_path: Path, report: str, existing: str) -> None:
    if existing:
        (tmp_path / existing).write_text("precious")
    with pytest.raises(BadSetting, match="choose another name"):
        check_report(tmp_path / report)
    with pytest.raises(BadSetting, match="choose another name"):
        write_report(tmp_path / report, "<p>", Image.new("L", (8, 8)))
    assert [path.name for path in tmp_path.iterdir()] == ([existing] if existing else [])
    assert not existing or (tmp_path / existing).read_text() == "precious"
