"""Paths on the server that clients may name."""

from __future__ import annotations

from pathlib import PureWindowsPath

import pytest

from filmgate.service.api.inputs import is_foreign_share


@pytest.mark.parametrize(
    ("path", "foreign"),
    [
        ("\\\\evil\\share\\a.mp4", True),
        ("//evil/share/a.mp4", True),
        ("\\\\?\\UNC\\evil\\share\\a.mp4", True),
        ("\\\\.\\pipe\\a", True),
        ("\\\\nas\\other\\a.mp4", True),
        ("\\\\NAS\\Videos\\a.mp4", False),
        ("D:\\videos\\a.mp4", False),
        ("a.mp4", False),
    ],
)
def test_a_share_that_no_one_allowed_is_not_opened(path: str, foreign: bool) -> None:
    """The server would log in there with its own account."""
    allowed = [PureWindowsPath("D:\\videos"), PureWindowsPath("\\\\nas\\videos")]
    assert is_foreign_share(PureWindowsPath(path), allowed) == foreign
