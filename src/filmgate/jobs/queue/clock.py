"""The queue's time: the wall clock without its jumps."""

from __future__ import annotations

import time
from typing import Protocol

MAX_MS = 1 << 52  # of any time, in the year 144,000


class Clock(Protocol):
    """Where time comes from; tests pass one of their own."""

    def wall_s(self) -> float:
        """Return seconds since 1970 UTC. They may jump in either direction."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds that never go back, since any moment."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def wall_s(self) -> float:
        """Return seconds since 1970 UTC."""
        return time.time()

    def monotonic_s(self) -> float:
        """Return seconds since any moment."""
        return time.monotonic()


class QueueClock:
    """Milliseconds since 1970 UTC that never go back, and do not jump while a process runs.

    It starts at the wall clock or at `latest_ms`, the latest time in the database, whichever is
    later, and then follows the monotonic clock. So setting the wall clock ends no lease and lets
    no job expire.
    """

    def __init__(self, clock: Clock, latest_ms: int) -> None:
        self._clock, self._start_s = clock, clock.monotonic_s()
        self._base_ms = max(latest_ms, min(int(clock.wall_s() * 1000), MAX_MS // 2))

    def now_ms(self) -> int:
        """Return the time."""
        return self._base_ms + int((self._clock.monotonic_s() - self._start_s) * 1000)
