"""What a machine has, what its jobs reserve, and what fits into the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from filmgate.jobs.queue.values import Demand, Held, JobRecord
from filmgate.units import format_bytes

USABLE_PERCENT = 80  # of a budget; the rest is for what predictions do not see


@dataclass(frozen=True, slots=True)
class Device:
    """Memory for jobs on one device. `resident_bytes`: held between jobs, as pinned weights are."""

    name: str
    budget_bytes: int
    resident_bytes: int = 0

    @property
    def usable_bytes(self) -> int:
        """Bytes that the predictions of all its jobs together may reach."""
        return max(0, self.budget_bytes * USABLE_PERCENT // 100 - self.resident_bytes)


@dataclass(frozen=True, slots=True)
class Machine:
    """The devices of a server, and the RAM that their jobs share.

    `pins`: bytes of networks that its workers never drop, by name, in the memory where they are.
    """

    devices: tuple[Device, ...]
    host_budget_bytes: int
    host_resident_bytes: int = 0
    pins: Mapping[str, int] = field(default_factory=dict)

    @property
    def usable_host_bytes(self) -> int:
        """Bytes of RAM that the predictions of all jobs together may reach."""
        return max(0, self.most_host_bytes - self.host_resident_bytes)

    @property
    def most_host_bytes(self) -> int:
        """Bytes of RAM that a job may take that runs alone, whatever is resident at the moment.

        What is resident grows after a job was accepted, and the job would wait for ever.
        """
        return self.host_budget_bytes * USABLE_PERCENT // 100

    @property
    def most(self) -> Demand:
        """The most that one job may reserve, on the largest device and in RAM, if it runs alone."""
        usable = max((device.usable_bytes for device in self.devices), default=0)
        return Demand(usable, self.most_host_bytes)

    def can_take(self, demand: Demand) -> bool:
        """Return whether a job may start here, if only when it runs alone."""
        most = self.most
        return (
            bool(self.devices)
            and demand.device_bytes <= most.device_bytes
            and demand.host_bytes <= most.host_bytes
        )

    def limit(self, job: JobRecord) -> JobRecord:
        """Return the job with what it may reserve here: all there is, if more was wanted for it.

        Only after attempts that took more than was predicted; other jobs keep their prediction.
        """
        if not job.raised or self.can_take(job.demand):
            return job
        most, wanted = self.most, job.demand
        return replace(job, demand=Demand(
            min(wanted.device_bytes, most.device_bytes), min(wanted.host_bytes, most.host_bytes),
            wanted.seconds,
        ))  # fmt: skip


class Room:
    """What is free on a machine: bytes by prediction, never by asking a driver, and idle workers.

    A driver counts an allocator's cache as used, and not what a job will take in a minute.
    """

    def __init__(
        self,
        machine: Machine,
        running: Iterable[tuple[JobRecord, Held]],
        idle: Mapping[str, str],
    ) -> None:
        self.free = {device.name: device.usable_bytes for device in machine.devices}
        self.free_host = machine.usable_host_bytes
        self._most_host, self._reservations = machine.most_host_bytes, 0
        self.idle: dict[str, list[str]] = {name: [] for name in self.free}
        for worker, device in sorted(idle.items()):
            if device in self.idle:
                self.idle[device].append(worker)
        for _, held in running:
            self.reserve(held.reserved, held.device)

    def reserve(self, demand: Demand, device: str) -> None:
        """Take the bytes of a job; a device that is gone has none."""
        if device in self.free:
            self.free[device] -= demand.device_bytes
        self.free_host -= demand.host_bytes
        self._reservations += 1

    def fits(self, demand: Demand, device: str, freed: Iterable[Demand] = ()) -> bool:
        """Return whether a job fits, once jobs with the demands `freed` ended.

        One that is alone then may take all of the RAM that a job may have.
        """
        freed = tuple(freed)
        free = self.free[device] + sum(each.device_bytes for each in freed)
        free_host = self.free_host + sum(each.host_bytes for each in freed)
        if len(freed) == self._reservations:
            free_host = max(free_host, self._most_host)
        return demand.device_bytes <= free and demand.host_bytes <= free_host

    def find_device(self, demand: Demand, without: Iterable[str] = ()) -> str | None:
        """Return the device with an idle worker where the job leaves the least free, or None."""
        without = set(without)
        names = [
            name
            for name, workers in self.idle.items()
            if workers and name not in without and self.fits(demand, name)
        ]
        return min(names, key=lambda name: (self.free[name], name), default=None)


@dataclass(frozen=True, slots=True)
class NeverFits:
    """No device takes the job, however long it waits.

    `alternative`: the name of the first of the offered settings that would fit, "" if none.
    """

    message: str
    alternative: str


def explain_misfit(
    machine: Machine, demand: Demand, alternatives: Mapping[str, Demand] | None = None
) -> NeverFits | None:
    """Return why the job can never run here, None if it can.

    `alternatives`: predictions with other settings by name, the best first.
    """
    usable = max((device.usable_bytes for device in machine.devices), default=0)
    usable_host = machine.usable_host_bytes

    def fits(demand: Demand) -> bool:
        return bool(machine.devices) and (
            demand.device_bytes <= usable and demand.host_bytes <= usable_host
        )

    if fits(demand):
        return None
    found = [
        f"{format_bytes(needed)} {where} where {format_bytes(most)} can be used"
        for needed, most, where in (
            (demand.device_bytes, usable, "on a device"),
            (demand.host_bytes, usable_host, "of RAM"),
        )
        if needed > most
    ] or ["a device, and this machine has none"]
    options = (alternatives or {}).items()
    alternative = next((name for name, option in options if fits(option)), "")
    remedy = (
        f"{alternative} would fit"
        if alternative
        else f"choose settings that take at most {format_bytes(usable)} on the device and "
        f"{format_bytes(usable_host)} of RAM"
    )
    message = f"the job is predicted to take {' and '.join(found)}, so it never starts: {remedy}"
    return NeverFits(message, alternative)
