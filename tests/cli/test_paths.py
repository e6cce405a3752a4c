"""Which film goes where: pairs, folders, patterns, and names that would collide."""

from pathlib import Path

import pytest

from filmgate.cli.paths import pairs
from filmgate.errors import BadSetting


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.mp4", "a.MKV", "c.avi", "notes.txt"):
        (tmp_path / name).touch()
    return tmp_path


def test_one_goes_to_one() -> None:
    assert pairs([Path("a"), Path("b")], None, None) == [(Path("a"), Path("b"))]


def test_several_folders_and_patterns_go_into_a_folder(folder: Path) -> None:
    out = folder / "made"
    videos = [folder / "a.MKV", folder / "b.mp4", folder / "c.avi"]
    wanted = list(zip(videos, [out / "a.MKV", out / "b.mp4", out / "c.mp4"], strict=True))
    assert pairs([folder], out, None) == wanted
    assert pairs([folder / "[a-c].*"], out, None) == wanted
    assert pairs(videos, out, None) == wanted
    assert out.is_dir()
    assert pairs([videos[2]], out, "mkv") == [(videos[2], out / "c.mkv")]


@pytest.mark.parametrize(
    ("paths", "out", "said"),
    [
        (["a"], None, "there is 1 path: wanted IN and OUT, or films and -o DIR"),
        (["a", "b", "c"], None, "there are 3 paths"),
        ([], "made", "there is no path"),
        (["b.mp4"], "notes.txt", "is a file: wanted a folder"),
        (["no*.mp4"], "made", "nothing is called"),
        (["x/c.mp4", "c.avi"], "made", "would both become"),
        (["b.mp4"], "no/made", "can't be made: No such file"),
    ],
)
def test_what_can_not_be_is_told(
    folder: Path, paths: list[str], out: str | None, said: str
) -> None:
    with pytest.raises(BadSetting, match=said):
        pairs([folder / path for path in paths], folder / out if out else None, None)
    assert not (folder / "made").exists()


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="holds no film"):
        pairs([tmp_path], tmp_path / "made", None)
