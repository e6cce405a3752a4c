"""Whose RAM is whose among the workers of a service, and which networks make room for a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Holding:
    """RAM of a worker: what it held without a job, and how much of that are networks to drop.

    `reserved_bytes`: for the job that it runs; None: it has none. `pinned_bytes`: of networks that
    it never drops.
    """

    held_bytes: int
    network_bytes: int
    reserved_bytes: int | None = None
    pinned_bytes: int = 0

    @property
    def program_bytes(self) -> int:
        """What is no network."""
        return self.held_bytes - self.network_bytes - self.pinned_bytes


def find_resident_bytes(own_bytes: int, holdings: Mapping[str, Holding]) -> int:
    """Return the RAM that jobs cannot get now: of the server, and of workers besides their jobs.

    A prediction contains a program, so the next job takes the place of one idle worker. Networks of
    an idle worker are dropped when a job needs their place; those of a busy one are not.
    """
    programs = [h.program_bytes for h in holdings.values() if h.reserved_bytes is None]
    busy = [h.network_bytes for h in holdings.values() if h.reserved_bytes is not None]
    pinned = sum(h.pinned_bytes for h in holdings.values())
    return own_bytes + pinned + sum(busy) + sum(programs) - min(programs, default=0)


def choose_drops(
    usable_bytes: int,
    own_bytes: int,
    needed_bytes: int,
    starting: str,
    holdings: Mapping[str, Holding],
) -> dict[str, int]:
    """Return how many bytes of networks which idle workers drop before a job starts on one.

    `needed_bytes` is what the job has reserved. The worker that starts it drops first.
    """  # fmt: skip
    taken = own_bytes + needed_bytes - holdings[starting].program_bytes
    for holding in holdings.values():
        taken += holding.network_bytes + holding.pinned_bytes
        is_idle = holding.reserved_bytes is None
        taken += holding.program_bytes if is_idle else holding.reserved_bytes or 0
    over, drops = taken - usable_bytes, dict[str, int]()
    for name in sorted(holdings, key=lambda one: (one != starting, one)):
        if over > 0 and (name == starting or holdings[name].reserved_bytes is None):
            drops[name] = min(over, holdings[name].network_bytes)
            over -= drops[name]
    return {name: size for name, size in drops.items() if size}
