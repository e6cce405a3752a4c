"""Start waiting jobs on workers, and stop what has to stop: the queue and its scheduler at work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from filmgate.errors import BadInput, JobConflict
from filmgate.jobs.queue.job_queue import JobQueue
from filmgate.jobs.queue.values import JobState, Lease
from filmgate.jobs.scheduler.capacity import Machine
from filmgate.jobs.scheduler.decisions import Decisions, Start, decide
from filmgate.jobs.scheduler.order import Policy, Situation

DAMAGED = "damaged"  # reason of a job whose request cannot be read any more


class Executor(Protocol):
    """Where workers run. It reports to the queue's `leases`; each call returns at once.

    A connection is reported as ended when its worker has ended, or cannot take this machine's
    memory any more: what it had reserved is given to others.
    """

    def start(self, lease: Lease, request: Mapping[str, Any]) -> None:
        """Run the job on the worker of the lease, from its latest segment on."""
        ...

    def ask_to_yield(self, lease: Lease) -> None:
        """Ask the worker to give the job back after its current segment."""
        ...

    def ask_to_cancel(self, lease: Lease) -> None:
        """Ask the worker to stop the job, and kill it if it does not in time."""
        ...

    def kill(self, lease: Lease) -> None:
        """Kill the worker, which has stalled, and end its connection."""
        ...


@dataclass(frozen=True, slots=True)
class Silence:
    """Seconds without progress after which a worker has stalled: before the first, and after it."""

    loading_s: float = 1800.0
    running_s: float = 60.0


class Dispatcher:
    """Decides at each `tick`; call it after every change, and every second or so."""

    def __init__(
        self,
        queue: JobQueue,
        machine: Machine,
        executor: Executor,
        *,
        policy: Policy | None = None,
        silence: Silence | None = None,
        decide: Callable[[Machine, Policy, Situation, frozenset[str]], Decisions] = decide,
    ) -> None:
        """`decide` makes the decisions; others are for comparison.

        `machine` may be set again later, as what is resident changes.
        """
        self._queue, self.machine, self._executor = queue, machine, executor
        self._policy, self._silence = policy or Policy(), silence or Silence()
        self._decide = decide
        self._asked: dict[str, set[Lease]] = {"yield": set(), "cancel": set(), "kill": set()}

    def tick(self) -> None:
        """Do what is due. Raises DiskFull: the rest is done by a later tick."""
        leases = self._queue.leases
        leases.settle()
        self._queue.expire_due()
        situation = self.read_situation()
        if self._stop_workers(situation):
            situation = self.read_situation()
        yielding = frozenset(lease.job_id for lease in self._asked["yield"])
        decisions = self._decide(self.machine, self._policy, situation, yielding)
        for job_id in decisions.yields:
            self._ask("yield", situation.held[job_id].lease, self._executor.ask_to_yield)
        for start in decisions.starts:
            self._start(start)

    def read_situation(self, per_account: int = 4) -> Situation:
        """Return the queue as the scheduler sees it."""
        queue, machine = self._queue, self.machine
        return Situation(
            now_ms=queue.now_ms(),
            waiting=tuple(map(machine.limit, queue.read_waiting(per_account, machine.most))),
            running=tuple(queue.read_held()),
            held=queue.leases.find_held(),
            idle=queue.leases.find_idle(),
            accounts=tuple(queue.read_accounts()),
            class_usage=queue.read_class_usage(),
        )

    def _stop_workers(self, situation: Situation) -> bool:
        """Kill the workers that have stalled, stop cancelled jobs; return whether there were any.

        Each is asked once.
        """
        current = {held.lease for held in situation.held.values()}
        for leases_asked in self._asked.values():
            leases_asked &= current
        silence, leases = self._silence, self._queue.leases
        stalled = leases.find_silent(silence.loading_s, silence.running_s)
        asked = [self._ask("kill", lease, self._executor.kill) for lease in stalled]
        for job, held in situation.pair_running():
            if job.is_cancel_requested and held.lease not in stalled:
                asked.append(self._ask("cancel", held.lease, self._executor.ask_to_cancel))
        return any(asked)

    def _ask(self, what: str, lease: Lease, ask: Callable[[Lease], None]) -> bool:
        if lease in self._asked[what]:
            return False
        self._asked[what].add(lease)
        ask(lease)
        return True

    def _start(self, start: Start) -> None:
        leases, job_id, worker = self._queue.leases, start.job_id, start.worker
        if self._queue.get(job_id).state is not JobState.QUEUED or worker not in leases.find_idle():
            return  # an executor's call above changed it
        try:
            lease = leases.claim(job_id, worker, start.reserved)
        except JobConflict:
            return
        try:
            request = self._queue.read_request(job_id)
        except BadInput as error:
            leases.fail(lease, DAMAGED, str(error), may_retry=False)
            return
        self._executor.start(lease, request)
