"""Make the decoding times of a stream's packets grow, as containers want them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from av.packet import Packet


class GrowingTimes:
    """Moves packets of one stream that are not later than the packet before.

    Such a packet is moved half a packet behind that one, so that the next ones catch up. Packets
    without times follow the one before at its end. `tick`: the stream's time base in the output.
    `equal`: packets may have the time of the one before.
    """

    def __init__(self, tick: Fraction, equal: bool) -> None:
        self._tick, self._least = tick, 0 if equal else 1
        self._last: int | None = None
        self._length = 0

    def apply(self, packet: Packet[Any]) -> bool:
        """Set the packet's times; return whether they were missing, or it is shown later.

        Not if times only stood still, as those of packets that are shorter than a tick.
        """
        moved = reported = packet.dts is None and packet.pts is None
        scale = packet.time_base / self._tick
        length = _scale(packet.duration or 0, scale)
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is None:
            dts = 0 if self._last is None else self._last + max(1, self._length)
        else:
            dts = _scale(stamp, scale)
        if self._last is not None and dts < self._last + self._least:
            later = self._last + max(1, self._length // 2)
            seen = dts if packet.pts is None else _scale(packet.pts, scale)
            reported = reported or (later - seen) * self._tick > packet.time_base
            dts, moved = later, True
        self._last, self._length = dts, length
        if not moved and packet.pts is not None and packet.dts is not None:
            return False
        shown = dts if packet.pts is None else max(dts, _scale(packet.pts, scale))
        packet.duration, packet.time_base = length, self._tick
        packet.pts, packet.dts = shown, dts
        return reported


def _scale(ticks: int, scale: Fraction) -> int:
    """Return `ticks * scale`, rounded to the nearest, half away from 0, as FFmpeg does."""
    numerator, denominator = abs(ticks) * scale.numerator, scale.denominator
    nearest = (2 * numerator + denominator) // (2 * denominator)
    return nearest if ticks >= 0 else -nearest
