"""Names and paths on Windows itself: each is taken as it is written, or refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from filmgate.cli.main import main as filmgate
from filmgate.errors import Exit
from tests import videos

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="is about Windows")
LONG = "\\".join(["a folder of fifty characters, so that paths grow 0"] * 6)
TAKEN = (
    "out.mkv", "a b.mkv", " leading space.mkv", "100%.mkv", "%PATH%.mkv", "it's.mkv", "a&b.mkv",
    "a^b.mkv", "wow!.mkv", "#1.mkv", "{x}.mkv", "a@b,c;d=e+f.mkv", "(final) - copy.mkv",
    "~tilde~1.mkv", "$HOME.mkv", "`x`.mkv", ".hidden.mkv", "two..dots.mkv", "UPPER.MKV",
    "Ünïcödé.mkv", "u\u0308.mkv", "кино.mkv", "映画.mkv", "فيلم.mkv", "שלום.mkv", "\U0001f3ac.mkv",
    "zero\u200bwidth.mkv", "console.mkv", "com10.mkv", "nul_.mkv", "a" * 200 + ".mkv",
    "folder/out.mkv", "folder\\sub folder\\out.mkv", ".\\out.mkv", "x\\..\\out.mkv",
    f"{LONG}\\out.mkv", f"{LONG}\\{'b' * 120}.mkv",
)  # fmt: skip
REFUSED = {  # and what the message says
    "Windows": ("aux.mkv", "nul.mkv", "Com1.mkv", "lpt9.mkv", "PRN.tar.mkv", "con .mkv", "a<b.mkv",
                'a"b.mkv', "a|b.mkv", "what?.mkv", "tab\t.mkv"),
    "a name that ends in": ("CON", "conout$", "out.mkv:stream", "out.mkv.", "out.mkv "),
    "does not exist": ("aux\\out.mkv", "folder.\\out.mkv", "a:b.mkv"),
}  # fmt: skip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return videos.make(videos.Video(frames=3), tmp_path_factory.mktemp("clip") / "in.mp4")


def convert(source: str | Path, out: str | Path, *flags: str) -> int:
    """Run the command, whose paths are relative to the current folder; return its exit code."""
    return filmgate(["convert", str(source), str(out), "--in-process", "--quiet", *flags])


@pytest.mark.parametrize("name", TAKEN, ids=ascii)
def test_a_name_is_taken_for_result_and_input(
    name: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for part in ("folder\\sub folder", "x", "\\\\?\\" + str(tmp_path / LONG)):
        Path(part).mkdir(parents=True)
    assert convert(clip, name) == 0
    full = os.path.abspath(name)
    folder = "\\\\?\\" + os.path.dirname(full)
    kept = [one for one in os.listdir(folder) if one.lower().endswith(".mkv")]
    assert kept == [os.path.basename(full)]  # nothing else, and not under another name
    assert convert(name, "again.mkv", "--overwrite") == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [(one, text) for text, names in REFUSED.items() for one in names],
    ids=ascii,
)
def test_a_name_is_refused_and_nothing_is_written(
    name: str, message: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert convert(clip, name) == Exit.USER
    assert message in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_an_output_of_another_spelling_never_replaces_the_input(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "My Clip.mp4"
    source.write_bytes(clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    drive, rest = os.path.splitdrive(str(source))
    spellings = (
        "My Clip.mp4", "MY CLIP.MP4", "my clip.mp4", ".\\My Clip.mp4", str(source),
        str(source).upper(), source.as_posix(), rest, f"{drive}My Clip.mp4", f"\\\\?\\{source}",
        f"\\\\.\\{source}", f"\\\\localhost\\{drive[0]}${rest}",
    )  # fmt: skip
    for out in spellings:
        assert convert("my clip.MP4", out, "--overwrite") != 0, out
        assert source.read_bytes() == clip.read_bytes(), out
    assert os.listdir(tmp_path) == [source.name]


def test_paths_from_a_drive_and_from_its_current_folder(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C:out.mkv is in the current folder of drive C, and \\out.mkv at the top of the drive."""
    monkeypatch.chdir(tmp_path)
    drive, rest = os.path.splitdrive(str(tmp_path))
    for number, out in enumerate((f"{drive}0.mkv", f"{rest}\\1.mkv", f"\\\\?\\{tmp_path}\\2.mkv")):
        assert convert(clip, out) == 0
        assert (tmp_path / f"{number}.mkv").is_file()
