"""API keys: made, found, removed; nothing of them is stored but a hash."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from filmgate.errors import BadSetting
from filmgate.service.keys import KeyStore, Scope


def test_a_key_is_found_by_its_text_only(tmp_path: Path) -> None:
    store, other = KeyStore(tmp_path), KeyStore(tmp_path)
    assert store.read() == ()
    key, text = store.add("ann", (Scope.READ, Scope.READ), 60)
    assert re.fullmatch(r"fg_[0-9a-f]{12}_[\w-]{43}", text)
    assert (key.tenant, key.scopes) == ("ann", (Scope.READ,))
    assert other.find(text) == key
    _, second = other.add("bob", (Scope.SUBMIT,))
    for wrong in ("", "fg_", text[:-1], text + "x", text[:16] + second[16:], text.upper()):
        assert store.find(wrong) is None
    secret = text.rpartition("_")[2]
    assert secret not in (tmp_path / "keys.json").read_text()
    if sys.platform != "win32":  # there a file has the rights of its folder
        assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0
    assert store.remove(key.id) == key
    assert other.find(text) is None
    assert other.find(second) is not None


@pytest.mark.parametrize(
    ("tenant", "scopes", "rate"),
    [
        ("", (Scope.READ,), 60),
        ("a b", (Scope.READ,), 60),
        ("ann", (), 60),
        ("ann", (Scope.READ,), 0),
    ],
)
def test_a_key_without_an_owner_or_a_use_is_refused(
    tmp_path: Path, tenant: str, scopes: tuple[Scope, ...], rate: int
) -> None:
    with pytest.raises(BadSetting):
        KeyStore(tmp_path).add(tenant, scopes, rate)
    assert KeyStore(tmp_path).read() == ()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 2, "keys": []}', '{"version": 1, "keys": [{"id": "x"}]}', "\xff"],
)
def test_damaged_keys_are_refused_not_forgotten(tmp_path: Path, text: str) -> None:
    """Else a damaged file would open the service for everybody."""
    (tmp_path / "keys.json").write_text(text, encoding="latin-1")
    with pytest.raises(BadSetting, match="damaged"):
        KeyStore(tmp_path).read()
    with pytest.raises(BadSetting, match="damaged"):
        KeyStore(tmp_path).add("ann", (Scope.READ,))
    assert (tmp_path / "keys.json").read_text(encoding="latin-1") == text


def test_an_unknown_key_cannot_be_removed(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="no key"):
        KeyStore(tmp_path).remove("x")
