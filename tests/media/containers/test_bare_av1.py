"""The units of a bare AV1 stream, which say how long they are."""

from pathlib import Path

import pytest

from filmgate.media.containers import element_budget
from filmgate.media.containers.integrity import Integrity, check_structure, find_damage

HEAD = b"\x12\0\x0a\x0b\0\0\0\x24\xce\x3f\xff\xfa\xbd\xf8\x80"  # delimiter and sequence header
FRAME = b"\x12\0\x36\x08\x01\x10" + b"\x32\x84\x01" + bytes(132)  # with an extension; of two bytes


@pytest.mark.parametrize(
    ("data", "damage"),
    [
        (HEAD + FRAME, ""),
        (HEAD + FRAME[:-9], "truncated: at least 9 bytes missing"),
        (HEAD + FRAME[:-133], "truncated: at least 1 byte missing"),  # within a length
        (HEAD + FRAME + FRAME[:3], "truncated: at least 1 byte missing"),
        (HEAD + b"\x80" + FRAME, "damaged: no unit starts at byte 15"),
        (HEAD + FRAME + b"\x30" + FRAME[:-9], ""),  # the rest belongs to it
    ],
)
def test_a_cut_is_seen_by_the_lengths_of_units(data: bytes, damage: str, tmp_path: Path) -> None:
    path = tmp_path / "a.obu"
    path.write_bytes(data)
    assert find_damage(path) == damage


def test_of_a_very_long_video_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 5 hours on, each good one was said to be perhaps truncated."""
    monkeypatch.setattr(element_budget, "MAX_ELEMENTS", 100)
    path = tmp_path / "a.obu"
    path.write_bytes(HEAD + FRAME * 40)
    assert check_structure(path) == Integrity()
