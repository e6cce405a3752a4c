"""The chunks of a PNG: whether it is animated, and whether it is complete."""

from __future__ import annotations

import zlib
from contextlib import suppress
from mmap import mmap
from pathlib import Path

PNG = b"\x89PNG\r\n\x1a\n"
_MAX_CHUNKS = 1000  # before the first samples


def is_animated_png(path: Path) -> bool:
    """Return whether a regular file is a PNG of more than one frame (PNG 3rd edition, 11.3.6)."""
    with suppress(OSError, ValueError), open(path, "rb") as file:
        if file.read(len(PNG)) != PNG:
            return False
        for _ in range(_MAX_CHUNKS):
            head = file.read(8)
            if head[4:] == b"acTL":
                return int.from_bytes(file.read(4), "big") > 1
            if len(head) < 8 or head[4:] == b"IDAT":
                return False
            file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    return False


def find_png_damage(data: mmap) -> str:
    """Return what is wrong with the chunks of a PNG; empty if nothing is."""
    at = len(PNG)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            break
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return f"damaged: the chunk at byte {at} has a wrong checksum"
        if data[at + 4 : at + 8] == b"IEND":
            return ""
        at = end
    return "truncated: its last chunk is missing"
