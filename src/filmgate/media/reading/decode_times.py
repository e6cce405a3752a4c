"""Times of decoding, given to frames in the order in which these are shown."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

from av.container import InputContainer
from av.packet import Packet

from filmgate.media.timing.clock_choice import STORE_DTS
from filmgate.media.timing.frame_clock import JUMP


class DecodeTimes:
    """The times that no frame has yet, in ticks.

    The first shown frame has the time of packet number `delay`, the next one that of the next, and
    so on, the earliest first; after the last packet, time continues in equal steps.
    """

    def __init__(self, delay: int, by_dts: bool) -> None:
        self._by_dts = by_dts
        self._times: list[tuple[int, int]] = []  # each with the number of jumps back before it
        self._jumps = 0
        self._left_out, self._delay = 0, delay
        self._last, self._step = 0, 1

    @classmethod
    def of(cls, delay: int | None, container: InputContainer) -> DecodeTimes | None:
        """Return none for a container that stores when frames are shown."""
        return None if delay is None else cls(delay, container.format.name in STORE_DTS)

    def add(self, packet: Packet[Any]) -> None:
        """Add the time of the next packet."""
        time = (packet.dts if self._by_dts else packet.pts) or 0
        if (time - self._last) * packet.time_base < -JUMP:
            self._jumps += 1
        self._step, self._last = max(1, time - self._last), time
        if self._left_out < self._delay:
            self._left_out += 1
        else:
            heappush(self._times, (self._jumps, time))

    def end(self) -> None:
        """Add times for frames that are shown after the last packet is decoded."""
        for _ in range(self._left_out):
            self._last += self._step
            heappush(self._times, (self._jumps, self._last))
        self._left_out = self._delay = 0

    def take(self) -> int | None:
        """Remove and return the first time, None if there is none."""
        return heappop(self._times)[1] if self._times else None

    def list_left(self) -> list[int]:
        """Return the times that are left."""
        return [time for _, time in sorted(self._times)]
