"""In which order waiting jobs get their turn: classes, then tenants, then their own jobs."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from filmgate.jobs.queue.values import Account, Demand, Held, JobClass, JobRecord

Line = tuple[str, JobClass]  # of a tenant in a class


@dataclass(frozen=True, slots=True)
class Policy:
    """How devices are shared.

    `batch_share`: of the device seconds of interactive and batch jobs, at least, if both wait.
    `live_share`: of the workers, at most. `quantum_s`: how far ahead a tenant may be before its job
    is asked to yield, and how long a job runs at least before that. `overdue_s`: after so long
    without a turn a job is given room.
    """

    batch_share: float = 0.2
    live_share: float = 0.8
    quantum_s: float = 60.0
    overdue_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a decision depends on.

    `waiting`: jobs that may start, those of a tenant and class in their order. `held`: the lease
    of each job in `running`. `idle`: the devices of workers without a job, by worker.
    """

    now_ms: int
    waiting: tuple[JobRecord, ...] = ()
    running: tuple[JobRecord, ...] = ()
    held: Mapping[str, Held] = field(default_factory=dict)
    idle: Mapping[str, str] = field(default_factory=dict)
    accounts: tuple[Account, ...] = ()
    class_usage: Mapping[JobClass, float] = field(default_factory=dict)

    def pair_running(self) -> list[tuple[JobRecord, Held]]:
        """Return the running jobs with their leases."""
        return [(job, self.held[job.id]) for job in self.running if job.id in self.held]


class WaitingLines:
    """A line of waiting jobs for each tenant and class, and what each has had.

    What runs counts as having used its next seconds already: otherwise a tenant could start many
    jobs before the first of them is charged.
    """

    def __init__(self, policy: Policy, situation: Situation) -> None:
        self._policy, self._now_ms = policy, situation.now_ms
        self._lines: dict[Line, deque[JobRecord]] = {}
        for job in situation.waiting:
            self._lines.setdefault((job.tenant, job.job_class), deque()).append(job)
        self._accounts = {(a.tenant, a.job_class): a for a in situation.accounts}
        self._usage = dict.fromkeys(JobClass, 0.0) | dict(situation.class_usage)
        # Lines by rank. What is charged is pushed again, and its older rank is dropped when met.
        self._ranked: dict[JobClass, list[tuple[tuple[float, int], Line]]] = {
            job_class: [] for job_class in JobClass
        }
        for line in self._lines:
            self._push(line)
        self._live, self._workers = 0, len(situation.idle)
        for job, held in situation.pair_running():
            self._workers += 1
            self.charge(job, max(held.uncharged_s, self.expect_s(job.demand)))

    def expect_s(self, demand: Demand) -> float:
        """Return the device seconds that a job is expected to use before it is next charged."""
        quantum_s = self._policy.quantum_s
        return max(0.001, min(demand.seconds or quantum_s, quantum_s))

    def charge(self, job: JobRecord, device_s: float) -> None:
        """Count a job that starts or runs: seconds of its account and class, and its worker."""
        account = self._find_account((job.tenant, job.job_class))
        self._accounts[job.tenant, job.job_class] = replace(
            account, virtual_s=account.virtual_s + device_s / account.weight
        )
        self._push((job.tenant, job.job_class))
        self._usage[job.job_class] += device_s
        self._live += job.job_class is JobClass.LIVE

    def pop(self) -> JobRecord | None:
        """Remove and return the job whose turn it is, None if no job waits."""
        for job_class in self.order_classes():
            ranked = self._ranked[job_class]
            while ranked:
                rank, line = heapq.heappop(ranked)
                if line not in self._lines or rank != self._rank(line):
                    continue
                job = self._lines[line].popleft()
                if not self._lines[line]:
                    del self._lines[line]
                self._push(line)
                return job
        return None

    def order_classes(self) -> list[JobClass]:
        """Return the classes in the order of their turns now."""
        order = [JobClass.INTERACTIVE, JobClass.BATCH]
        if self.is_batch_due():
            order.reverse()
        return [*order, JobClass.LIVE] if self.is_live_full() else [JobClass.LIVE, *order]

    def is_live_full(self) -> bool:
        """Return whether live jobs have all the workers that they may have."""
        return self._live >= max(1, int(self._workers * self._policy.live_share))

    def is_batch_due(self) -> bool:
        """Return whether batch jobs have had less than the share that is theirs."""
        batch = self._usage[JobClass.BATCH]
        total = self._usage[JobClass.INTERACTIVE] + batch
        return batch < self._policy.batch_share * total

    def read_virtual_s(self, job: JobRecord) -> float:
        """Return what the job's account has had, what runs included."""
        return self._find_account((job.tenant, job.job_class)).virtual_s

    def is_overdue(self, job: JobRecord) -> bool:
        """Return whether the job's account has waited too long for a turn.

        One whose reservation was raised counts its own wait: it may have to run alone, and later
        jobs of its tenant, which pass it, are turns of the account.
        """
        waited_s = (self._now_ms - max(job.submitted_ms, job.not_before_ms)) / 1000
        is_passed = job.raised > 0 and waited_s > self._policy.overdue_s
        return is_passed or self._find_late_s(job) > 0

    def _push(self, line: Line) -> None:
        if line in self._lines:
            heapq.heappush(self._ranked[line[1]], (self._rank(line), line))

    def _rank(self, line: Line) -> tuple[float, int]:
        """Return what the line with the lowest one is next by.

        An overdue account comes forward by the time that it is late: new tenants start with what
        the least served one has had, and a stream of them could keep another one waiting.
        """
        head = self._lines[line][0]
        return self._find_account(line).virtual_s - self._find_late_s(head), head.number

    def _find_late_s(self, job: JobRecord) -> float:
        served_ms = self._find_account((job.tenant, job.job_class)).served_ms
        waited_s = (self._now_ms - max(served_ms, job.submitted_ms)) / 1000
        return max(0.0, waited_s - self._policy.overdue_s)

    def _find_account(self, line: Line) -> Account:
        return self._accounts.get(line) or Account(*line)
