"""Files are complete or absent, and nothing is left after an error."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from filmgate.errors import Busy
from filmgate.storage.atomic import append_suffix, name_hidden, replace_durably, write_atomic

LONG = "\u6620" * 84 + ".js"  # 255 bytes, the longest name that most disks take


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    for data in (b"one", b"another"):
        write_atomic(tmp_path / LONG, data[:2], data[2:])
        assert (tmp_path / LONG).read_bytes() == data
    assert os.listdir(tmp_path) == [LONG]


def test_after_an_error_the_old_file_is_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomic(tmp_path / "file", b"old")

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_file_from_another_disk_is_copied_then_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, rename, renamed = tmp_path / "part", os.replace, list[Path]()
    part.write_bytes(b"complete")

    def refuse_part(source: Path, target: Path) -> None:
        if source == part:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        renamed.append(source)
        rename(source, target)

    monkeypatch.setattr(os, "replace", refuse_part)
    replace_durably(part, tmp_path / LONG)
    assert (tmp_path / LONG).read_bytes() == b"complete"
    assert os.listdir(tmp_path) == [LONG]
    part.write_bytes(b"complete")
    replace_durably(part, tmp_path / LONG)
    assert renamed[0] == renamed[1], "a copy that a kill left behind is written over"


def test_a_result_that_a_player_has_open_stays_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, path = tmp_path / "part", tmp_path / "out.mp4"
    part.write_bytes(b"new")
    path.write_bytes(b"old")

    def refuse(source: Path, target: Path) -> None:
        error = PermissionError(errno.EACCES, "The process cannot access the file")
        error.winerror = 32  # type: ignore[attr-defined, unused-ignore]
        raise error

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(Busy, match=r"out\.mp4 cannot be replaced: another program has it open"):
        replace_durably(part, path)
    assert (part.read_bytes(), path.read_bytes()) == (b"new", b"old")


@pytest.mark.parametrize("letter", ["a", "\u6620", "\U0001f3ac"])
@pytest.mark.parametrize("size", [10, 240, 246, 247, 255])
def test_names_next_to_a_long_name_fit_the_disk(tmp_path: Path, letter: str, size: int) -> None:
    """Bytes count: most disks take 255, and cutting never leaves half a character."""
    width = len(letter.encode())
    name = letter * ((size - 4) // width) + "x" * ((size - 4) % width) + ".mp4"
    assert len(name.encode()) == size
    for path in (
        append_suffix(tmp_path / name, ".filmgate"),
        name_hidden(tmp_path / name, "0123abcd", ".mp4"),
    ):
        path.touch()
        assert "\ufffd" not in path.name
    assert append_suffix(tmp_path / name, ".filmgate").name.endswith(".filmgate")
    other = tmp_path / f"{name[:-5]}y.mp4"
    assert append_suffix(other, ".filmgate") != append_suffix(tmp_path / name, ".filmgate")
    if size <= 246:
        assert append_suffix(tmp_path / name, ".filmgate").name == f"{name}.filmgate"
