"""A world in virtual time around the real queue and scheduler: clients, workers, clocks, a disk."""

import heapq
import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filmgate.errors import DiskFull, FilmgateError, LeaseLost
from filmgate.jobs.queue.job_queue import JobQueue
from filmgate.jobs.queue.values import (
    OUT_OF_MEMORY,
    AttemptEnd,
    Demand,
    JobRequest,
    Lease,
    Segment,
)
from filmgate.jobs.scheduler.capacity import Device, Machine
from filmgate.jobs.scheduler.decisions import decide
from filmgate.jobs.scheduler.dispatcher import Dispatcher, Silence
from filmgate.jobs.scheduler.order import Policy
from tests.jobs.queue.disk import FULL, IO_SYNC, OK, VFS, Disk, Operation, get_disk

TICK_S, RETRY_S, LIMIT_S = 2.0, 2.0, 4_000.0
SILENCE = Silence(loading_s=60.0, running_s=30.0)


class WorldClock:
    """Virtual time; the wall clock is wrong by `wall_error_s`."""

    def __init__(self) -> None:
        self.now_s, self.wall_error_s, self.boot_s = 0.0, 0.0, 0.0

    def wall_s(self) -> float:
        return 1.8e9 + self.now_s + self.wall_error_s

    def monotonic_s(self) -> float:
        return self.now_s - self.boot_s


@dataclass(frozen=True)
class Faults:
    """Chances, of a segment, that its worker fails so; and how often the server does, in s."""

    dies: float = 0.0
    hangs: float = 0.0
    loses_connection: float = 0.0
    reports_error: float = 0.0
    server_every_s: float = 0.0
    disk_full_every_s: float = 0.0
    clock_every_s: float = 0.0


@dataclass(eq=False)
class Worker:
    """A worker process; `lease`: the job that it works on, whatever the server thinks."""

    name: str
    device: str
    is_connected: bool = True
    is_hung: bool = False
    lease: Lease | None = None
    orders: set[str] = field(default_factory=set)


