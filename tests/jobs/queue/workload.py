"""A server at work on a queue: each change that it acknowledged is reported, and checked later."""

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from filmgate.jobs.queue.job_queue import JobQueue
from filmgate.jobs.queue.values import JobRecord, JobState, Lease
from tests.jobs.queue.queues import make_job, make_segment


class Acknowledged(NamedTuple):
    """A change whose call has returned: submit, segment or done. `value`: key or digit."""

    kind: str
    job_id: str
    value: str

    def format(self) -> str:
        """Return it as a line."""
        return " ".join(self)

    @classmethod
    def parse(cls, lines: Iterable[str]) -> list["Acknowledged"]:
        """Return what complete lines say."""
        return [cls(*line.split()) for line in lines if len(line.split()) == 3]


def work(
    queue: JobQueue, random_: random.Random, report: Callable[[Acknowledged], object], rounds: int
) -> None:
    """Submit jobs and run them on three workers, at random."""
    name = f"{random_.getrandbits(32):08x}"
    leases: dict[str, Lease | None] = {}
    for number in range(3):
        leases[f"{name}-{number}"] = None
        queue.leases.connect(f"{name}-{number}", "gpu")
    for number in range(rounds):
        worker, lease = random_.choice(list(leases.items()))
        if lease is None:
            waiting = queue.read_waiting()
            if len(waiting) < 3:
                key = f"{name}-{number}"
                job = queue.submit(make_job(key=key, x="x" * random_.randint(0, 3000))).job
                report(Acknowledged("submit", job.id, key))
            else:
                leases[worker] = queue.leases.claim(random_.choice(waiting).id, worker)
            continue
        segments = queue.get(lease.job_id).segments
        if segments < 3:
            digit = random_.choice("0123456789abcdef")
            queue.leases.commit_segment(lease, make_segment(segments, digit=digit))
            report(Acknowledged("segment", lease.job_id, f"{segments}{digit}"))
        else:
            queue.leases.finish(lease, segments, {})
            report(Acknowledged("done", lease.job_id, "-"))
            leases[worker] = None


def find_lost(path: Path, acknowledged: Iterable[Acknowledged], vfs: str = "") -> list[str]:
    """Open the queue as the next server does, and return what of the acknowledged is not there."""
    lost = []
    with JobQueue(path, vfs=vfs) as queue:
        jobs = {job.id: job for page in _list_pages(queue) for job in page}
        for each in acknowledged:
            job = jobs.get(each.job_id)
            if job is None:
                lost.append(each.format())
            elif each.kind == "done":
                lost += [each.format()] * (job.state is not JobState.DONE)
            elif each.kind == "segment":
                number, digit = int(each.value[:-1]), each.value[-1]
                page = queue.read_segments(job.id, number - 1, limit=1)
                is_there = page and (page[0].number, page[0].sha256) == (number, digit * 64)
                lost += [each.format()] * (not is_there)
        for job in jobs.values():
            events = queue.read_events(job.id, limit=1000)
            if [event.number for event in events] != list(range(1, job.events + 1)):
                lost.append(f"events of {job.id}")
    return lost


def _list_pages(queue: JobQueue) -> Iterable[list[JobRecord]]:
    after = 0
    while page := queue.list_jobs(after=after, limit=1000):
        yield page
        after = page[-1].number
