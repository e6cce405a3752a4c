"""The answer to a client that asks for a job: now, later and when, or never."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from filmgate.jobs.queue.values import Demand, JobRecord
from filmgate.jobs.scheduler.capacity import Machine, NeverFits, explain_misfit
from filmgate.jobs.scheduler.decisions import decide
from filmgate.jobs.scheduler.order import Policy, Situation, WaitingLines


@dataclass(frozen=True, slots=True)
class Now:
    """The job starts at once, on this device."""

    device: str


@dataclass(frozen=True, slots=True)
class Later:
    """The job waits. `position`: jobs that start before it, plus one; `start_s`: predicted.

    `start_s` is None if no worker is connected.
    """

    position: int
    start_s: float | None


Answer = Now | Later | NeverFits


def answer(
    machine: Machine,
    policy: Policy,
    situation: Situation,
    job: JobRecord,
    alternatives: Mapping[str, Demand] | None = None,
) -> Answer:
    """Return what happens to a waiting job, which is in `situation` or is added to it."""
    job = machine.limit(job)
    if not job.raised and (misfit := explain_misfit(machine, job.demand, alternatives)):
        return misfit
    if all(job.id != other.id for other in situation.waiting):
        situation = replace(situation, waiting=(*situation.waiting, job))
    for start in decide(machine, policy, situation).starts:
        if start.job_id == job.id:
            return Now(start.device)
    return _estimate(policy, situation, job)


def estimate_starts(policy: Policy, situation: Situation) -> dict[str, Later]:
    """Return position and predicted start of each waiting job in the situation, by its id."""
    return {job.id: later for job, later in _iter_starts(policy, situation)}


def _estimate(policy: Policy, situation: Situation, job: JobRecord) -> Later:
    for head, later in _iter_starts(policy, situation):
        if head.id == job.id:
            return later
    return Later(len(situation.waiting), None)


def _iter_starts(policy: Policy, situation: Situation) -> Iterator[tuple[JobRecord, Later]]:
    """Let the jobs run in their order, each for its predicted seconds on the first free worker.

    Memory is not part of it, nor what comes later: it is an estimate.
    """
    running = situation.pair_running()
    free_s = [0.0] * len(situation.idle)
    free_s += [max(0.0, job.demand.seconds - held.elapsed_s) for job, held in running]
    heapq.heapify(free_s)
    lines = WaitingLines(policy, situation)
    for position in range(1, len(situation.waiting) + 1):
        head = lines.pop()
        if head is None:
            break
        yield head, Later(position, free_s[0] if free_s else None)
        seconds = head.demand.seconds or policy.quantum_s
        lines.charge(head, seconds)
        if free_s:
            heapq.heapreplace(free_s, free_s[0] + seconds)
