"""Skip the tests of lacks.toml, each with its reason: what Windows lacks, and what Wine does."""

from __future__ import annotations

import ctypes
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest


def is_wine() -> bool:
    """Return whether this Windows is Wine."""
    return hasattr(vars(ctypes)["WinDLL"]("ntdll"), "wine_get_version")


def skip_what_lacks(items: Iterable[pytest.Item], wine: bool) -> None:
    """Mark the tests that cannot pass on Windows, or under Wine, as skipped."""
    text = Path(__file__).with_suffix(".toml").read_text("utf-8")
    lacks: Mapping[str, Mapping[str, str]] = tomllib.loads(text)
    reasons = {**lacks["windows"], **(lacks["wine"] if wine else {})}
    for item in items:
        for name, reason in reasons.items():
            if item.nodeid.startswith(name):
                item.add_marker(pytest.mark.skip(reason=reason))
