"""What becomes of a job whose attempt did not finish it, and how much memory the next one gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from filmgate.jobs.queue.checks import MAX_BYTES
from filmgate.jobs.queue.values import (
    OUT_OF_MEMORY,
    POISON,
    WORKER_LOST,
    AttemptEnd,
    Demand,
    JobRecord,
    Lease,
    MemoryUse,
)
from filmgate.units import format_bytes

MAX_CRASHES = 3  # without a segment between them: another worker would die as well
MAX_LOSSES = 10  # of connections, whose cause may be the network, without a segment between them
MAX_FAILURES = 3  # that were worth another try, without a segment between them
GROWTH = 2  # of what is reserved, after the first attempt that ran out of memory
MARGIN_PERCENT = 125  # of what was measured: the last bytes of a worker that is killed are not
ALL_BYTES = MAX_BYTES  # demand of a job that gets all that one job may have on a machine
Memory = Literal["device", "RAM"]


@dataclass(frozen=True, slots=True)
class Ending:
    """What ended a lease; `memory` is what its attempt had and took."""

    lease: Lease
    end: AttemptEnd
    device_s: float = 0.0
    crash: Mapping[str, Any] | None = None
    reason: str = ""
    message: str = ""
    may_retry: bool = False
    memory: MemoryUse = MemoryUse()

    @property
    def short_of(self) -> Memory | None:
        """The memory that ran out, None if none did."""
        if self.end is AttemptEnd.OUT_OF_MEMORY:
            return "RAM"
        if self.reason == OUT_OF_MEMORY:
            return "device" if self.memory.reserved.device_bytes else "RAM"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Troubles:
    """How attempts at a job ended since its latest segment, the last one included.

    `was_reduced`: it was tried with smaller settings.
    """

    crashes: int
    failures: int
    losses: int
    was_reduced: bool = False


@dataclass(frozen=True, slots=True)
class Raise:
    """What the next attempt at a job takes, and why that is more than before."""

    demand: Demand
    message: str


def judge(job: JobRecord, ending: Ending, troubles: Troubles) -> tuple[str, str] | None:
    """Return why a job has failed, as a word and a message. None: it is tried again."""
    end, crashes, failures = ending.end, troubles.crashes, troubles.failures
    is_reduced = troubles.was_reduced or end is AttemptEnd.FAILED  # which has halved its batches
    if is_reduced and crashes + failures > 1 and _had_all(job, ending):
        return OUT_OF_MEMORY, _explain_no_memory(ending)
    if crashes >= MAX_CRASHES:
        return POISON, (
            f"{crashes} workers ended without another segment, the last one on attempt "
            f"{job.epoch}: {end}"
        )
    if troubles.losses >= MAX_LOSSES:
        return WORKER_LOST, (
            f"the connections of {troubles.losses} workers ended without another segment"
        )
    if end is AttemptEnd.FAILED and (not ending.may_retry or failures >= MAX_FAILURES):
        return ending.reason, ending.message
    return None


def raise_demand(job: JobRecord, ending: Ending) -> Raise | None:
    """Return what the next attempt at a job takes, None if that is as much as before.

    More than the last one was measured to take; after that ran out of memory at least twice as
    much as it had, and the second time all that one job may have.
    """
    had, took, taken = ending.memory.reserved, ending.memory.peak, job.demand
    device_bytes = max(
        taken.device_bytes,
        _grow(had.device_bytes, took.device_bytes, job.raised, ending.short_of == "device"),
    )
    host_bytes = max(
        taken.host_bytes,
        _grow(had.host_bytes, took.host_bytes, job.raised, ending.short_of == "RAM"),
    )
    more = [
        _describe(bytes_, name)
        for bytes_, before, name in (
            (device_bytes, taken.device_bytes, "on its device"),
            (host_bytes, taken.host_bytes, "of RAM"),
        )
        if bytes_ > before
    ]
    if not more:
        return None
    why = "it ran out of memory" if ending.short_of else "it took more memory than it had reserved"
    message = f"{why}: the next attempt reserves {' and '.join(more)}"
    return Raise(Demand(device_bytes, host_bytes, taken.seconds), message)


def _grow(had: int, took: int, raised: int, ran_out: bool) -> int:
    """Return the bytes that an attempt needs after one that had and took so many."""
    wanted = took * MARGIN_PERCENT // 100 if took > had else 0
    if ran_out:
        wanted = ALL_BYTES if raised or not had else max(wanted, had * GROWTH)
    return min(wanted, ALL_BYTES)


def _describe(size: int, name: str) -> str:
    return f"{'all that one job may have' if size >= ALL_BYTES else format_bytes(size)} {name}"


def _had_all(job: JobRecord, ending: Ending) -> bool:
    """Return whether an attempt ran out of memory of which no more can be reserved."""
    had, wanted = ending.memory.reserved, job.demand
    if ending.short_of == "device":
        return wanted.device_bytes > had.device_bytes or wanted.device_bytes >= ALL_BYTES
    if ending.short_of == "RAM":
        return wanted.host_bytes > had.host_bytes or wanted.host_bytes >= ALL_BYTES
    return False


def _explain_no_memory(ending: Ending) -> str:
    """Return why no attempt can have enough memory, and what would help."""
    had, took = ending.memory.reserved, ending.memory.peak
    if ending.short_of == "device":
        place, option, had_bytes, took_bytes = (
            "on its device", "--vram", had.device_bytes, took.device_bytes,
        )  # fmt: skip
    else:
        place, option, had_bytes, took_bytes = "of RAM", "--ram", had.host_bytes, took.host_bytes
    seen = f", of which it was seen to take {format_bytes(took_bytes)}" if took_bytes else ""
    said = f" ({ending.message})" if ending.message else ""
    return (
        f"it ran out of memory{said} with {format_bytes(had_bytes)} {place} reserved{seen}, also "
        "with the smallest settings: that is all that one job may have. Submit it with a smaller "
        f"video or model, or with settings that take less, or give the service more memory "
        f"({option}, or a larger machine)"
    )
