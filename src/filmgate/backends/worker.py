"""In a child process that may be shot: what kills the run does not kill who watches it."""

from collections.abc import Generator, Iterator
from dataclasses import replace
from fractions import Fraction

from filmgate.backends import inline
from filmgate.backends.worker_process import Run, WorkerTimeouts, start_child
from filmgate.core.events import Committed, Died, Event, Started, Warned
from filmgate.core.job import Job
from filmgate.core.plan import Plan
from filmgate.core.snapshot import Snapshot
from filmgate.errors import FilmgateError

DEATHS = 3  # without a commit between them: the same frame would kill the next one too


def run(
    job: Job,
    plan: Plan | None = None,
    resume: Snapshot | None = None,
    *,
    within: Run = inline.run,
    durable: bool = False,
    skip_bad: bool = False,
    timeouts: WorkerTimeouts | None = None,
) -> Generator[Event, None, None]:
    """Does what `within` does, in a child process; says the same events, raises the same errors.

    A child that dies is told of by Died; if the sink is `durable` (what was committed can be gone
    on from), another goes on from the last commit. After DEATHS without a commit FilmgateError is
    raised, or with `skip_bad` the chunks around that place are tried as bad ones, one by one.
    Closing the generator stops the child and leaves nothing behind.
    """
    deaths, last, reached, begun = 0, resume, Fraction(0), 0
    suspects: Iterator[tuple[int, int]] | None = None
    while True:
        with start_child(within, job, plan, last, timeouts or WorkerTimeouts()) as child:
            for event in child.events():
                if isinstance(event, Committed):
                    deaths, last, suspects = 0, event.snapshot, None
                    begun = last.cursor.index
                elif isinstance(event, Started) and event.read > begun:  # a commit nobody told of
                    deaths, begun, suspects = 0, event.read, None
                yield event
            if child.ended:
                return
            certificate = child.crash()
        reached = max(reached, certificate.time)  # a child that died at once has told no time
        certificate = replace(certificate, time=reached)
        deaths += 1
        if child.plan is not None:  # one chunk at a time from now on, so that the place is known
            plan = replace(child.plan, queue_bytes=1)
        where = f"after source frame {certificate.read} ({float(certificate.time):.3f} s)"
        message = f"the worker died {where}: {certificate.cause}"
        message += f"; {certificate.hint}" if certificate.hint else ""
        yield Died("FilmgateError", message, certificate.read, certificate)
        if not durable:
            raise FilmgateError(message)
        if deaths < DEATHS:
            continue
        if skip_bad and plan is not None and suspects is None:
            known = plan.bad
            suspects = _suspects(certificate.read, plan.chunk)
        suspect = next(suspects, None) if suspects is not None else None
        if suspect is None or plan is None:
            what = "no chunk near it does it alone" if skip_bad else "--skip-bad goes on past it"
            raise FilmgateError(f"{message}; time {deaths} without a commit between: given up; "
                                f"{what}")  # fmt: skip
        plan = replace(plan, bad=(*known, suspect))
        yield Warned(f"tries without the source frames {suspect[0]} to {suspect[1] - 1}")


def _suspects(read: int, chunk: int) -> Iterator[tuple[int, int]]:
    """Chunks of source frames that may have killed a run which had done `read`.

    One chunk lies between compute and the sink, and one may be on its way into the chain.
    """
    begin = read - read % chunk
    for k in range(4):
        yield (begin + k * chunk, begin + (k + 1) * chunk)