class World:
    """The server, its workers and what happens to them. Everything follows from the seed."""

    def __init__(
        self,
        folder: Path,
        seed: int = 0,
        *,
        devices: Mapping[str, int] | None = None,
        faults: Faults | None = None,
        policy: Policy | None = None,
        decide: Callable[..., Any] = decide,
    ) -> None:
        """`devices`: how many workers each has; a job may use 100 bytes of a device, 300 of RAM."""
        disk = get_disk()
        assert disk is not None
        self.disk: Disk = disk
        self.disk.reset()
        self.random, self.clock, self.faults = random.Random(seed), WorldClock(), faults or Faults()
        self.path, self._policy, self._decide = folder / f"queue-{seed}.db", policy, decide
        self.devices = devices or {"a": 2, "b": 1}
        self.machine = Machine(tuple(Device(name, 125) for name in self.devices), 375)
        self.crashes: dict[str, int] = {}  # of workers with the job, since its latest segment
        self.errors: dict[str, int] = {}
        self.stored: dict[tuple[str, int], str] = {}  # acknowledged segments: their SHA-256
        self.device_s: dict[str, float] = {}  # measured, by tenant
        self.restarts = self.shortages = 0
        self.on_finish: Callable[[str], None] | None = None  # called with jobs about to finish
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order, self._names = itertools.count(), itertools.count()
        self._workers: dict[str, Worker] = {}
        self.open_server()
        for device, count in self.devices.items():
            for _ in range(count):
                self._connect(device)
        self._tick()
        for every_s, fault in (
            (self.faults.server_every_s, self._fail_server),
            (self.faults.disk_full_every_s, self._fill_disk),
            (self.faults.clock_every_s, self._set_clock),
        ):
            if every_s:
                self._repeat(every_s, fault)

    def close(self) -> None:
        """End the server and delete its files."""
        self.disk.reset()
        self.queue.close()
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink()

    # time

    def at(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something later."""
        heapq.heappush(self._agenda, (self.clock.now_s + delay_s, next(self._order), action))

    def run(self, until_s: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Let time pass until `until_s`, or until it is over."""
        while self._agenda and self._agenda[0][0] <= until_s and not is_over():
            self.clock.now_s, _, action = heapq.heappop(self._agenda)
            action()
            self.disk.operations.clear()

    def _repeat(self, every_s: float, action: Callable[[], None]) -> None:
        def again() -> None:
            if self.faults != Faults():
                action()
                self.at(self.random.expovariate(1 / every_s), again)

        self.at(self.random.expovariate(1 / every_s), again)

    # the server

    def open_server(self) -> None:
        """Start the server; a new process has another monotonic clock."""
        self.clock.boot_s = self.random.uniform(-1e6, self.clock.now_s)
        self.queue = JobQueue(
            self.path, clock=self.clock, uniform=self.random.uniform, vfs=VFS,
            new_id=lambda: f"{self.random.getrandbits(64):016x}",
        )  # fmt: skip
        self.dispatcher = Dispatcher(
            self.queue, self.machine, self, silence=SILENCE, policy=self._policy,
            decide=self._decide,
        )  # fmt: skip

    def restart(self) -> None:
        """End the server at this moment, and start it again; its workers lose their connections."""
        self.disk.on_operation = lambda operation: OK
        self.restarts += 1
        self.queue.close()
        self.open_server()
        for worker in list(self._workers.values()):
            if worker.is_connected:
                worker.is_connected = False
                if worker.lease is None or worker.is_hung:
                    self._end_worker(worker)

    def try_(self, call: Callable[[], None], again: Callable[[], None] | None = None) -> None:
        """Call the server; on a full disk do `again` later. A broken server starts again."""
        try:
            call()
        except DiskFull as error:
            if "any more" in str(error):
                self.restart()
            if again is not None:
                self.at(RETRY_S, again)
        except LeaseLost:
            raise
        except FilmgateError as error:
            if "any more" not in str(error):
                raise
            self.restart()
            if again is not None:
                self.at(RETRY_S, again)

    def _tick(self) -> None:
        self.try_(self.dispatcher.tick)
        self.at(TICK_S, self._tick)

    def check_reservations(self) -> None:
        """Fail if the predictions of what runs are more than the machine can use."""
        taken, host = dict.fromkeys(self.devices, 0), 0
        for held in self.queue.leases.find_held().values():
            taken[held.device] += held.reserved.device_bytes
            host += held.reserved.host_bytes
        assert max(taken.values()) <= 100, f"over-admitted: {taken} bytes of 100 on the devices"
        assert host <= 300, f"over-admitted: {host} bytes of 300 in RAM"

    # faults of the machine

    def _fail_server(self) -> None:
        """Restart between two changes, or in the middle of one, in which a sync fails."""
        if self.random.random() < 0.4:
            self.restart()
            return
        left = itertools.count(self.random.randint(0, 12), -1)
        self.disk.on_operation = lambda operation: IO_SYNC if next(left) <= 0 else OK

    def _fill_disk(self) -> None:
        def fail(operation: Operation) -> int:
            return FULL if operation.kind == "write" else OK

        def empty() -> None:
            if self.disk.on_operation is fail:
                self.disk.on_operation = lambda operation: OK

        self.disk.on_operation = fail
        self.at(self.random.uniform(1, 60), empty)

    def _set_clock(self) -> None:
        self.clock.wall_error_s = self.random.choice((-30, 0, 30)) * 86400.0

    # workers: this is the executor

    def start(self, lease: Lease, request: Mapping[str, Any]) -> None:
        """Begin a job after its latest segment."""
        worker = self._workers[lease.worker]
        assert worker.lease is None, f"{worker.name} has two jobs"
        worker.lease, worker.orders = lease, set()
        self.check_reservations()
        self.at(0.5, lambda: self._begin(worker, lease, request))

    def ask_to_yield(self, lease: Lease) -> None:
        """Ask a worker to give its job back."""
        self._workers[lease.worker].orders.add("yield")

    def ask_to_cancel(self, lease: Lease) -> None:
        """Ask a worker to stop its job."""
        self._workers[lease.worker].orders.add("cancel")

    def kill(self, lease: Lease) -> None:
        """Kill a worker that has stalled."""
        if lease.worker in self._workers:
            self._die(self._workers[lease.worker], lease, AttemptEnd.STALLED)

    def _connect(self, device: str) -> None:
        worker = Worker(f"w{next(self._names)}", device)
        self._workers[worker.name] = worker
        self.queue.leases.connect(worker.name, device)

    def _end_worker(self, worker: Worker) -> None:
        """End a worker's process; another one comes after a while."""
        if self._workers.pop(worker.name, None):
            worker.lease = None
            self.at(self.random.uniform(0.5, 5), lambda: self._connect(worker.device))

    def _die(self, worker: Worker, lease: Lease, end: AttemptEnd) -> None:
        if worker.is_connected:
            if end is not AttemptEnd.LOST:
                self.crashes[lease.job_id] = self.crashes.get(lease.job_id, 0) + 1
            self.try_(lambda: self.queue.leases.disconnect(worker.name, end, {"end": str(end)}))
        self._end_worker(worker)

    def _begin(self, worker: Worker, lease: Lease, request: Mapping[str, Any]) -> None:
        def begin() -> None:
            if worker.lease == lease:
                self._report(worker, begin, lambda: self._read_start(worker, lease, request))

        begin()

    def _read_start(self, worker: Worker, lease: Lease, request: Mapping[str, Any]) -> None:
        self.queue.leases.report_progress(lease, 0)
        number = self.queue.get(lease.job_id).segments
        if number == request["segments"]:  # only its end is missing
            self.at(0.5, lambda: self._finish(worker, lease, request))
            return
        self.at(request["seconds"], lambda: self._work(worker, lease, request, number))

    def _work(self, worker: Worker, lease: Lease, request: Mapping[str, Any], number: int) -> None:
        """End a segment of a job, or fail in it."""
        if worker.lease != lease:
            return
        faults, chance = self.faults, self.random.random()
        if request["poison_at"] == number or chance < faults.dies:
            self._die(worker, lease, AttemptEnd.DIED)
            return
        if worker.is_connected and self._run_short(worker, lease, request, number):
            return
        if (chance := chance - faults.dies) < faults.hangs:
            worker.is_hung = True  # until it is killed
            return
        if (chance := chance - faults.hangs) < faults.loses_connection and worker.is_connected:
            worker.is_connected = False  # it works on, and does not know
            self.try_(lambda: self.queue.leases.disconnect(worker.name))
        elif 0 <= chance - faults.loses_connection < faults.reports_error:
            self._report(worker, lambda: self._work(worker, lease, request, number),
                         lambda: self._fail(worker, lease))  # fmt: skip
            return
        segment = self._make_segment(lease, request, number)

        def again() -> None:
            if worker.lease == lease:
                self._report(worker, again, lambda: self._commit(worker, lease, request, segment))

        again()

    def _run_short(
        self, worker: Worker, lease: Lease, request: Mapping[str, Any], number: int
    ) -> bool:
        """Run out of memory, most of the time, if the job needs more than is reserved for it.

        Sometimes it was measured before how much it took.
        """
        reserved = self.queue.leases.find_held()[lease.job_id].reserved
        device_bytes, host_bytes = request["needs"]
        is_short = device_bytes > reserved.device_bytes, host_bytes > reserved.host_bytes
        if not any(is_short) or self.random.random() < 0.1:
            return False
        self.shortages += 1
        if self.random.random() < 0.5:
            share = self.random.uniform(0.5, 1)
            peak = Demand(int(device_bytes * share), int(host_bytes * share))
            self.queue.leases.report_progress(lease, 0, peak)
        if is_short[1]:
            self._die(worker, lease, AttemptEnd.OUT_OF_MEMORY)
        else:
            self._report(worker, lambda: self._work(worker, lease, request, number),
                         lambda: self._fail(worker, lease, OUT_OF_MEMORY))  # fmt: skip
        return True

    def _make_segment(self, lease: Lease, request: Mapping[str, Any], number: int) -> Segment:
        sha256 = f"{self.random.getrandbits(256):064x}"
        return Segment(
            number=number, frames=1, size_bytes=1, sha256=sha256, name=f"{number}.nut",
            device_s=request["seconds"],
        )  # fmt: skip

    def _fail(self, worker: Worker, lease: Lease, reason: str = "flaky") -> None:
        self.queue.leases.fail(lease, reason, "an error", may_retry=True)
        self.errors[lease.job_id] = self.errors.get(lease.job_id, 0) + 1
        worker.lease = None

    def _commit(
        self, worker: Worker, lease: Lease, request: Mapping[str, Any], segment: Segment
    ) -> None:
        leases = self.queue.leases
        leases.commit_segment(lease, segment)
        self.stored[lease.job_id, segment.number] = segment.sha256
        self.crashes[lease.job_id] = self.errors[lease.job_id] = 0
        tenant = request["tenant"]
        self.device_s[tenant] = self.device_s.get(tenant, 0.0) + segment.device_s
        if "cancel" in worker.orders:
            leases.confirm_cancel(lease)
        elif segment.number + 1 == request["segments"]:
            self.at(self.random.choice((0, 0.5, 3)), lambda: self._finish(worker, lease, request))
            return
        elif "yield" in worker.orders:
            leases.give_back(lease)
        else:
            self.at(request["seconds"], lambda: self._work(
                worker, lease, request, segment.number + 1))  # fmt: skip
            return
        worker.lease = None

    def _finish(self, worker: Worker, lease: Lease, request: Mapping[str, Any]) -> None:
        """Report the result, which is complete; one that was asked to stop may stop."""

        def finish() -> None:
            leases = self.queue.leases
            if "cancel" in worker.orders and self.random.random() < 0.3:
                leases.confirm_cancel(lease)
            else:
                leases.finish(lease, request["segments"], {"ok": True})
            worker.lease = None

        if worker.lease == lease:
            if self.on_finish is not None and self.random.random() < 0.5:
                self.on_finish(lease.job_id)
            if worker.is_connected and self.random.random() < self.faults.dies:
                self._die(worker, lease, AttemptEnd.DIED)
                return
            self._report(worker, lambda: self._finish(worker, lease, request), finish)

    def _report(self, worker: Worker, again: Callable[[], None], call: Callable[[], None]) -> None:
        """Report to the server; a worker without its lease any more ends."""
        try:
            self.try_(call, again)
        except LeaseLost:
            assert not worker.is_connected, f"{worker.name} lost a lease that it holds"
            self._end_worker(worker)


def make_request(
    tenant: str, segments: int = 1, seconds: float = 10.0, poison_at: int = -1,
    needs: tuple[int, int] = (0, 0), **options: Any,
) -> JobRequest:  # fmt: skip
    """Return a request that workers of this world can run; `needs`: bytes on the device, of RAM."""
    job = {"tenant": tenant, "segments": segments, "seconds": seconds, "poison_at": poison_at,
           "needs": list(needs)}  # fmt: skip
    return JobRequest(tenant=tenant, job=job, **options)
