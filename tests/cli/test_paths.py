"""Inputs and results: pairs, folders, patterns, and names that would collide."""

from pathlib import Path

import pytest

from filmgate.cli.paths import pair_paths
from filmgate.errors import BadSetting


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.mp4", "a.MKV", "c.avi", "notes.txt"):
        (tmp_path / name).touch()
    return tmp_path


def test_one_input_has_one_result() -> None:
    assert pair_paths([Path("a"), Path("b")], None, None) == [(Path("a"), Path("b"))]


def test_folders_and_patterns_go_into_a_folder(folder: Path) -> None:
    out = folder / "made"
    videos = [folder / "a.MKV", folder / "b.mp4", folder / "c.avi"]
    wanted = list(zip(videos, [out / "a.MKV", out / "b.mp4", out / "c.mp4"], strict=True))
    assert pair_paths([folder], out, None) == wanted
    assert pair_paths([folder / "[a-c].*"], out, None) == wanted
    assert pair_paths(videos, out, None) == wanted
    assert out.is_dir()
    assert pair_paths([videos[2]], out, "mkv") == [(videos[2], out / "c.mkv")]


@pytest.mark.parametrize(
    ("paths", "out", "text"),
    [
        (["a"], None, "there is 1 path: pass IN and OUT, or inputs and -o DIR"),
        (["a", "b", "c"], None, "there are 3 paths"),
        ([], "made", "there is no path"),
        (["b.mp4"], "notes.txt", "is a file: pass a folder"),
        (["no*.mp4"], "made", "no file matches"),
        (["x/c.mp4", "c.avi"], "made", "would both become"),
        (["b.mp4"], "no/made", "cannot create the folder .*: No such file"),
    ],
)
def test_impossible_paths_are_refused(
    folder: Path, paths: list[str], out: str | None, text: str
) -> None:
    with pytest.raises(BadSetting, match=text):
        pair_paths([folder / path for path in paths], folder / out if out else None, None)
    assert not (folder / "made").exists()


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="contains no video"):
        pair_paths([tmp_path], tmp_path / "made", None)
