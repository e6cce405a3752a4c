"""Simulate the service with everything that fails: `python -m tests.jobs.scheduler.simulation`."""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filmgate.errors import JobConflict
from filmgate.jobs.queue.values import (
    FINAL_STATES,
    OUT_OF_MEMORY,
    POISON,
    Demand,
    JobClass,
    JobEvent,
    JobRecord,
    JobRequest,
    JobState,
)
from filmgate.jobs.queue.verdicts import MAX_CRASHES, MAX_FAILURES
from filmgate.jobs.scheduler.capacity import Machine, Room
from filmgate.jobs.scheduler.decisions import Decisions, Start, decide
from filmgate.jobs.scheduler.order import Policy, Situation
from tests.jobs.scheduler.world import LIMIT_S, Faults, World, make_request

JOBS, FAULTS_S = 10, 180.0  # jobs of a seed, and how long things fail
FAULTS = Faults(
    dies=0.06, hangs=0.03, loses_connection=0.05, reports_error=0.04, server_every_s=60,
    disk_full_every_s=120, clock_every_s=60,
)  # fmt: skip
POLICY = Policy(quantum_s=15, overdue_s=120)
MOST = 100, 300  # bytes that one job may have on a device and of RAM


@dataclass
class Client:
    """A client with one request, which it repeats with the same key until it is answered."""

    request: JobRequest
    job_id: str = ""
    was_cancelled: bool = False
    may_be_cancelled: bool = False


