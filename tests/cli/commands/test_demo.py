"""`filmgate demo` makes a video that passes its checks, and says where it cannot."""

from pathlib import Path

import pytest

from filmgate.cli.main import main
from filmgate.errors import Exit


@pytest.mark.slow
def test_three_files_are_made_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flags in ([], ["--overwrite"]):
        assert main(["demo", str(tmp_path / "a demo"), *flags]) == Exit.DONE
        assert "72 frames in, 144 out" in capsys.readouterr().out
    names = sorted(path.name for path in (tmp_path / "a demo").iterdir())
    assert names == ["sheet.png", "smooth.mp4", "video.mp4"]


def test_files_of_these_names_are_not_replaced_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sheet.png").write_text("mine")
    assert main(["demo", str(tmp_path)]) == Exit.USER
    assert "sheet.png exists: pass another folder, or --overwrite" in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_that_cannot_be_created_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "no" / "demo"):
        assert main(["demo", str(folder)]) == Exit.USER
        assert f"cannot create the folder {folder}" in capsys.readouterr().err
