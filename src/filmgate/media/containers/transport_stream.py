"""Transport streams: whether they are complete, and streams that appear after the start."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from av.container import InputContainer
from av.packet import Packet

from filmgate.media.containers.element_budget import ElementBudget

_SYNC = b"G"
_SCANNED_BYTES = 1 << 20  # at the start and at the end, where programs are compared
_VIDEO = re.compile(rb"\0\0\x01[\xe0-\xef]")  # the start of a packet of video (13818-1, 2.4.3.7)


def find_ts_damage(data: mmap.mmap, budget: ElementBudget) -> tuple[str, str]:
    """Look for the first byte of every packet of a ts (ISO/IEC 13818-1, 2.4.3)."""
    size, first = (188, 0) if data[:1] == _SYNC else (192, 4)
    if over := len(data) % size:
        missing = size - over
        return f"truncated: at least {missing} byte{'s' if missing > 1 else ''} missing", ""
    step = size << 16
    for at in range(0, len(data), step):
        starts = data[at + first : at + step : size]
        good = len(starts) - len(starts.lstrip(_SYNC))
        if good < len(starts):
            return f"damaged: no packet starts at byte {at + good * size}", ""
    return "", _find_other_program(data, size, first)


def _find_other_program(data: mmap.mmap, size: int, first: int) -> str:
    """Return what to report if the video at the end is that of another program than at the start.

    FFmpeg reads what is listed at the start or near the end of a program, and no other program.
    """
    count = min(_SCANNED_BYTES, len(data)) // size * size
    before = _find_programs(data[:count], size, first)
    after = _find_programs(data[len(data) - count :], size, first)
    if not before or not after or before[0].tables & after[-1].tables:
        return ""
    old, new = before[0].videos, after[-1].videos
    if not old or not new or old & new:
        return ""
    return (
        f"its video at the end is another program's than at the start (packets {min(new)} and "
        f"{min(old)}), and is not read: cut it there, and convert each part"
    )


@dataclass(slots=True)
class _Programs:
    """What a list of programs says about each, and numbers of packets of video after it."""

    tables: set[bytes]
    videos: set[int] = field(default_factory=set)


def _find_programs(data: bytes, size: int, first: int) -> list[_Programs]:
    """Return the lists of programs, each one that says something else than the one before."""
    found: list[_Programs] = []
    for at in range(first, len(data) - 187, size):
        packet = data[at : at + 188]
        if not packet[1] & 0x40:  # no unit starts in it
            continue
        number = (packet[1] & 0x1F) << 8 | packet[2]
        start = 5 + packet[4] if packet[3] & 0x20 else 4
        if number == 0 and start < 188:
            section = packet[start + 1 + packet[start] :]
            end = 3 + (int.from_bytes(section[1:3], "big") & 0xFFF) - 4
            tables = {section[n : n + 4] for n in range(8, min(end, len(section)), 4)}
            if not found or found[-1].tables != tables:
                found.append(_Programs(tables))
        elif found and _VIDEO.match(packet, start):
            found[-1].videos.add(number)
    return found


class FixedStreams:
    """An InputContainer whose streams are those that it has at the start.

    At the end PyAV looks for objects of those that appeared later, and has none.
    """

    def __init__(self, container: InputContainer) -> None:
        self._container = container

    def demux(self, *streams: Any, **kinds: Any) -> Iterator[Packet[Any]]:
        """Yield packets of these streams, or of all, and an empty one for each at the end."""
        with suppress(IndexError):
            yield from self._container.demux(*streams, **kinds)

    def __getattr__(self, name: str) -> Any:
        """Return anything else of the container."""
        return getattr(self._container, name)