class Simulation:
    """One seed: clients, workers and faults, and what must hold at the end."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self.world = World(folder, seed, faults=FAULTS, policy=POLICY)
        self.random = random.Random(f"clients of {seed}")
        self.clients = [Client(self._make_request(number)) for number in range(JOBS)]
        self.world.on_finish = self._cancel_late
        for client in self.clients:
            self._plan(client)

    def run(self) -> None:
        """Run to the end and check everything."""
        world = self.world
        world.run(FAULTS_S)
        world.faults = Faults()
        world.disk.on_operation = lambda operation: 0
        world.run(LIMIT_S, self._is_over)
        self._check()
        jobs = world.queue.list_jobs()
        self.ends = Counter(str(job.reason or job.state) for job in jobs)
        self.ends["done with more memory"] = sum(
            job.raised > 0 and job.state is JobState.DONE for job in jobs
        )
        world.close()

    def _make_request(self, number: int) -> JobRequest:
        random_, segments = self.random, self.random.randint(1, 4)
        job_class = random_.choice(list(JobClass))
        if job_class is JobClass.LIVE:
            segments = 1
        large = random_.random() < 0.15
        size = random_.randint(80, 100) if large else random_.randint(5, 60)
        seconds, host = random_.uniform(1, 12), random_.randint(0, 200)
        needs = size, host
        if random_.random() < 0.2:  # it is predicted too low, some of them by far
            needs = (int(size * random_.choice((1, 1.4, 2.5, 5))),
                     int(host * random_.choice((1, 1.4, 2.5, 5))))  # fmt: skip
        return make_request(
            random_.choice("xyz"), segments, seconds,
            random_.choice((0, segments - 1)) if random_.random() < 0.1 else -1, needs,
            key=f"key-{number}", job_class=job_class, priority=random_.randint(-2, 2),
            demand=Demand(size, host, segments * seconds),
            expires_after_s=random_.uniform(20, 200) if random_.random() < 0.1 else None,
        )  # fmt: skip

    def _plan(self, client: Client) -> None:
        """Submit once, or several times as after answers that were lost; cancel some."""
        start_s = self.random.uniform(0, FAULTS_S * 0.6)
        for _ in range(self.random.choice((1, 1, 1, 2, 3))):
            self.world.at(start_s + self.random.uniform(0, 20), lambda: self._submit(client))
        if self.random.random() < 0.15:
            self.world.at(start_s + self.random.uniform(0, 60), lambda: self._cancel(client))

    def _submit(self, client: Client) -> None:
        def submit() -> None:
            job = self.world.queue.submit(client.request).job
            assert client.job_id in ("", job.id), f"doubled: {client.job_id} is also {job.id}"
            client.job_id = job.id

        self.world.try_(submit, lambda: self._submit(client))

    def _cancel(self, client: Client) -> None:
        def cancel() -> None:
            client.may_be_cancelled = True
            try:
                job = self.world.queue.cancel(client.job_id)
            except JobConflict:
                return
            client.was_cancelled = job.state is JobState.CANCELLED

        if client.job_id:
            self.world.try_(cancel, lambda: self._cancel(client))

    def _cancel_late(self, job_id: str) -> None:
        """Cancel a job whose worker is about to report its result, before that or right after."""
        client = next(client for client in self.clients if client.job_id == job_id)
        if self.random.random() < 0.2:
            self.world.at(self.random.choice((0, 0, 0.5, 3)), lambda: self._cancel(client))
            if self.random.random() < 0.5:
                self._cancel(client)

    def _is_over(self) -> bool:
        jobs = self.world.queue.list_jobs()
        return len(jobs) == JOBS and all(job.state in FINAL_STATES for job in jobs)

    def _check(self) -> None:
        queue = self.world.queue
        jobs = {job.id: job for job in queue.list_jobs()}
        assert len(jobs) == JOBS, f"doubled or lost: {len(jobs)} jobs of {JOBS} requests"
        waiting = [job for job in jobs.values() if job.state not in FINAL_STATES]
        assert not waiting, f"starved: {waiting[:3]}"
        for client in self.clients:
            assert client.job_id in jobs, f"lost: {client}"
            self._check_job(client, jobs[client.job_id])

    def _check_job(self, client: Client, job: JobRecord) -> None:
        queue, world = self.world.queue, self.world
        segments = queue.read_segments(job.id)
        assert [s.number for s in segments] == list(range(job.segments)), f"segments of {job}"
        for segment in segments:
            stored = world.stored.get((job.id, segment.number), segment.sha256)
            assert stored == segment.sha256, f"doubled: segment {segment.number} of {job}"
        acknowledged = [number for job_id, number in world.stored if job_id == job.id]
        assert len(acknowledged) <= job.segments, f"lost: a segment of {job}"
        events = queue.read_events(job.id, limit=1000)
        assert [e.number for e in events] == list(range(1, job.events + 1)), f"events of {job}"
        final = [event.kind for event in events if event.kind in set(FINAL_STATES)]
        assert final == [job.state] == [events[-1].kind], f"ends of {job}: {final}"
        assert all(a.end for a in queue.read_attempts(job.id)), f"open attempt of {job}"
        request = queue.read_request(job.id)
        assert request == client.request.job
        if job.state is JobState.DONE:
            assert job.segments == request["segments"], f"incomplete: {job}"
            assert request["poison_at"] < 0
        elif job.state is JobState.FAILED:
            counts, most = (
                (world.crashes, MAX_CRASHES) if job.reason == POISON
                else (world.errors, MAX_FAILURES)
            )  # fmt: skip
            never_fits = request["needs"][0] > MOST[0] or request["needs"][1] > MOST[1]
            assert counts.get(job.id, 0) >= most or (job.reason == OUT_OF_MEMORY and never_fits), (
                f"failed without cause: {job}"
            )
        elif job.state is JobState.CANCELLED:
            assert client.may_be_cancelled, f"cancelled by no one: {job}"
        else:
            assert client.request.expires_after_s is not None
            assert job.epoch == 0, f"expired after its start: {job}"
        assert not client.was_cancelled or job.state is JobState.CANCELLED, f"resurrected: {job}"
        check_raises(job, events)


def check_raises(job: JobRecord, events: Iterable[JobEvent]) -> None:
    """Fail if an attempt has less reserved than the one before, or no more after a raise."""
    had, is_raised, raises = (0, 0), False, 0
    for event in events:
        if event.kind == "reservation_raised":
            is_raised, raises = True, raises + 1
        elif event.kind == "leased":
            has = event.data["device_bytes"], event.data["host_bytes"]
            assert has[0] >= had[0], f"less memory reserved: {job}"
            assert has[1] >= had[1], f"less memory reserved: {job}"
            assert not is_raised or has > had or MOST[0] in has or MOST[1] in has, f"no more: {job}"
            had, is_raised = has, False
    assert raises == job.raised, f"raises of {job}"


def run_seed(seed: int, folder: Path) -> Counter[str]:
    """Run a seed; return how many jobs ended how, and the restarts. Raises AssertionError."""
    simulation = Simulation(seed, folder)
    try:
        simulation.run()
    except Exception as error:
        error.add_note(f"repeat: python -m tests.jobs.scheduler.simulation --seed {seed}")
        raise
    simulation.ends["restarts"] = simulation.world.restarts
    return simulation.ends


def decide_fifo(
    machine: Machine, policy: Policy, situation: Situation, asked: frozenset[str]
) -> Decisions:
    """Start jobs in the order of their arrival, for comparison."""
    room, starts = Room(machine, situation.pair_running(), situation.idle), []
    for job in sorted(situation.waiting, key=lambda job: job.number):
        device = room.find_device(job.demand)
        if device is None:
            break
        starts.append(Start(job.id, room.idle[device].pop(0), device, job.demand))
        room.reserve(job.demand, device)
    return Decisions(tuple(starts), ())


def compute_jain(values: Iterable[float]) -> float:
    """Return Jain's index of fairness: 1 if all are equal, 1 / n if one has everything."""
    values = list(values)
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def measure_fairness(decide: Callable[..., Any], folder: Path, scale: int = 1) -> float:
    """Return Jain's index of the device seconds of five tenants, of which one floods the queue.

    All of them have jobs that wait during all of the time that is measured.
    """
    place = folder / decide.__name__
    place.mkdir()
    world = World(place, devices={"a": 1, "b": 1, "c": 1, "d": 1}, policy=POLICY, decide=decide)
    random_ = random.Random(1)
    for tenant, count in (("flood", 120), ("p", 14), ("q", 14), ("r", 14), ("s", 14)):
        for _ in range(count * scale):
            segments, seconds = random_.randint(1, 3), random_.choice((2.0, 5.0))
            demand = Demand(1, 1, segments * seconds)
            world.queue.submit(make_request(tenant, segments, seconds, demand=demand))
    world.run(120.0 * scale)
    world.close()
    tenants = ("flood", "p", "q", "r", "s")
    return compute_jain(world.device_s.get(tenant, 0.0) for tenant in tenants)


def main() -> int:
    """Run seeds and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="Only this one, as a failure names it")
    parser.add_argument("--seeds", type=int, default=2000)
    options = parser.parse_args()
    seeds = range(options.seeds) if options.seed is None else [options.seed]
    began, ends = time.monotonic(), Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        for seed in seeds:
            ends += run_seed(seed, Path(name))
        print(f"{len(seeds)} seeds in {time.monotonic() - began:.0f} s: {dict(ends)}")
        if options.seed is None:
            fair, fifo = (measure_fairness(how, Path(name), 8) for how in (decide, decide_fifo))
            print(f"fairness (Jain): {fair:.3f}, first in first out: {fifo:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
