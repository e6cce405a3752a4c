"""Names that Windows changes or refuses, long paths, and names that are one file."""

import sys
from pathlib import Path, PureWindowsPath

import pytest

from filmgate.errors import BadSetting
from filmgate.storage import file_names
from filmgate.storage.file_kind import check_output_file
from filmgate.storage.file_names import (
    explain_refused_name,
    extend_long_path,
    fold_path,
    is_same_folder,
    split_pattern,
)


@pytest.mark.parametrize(
    "name",
    [
        "aux.mp4", "CON", "nul.tar.mkv", "Com1.mp4", "lpt9", "COM\u00b2.mp4", "conout$", "con .mp4",
        "C:\\videos\\prn\\out.mp4", "videos/aux.frames/%06d.png", "\\\\server\\share\\nul.mp4",
        "ab:c.mp4", "C:\\a\\b.mp4:stream", "what?.mp4", "a<b.mp4", "tab\t.mp4", "out.mp4.",
        "out.mp4 ", "folder.\\out.mp4", "C:..\\aux.mp4", "\\\\?\\C:\\out.mp4.",
        "\\\\?\\UNC\\server\\share\\com1.mp4",
    ],
)  # fmt: skip
def test_a_name_that_windows_changes_is_explained(name: str) -> None:
    assert "Windows" in explain_refused_name(PureWindowsPath(name))


@pytest.mark.parametrize(
    "name",
    [
        "out.mp4", "C:out.mp4", "C:\\a b\\out.mp4", "..\\out.mp4", "./out.mp4", "console.mp4",
        "com10.mp4", "auxiliary.mp4", ".hidden.mp4", "\\\\server\\share\\out.mp4",
        "\u6620\u753b.mp4",
        "a.con", "\\\\?\\C:\\out.mp4", "100% [final], (2).mp4", "nul_.mp4", "com.mp4", "a..b.mp4",
    ],
)  # fmt: skip
def test_other_names_are_taken(name: str) -> None:
    assert explain_refused_name(PureWindowsPath(name)) == ""


@pytest.mark.skipif(sys.platform == "win32", reason="refuses these names")
def test_other_systems_take_every_name(tmp_path: Path) -> None:
    check_output_file(tmp_path / "aux.mp4")
    check_output_file(tmp_path / "a:b.mp4.")


def test_an_output_of_such_a_name_is_refused_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(BadSetting, match=r"aux\.mp4 is the name of a device on Windows\. Choose"):
        check_output_file(Path("aux.mp4"))


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("C:\\out.mp4", "C:\\out.mp4"),
        ("C:\\" + "a" * 250 + "\\..\\out.mp4", "C:\\" + "a" * 250 + "\\..\\out.mp4"),
        ("C:\\" + "a" * 250, "\\\\?\\C:\\" + "a" * 250),
        ("C:/" + "a/" * 120 + "b", "\\\\?\\C:\\" + "a\\" * 120 + "b"),
        ("\\\\server\\share\\" + "a" * 250, "\\\\?\\UNC\\server\\share\\" + "a" * 250),
        ("\\\\?\\C:\\" + "a" * 250, "\\\\?\\C:\\" + "a" * 250),
        ("\\\\.\\C:\\" + "a" * 250, "\\\\?\\C:\\" + "a" * 250),
        ("//server/share/" + "a" * 250, "\\\\?\\UNC\\server\\share\\" + "a" * 250),
    ],
)
def test_a_long_path_gets_the_prefix_of_windows(path: str, wanted: str) -> None:
    assert file_names._extend(path) == wanted


def test_a_path_stays_as_it_is_where_none_is_too_long() -> None:
    if sys.platform != "win32":
        assert extend_long_path(Path("/" + "a" * 300)) == Path("/" + "a" * 300)
    assert extend_long_path(Path("short.mp4")) == Path("short.mp4")


def test_names_that_may_be_one_file_are_equal() -> None:
    composed, other = Path("out/\u00e9T\u00c9.mp4"), Path("out/e\u0301t\u00e9.MP4")
    assert fold_path(composed, "darwin") == fold_path(other, "darwin")
    assert fold_path(Path("A/B.mp4"), "win32") == fold_path(Path("a\\b.MP4"), "win32")
    assert fold_path(composed, "win32") != fold_path(other, "win32")
    shares = (
        "//Server/share/a.mp4",
        "\\\\server\\share\\A.mp4",
        "\\\\?\\unc\\server\\share\\a.mp4",
        "\\\\.\\UNC\\server\\share\\a.mp4",
    )
    assert len({fold_path(Path(share), "win32") for share in shares}) == 1
    drives = ("C:/a.mp4", "\\\\?\\c:\\a.mp4", "\\\\.\\C:\\A.mp4")
    assert len({fold_path(Path(drive), "win32") for drive in drives}) == 1
    assert fold_path(Path("a.mp4"), "linux") != fold_path(Path("A.mp4"), "linux")


def test_a_folder_is_the_same_by_every_name(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert is_same_folder(tmp_path / "a", f"{tmp_path}/a/../a/.")
    assert not is_same_folder(tmp_path / "a", tmp_path)
    assert is_same_folder(tmp_path / "none", tmp_path / "a" / ".." / "none")
    assert not is_same_folder(tmp_path / "none", tmp_path / "a")


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("*.mp4", (".", "*.mp4")),
        ("C:\\a\\b?.mp4", ("C:\\a", "b?.mp4")),
        ("\\\\server\\c$\\a\\*\\[12].mp4", ("\\\\server\\c$\\a", "*\\[12].mp4")),
        ("\\\\?\\C:\\a\\*.mp4", ("\\\\?\\C:\\a", "*.mp4")),
        ("\\\\?\\UNC\\server\\share\\*.mp4", ("\\\\?\\UNC\\server\\share\\", "*.mp4")),
        ("\\\\?\\C:\\a\\b.mp4", None),
        ("a\\b.mp4", None),
    ],
)
def test_a_pattern_is_split_behind_the_prefix(path: str, wanted: tuple[str, str] | None) -> None:
    found = split_pattern(PureWindowsPath(path))
    assert (found and (str(found[0]), found[1])) == wanted


def test_a_folder_of_an_odd_name_is_no_part_of_a_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "clips [a]"
    folder.mkdir()
    assert split_pattern(folder / "*.avi") == (folder, "*.avi")
    assert split_pattern(tmp_path / "[ab]" / "*.avi") == (tmp_path, str(Path("[ab]", "*.avi")))
