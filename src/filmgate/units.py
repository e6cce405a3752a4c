"""Bytes and durations as text, and back."""

from __future__ import annotations

import re

from filmgate.errors import BadSetting


def format_duration(seconds: float) -> str:
    """Return seconds as text: 75 -> "1:15", 3675 -> "1:01:15"."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_SIZE = re.compile(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)


def parse_bytes(text: str) -> int:
    """Return the bytes of "800MB", "1.5 GiB", "12g" or "1048576". Raises BadSetting."""
    match = _SIZE.fullmatch(text)
    size = 0
    if match:
        unit = _UNITS[match[2].lower()]
        power = {1000**k: 1024**k for k in range(5)}
        size = int(float(match[1]) * (power[unit] if match[3] else unit))
    if size < 1:
        raise BadSetting(f"{text[:40]!r} is not an amount of memory: pass 800MB, 1.5GiB or 12GB")
    return size


MIB = 1 << 20
GIB = 1 << 30


def format_bytes(size_bytes: float) -> str:
    """Return bytes as text: 68882302 -> "68.9 MB"."""
    for unit in ("bytes", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.1f} {unit}" if unit != "bytes" else f"{size_bytes:.0f} bytes"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"
