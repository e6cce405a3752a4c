"""Which waiting jobs start now, and which running ones are asked to yield."""

from __future__ import annotations

from dataclasses import dataclass, replace

from filmgate.jobs.queue.values import Demand, Held, JobClass, JobRecord
from filmgate.jobs.scheduler.capacity import Machine, Room
from filmgate.jobs.scheduler.order import Policy, Situation, WaitingLines

_MOST_BLOCKED = 64  # jobs that cannot start now, after which the others are left for later


@dataclass(frozen=True, slots=True)
class Start:
    """A job starts on a worker, with this memory for itself."""

    job_id: str
    worker: str
    device: str
    reserved: Demand


@dataclass(frozen=True, slots=True)
class Decisions:
    """What happens now. `yields`: jobs that give their worker back at their next segment."""

    starts: tuple[Start, ...]
    yields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Victim:
    """A running job that may be asked to yield."""

    job: JobRecord
    held: Held
    is_asked: bool


def decide(
    machine: Machine, policy: Policy, situation: Situation, asked: frozenset[str] = frozenset()
) -> Decisions:
    """Return what to do now. `asked`: running jobs that were asked to yield, and have not yet.

    The predictions of all running jobs stay within what the machine can use, on each device and in
    RAM. Later jobs pass one that does not fit, until it is overdue: then its device is kept free.
    """
    lines = WaitingLines(policy, situation)
    room = Room(machine, situation.pair_running(), situation.idle)
    yields = _Yields(policy, situation, lines, room, asked)
    starts: list[Start] = []
    held: set[str] = set()  # devices kept free for a job that comes before the others
    blocked = 0
    while blocked < _MOST_BLOCKED and (job := lines.pop()):
        device = room.find_device(job.demand, held)
        if device is not None:
            starts.append(Start(job.id, room.idle[device].pop(0), device, job.demand))
            room.reserve(job.demand, device)
            lines.charge(job, lines.expect_s(job.demand))
            continue
        blocked += 1
        kept = yields.make_room(job, held)
        if kept:
            held |= kept
        elif lines.is_overdue(job) and not held and machine.can_take(job.demand):
            held |= yields.keep_free(job, machine)
    return Decisions(tuple(starts), tuple(yields.new))


class _Yields:
    """Choose running jobs that yield to waiting ones; live jobs never do."""

    def __init__(
        self,
        policy: Policy,
        situation: Situation,
        lines: WaitingLines,
        room: Room,
        asked: frozenset[str],
    ) -> None:
        self.new: list[str] = []
        self._policy, self._lines, self._room = policy, lines, room
        self._victims: dict[str, list[_Victim]] = {name: [] for name in room.free}
        for job, held in situation.pair_running():
            if held.device in self._victims:
                self._victims[held.device].append(_Victim(job, held, job.id in asked))

    def make_room(self, job: JobRecord, without: set[str]) -> set[str]:
        """Ask as few jobs as make room for this one; return the devices where nothing else starts.

        That which it gets; all of them if RAM is what is short, and then jobs of all may be asked.
        Jobs that were asked before count as gone. Empty: there is no room.
        """
        plans = [
            plan
            for name in sorted(self._victims)
            if name not in without and (plan := self._plan(job, name, without)) is not None
        ]
        if not plans:
            return set()
        asked, kept = min(plans, key=lambda plan: len(plan[0]))
        self.new += [victim.job.id for victim in asked]
        return kept

    def keep_free(self, job: JobRecord, machine: Machine) -> set[str]:
        """Return the devices where nothing else starts until the job fits.

        That with most free bytes among those with workers; all of them if RAM is what is short.
        """
        if job.demand.host_bytes > self._room.free_host:
            return set(self._room.free)
        names = [
            device.name
            for device in machine.devices
            if device.usable_bytes >= job.demand.device_bytes
            and (self._room.idle[device.name] or self._victims[device.name])
        ]
        return {max(names, key=lambda name: (self._room.free[name], name))} if names else set()

    def _plan(
        self, job: JobRecord, device: str, without: set[str]
    ) -> tuple[list[_Victim], set[str]] | None:
        """Return the jobs to ask so that this one starts on a device, and what is kept for it.

        None if all that may be asked do not suffice.
        """
        victims, kept = [*self._victims[device]], {device}
        if job.demand.host_bytes > self._room.free_host:
            kept = set(self._room.free)
            others = self._victims.keys() - without - {device}
            victims += [victim for name in sorted(others) for victim in self._victims[name]]
        gone = [victim for victim in victims if victim.is_asked]
        allowed = [v for v in victims if not v.is_asked and self._may_ask(job, v)]
        allowed.sort(key=lambda victim: (victim.held.device != device, self._rank(victim)))
        chosen: list[_Victim] = []
        while True:
            counted = [*gone, *chosen]
            own = [victim.held.device == device for victim in counted]
            freed = [
                victim.held.reserved if is_own else replace(victim.held.reserved, device_bytes=0)
                for victim, is_own in zip(counted, own, strict=True)
            ]
            has_worker = bool(self._room.idle[device]) or any(own)
            if has_worker and self._room.fits(job.demand, device, freed):
                return chosen, kept
            if not allowed:
                return None
            chosen.append(allowed.pop(0))

    def _may_ask(self, job: JobRecord, victim: _Victim) -> bool:
        """Return whether a running job yields to a waiting one."""
        other, own = victim.job.job_class, job.job_class
        if other is JobClass.LIVE:
            return False
        if own is JobClass.LIVE:
            return not self._lines.is_live_full()
        if victim.held.elapsed_s < self._policy.quantum_s:
            return False
        if own is not other:
            return self._lines.is_batch_due() == (own is JobClass.BATCH)
        ahead_s = self._lines.read_virtual_s(victim.job) - self._lines.read_virtual_s(job)
        return ahead_s > (0 if self._lines.is_overdue(job) else 2 * self._policy.quantum_s)

    def _rank(self, victim: _Victim) -> tuple[int, float, float]:
        """Return what is asked first: the last class, the tenant furthest ahead, the latest job."""
        job_class = list(JobClass).index(victim.job.job_class)
        return -job_class, -self._lines.read_virtual_s(victim.job), victim.held.elapsed_s
