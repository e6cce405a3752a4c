"""A connected worker as the queue sees it: its lease, and its signs of life."""

from __future__ import annotations

from dataclasses import dataclass

from filmgate.jobs.queue.values import Demand, Lease, MemoryUse

SLOW_STEPS = 10  # times the longest step so far, after which a worker has stalled
SLOW_FIRST = 2  # times what the first step took, loading included


@dataclass(slots=True)
class Connection:
    """A connected worker: its lease, its memory, its latest progress, and when that was.

    `longest_s`: of its steps after the first, `first_s` before the first one ended.
    """

    device: str
    lease: Lease | None = None
    memory: MemoryUse = MemoryUse()
    step: int = -1
    beat_s: float = 0.0
    started_s: float = 0.0
    charged_s: float = 0.0
    first_s: float = 0.0
    longest_s: float = 0.0
    is_in_long_step: bool = False

    @classmethod
    def for_lease(cls, device: str, lease: Lease, reserved: Demand, now_s: float) -> Connection:
        """Return a connection that has just got a lease."""
        return cls(device, lease, MemoryUse(reserved), -1, now_s, now_s, now_s)

    def note_peak(self, peak: Demand) -> None:
        """Take note of what its job takes at this moment."""
        old = self.memory.peak
        if peak.device_bytes > old.device_bytes or peak.host_bytes > old.host_bytes:
            largest = Demand(
                max(peak.device_bytes, old.device_bytes), max(peak.host_bytes, old.host_bytes)
            )
            self.memory = MemoryUse(self.memory.reserved, largest)

    def beat(self, step: int, now_s: float) -> None:
        """Count a step as done."""
        silence_s = now_s - self.beat_s
        if self.step < 0:
            self.first_s = silence_s
        elif not self.is_in_long_step:
            self.longest_s = max(self.longest_s, silence_s)
        self.step, self.beat_s, self.is_in_long_step = step, now_s, False

    def is_silent(self, now_s: float, loading_s: float, running_s: float) -> bool:
        """Return whether it made no progress for so long that it has stalled.

        `loading_s` counts until the first progress and in a long step; then `running_s`, or more
        where its steps took long so far.
        """
        limit_s = max(running_s, SLOW_STEPS * self.longest_s, SLOW_FIRST * self.first_s)
        if self.step < 0 or self.is_in_long_step:
            limit_s = max(loading_s, limit_s)
        return now_s - self.beat_s >= limit_s
