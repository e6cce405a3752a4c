"""Run a job in a child process: what kills the child does not kill the caller."""

from collections.abc import Generator, Iterator
from dataclasses import replace
from fractions import Fraction

from filmgate.backends.spawn import Workers
from filmgate.backends.worker_process import Runner, WorkerTimeouts, start_child
from filmgate.core.events import Committed, Died, Done, Event, Started, Warned
from filmgate.core.job import Job
from filmgate.core.plan import Plan
from filmgate.core.snapshot import Snapshot
from filmgate.errors import FilmgateError

MAX_DEATHS = 3  # without a commit between them: the same frame would kill the next child too
SUSPECT_CHUNKS = 4  # that are tried as bad, one after the other


def run(
    job: Job,
    plan: Plan | None = None,
    resume: Snapshot | None = None,
    *,
    runner: Runner | None = None,
    resumable: bool = False,
    skip_bad: bool = False,
    timeouts: WorkerTimeouts | None = None,
    workers: Workers | None = None,
) -> Generator[Event, None, bool]:
    """Run `runner` in a child process: yields the same events, raises the same errors.

    If the child dies, Died is yielded. With a `resumable` job it is not final: another child
    continues from the last commit, at most MAX_DEATHS times without a commit; then FilmgateError
    is raised, or with `skip_bad` the chunks near that position are replaced, one at a time. Closing
    the generator stops the child and leaves nothing behind. `workers` may have started a child. It
    returns whether the child ended by itself: one that dies after Done may leave its directory.
    """
    deaths, last, reached, committed = 0, resume, Fraction(0), 0
    suspects: Iterator[tuple[int, int]] | None = None
    done = False
    runner, timeouts = runner or run_inline, timeouts or WorkerTimeouts()
    workers = workers or Workers()
    while True:
        with start_child(runner, job, plan, last, timeouts, workers) as child:
            for event in child.events():
                if isinstance(event, Committed):
                    deaths, last, suspects = 0, event.snapshot, None
                    committed = last.cursor.index
                elif isinstance(event, Started) and event.read > committed:
                    deaths, committed, suspects = 0, event.read, None  # its commit was not reported
                done = isinstance(event, Done)
                yield event
            if child.ended or done:
                return child.ended
            crash = child.describe_crash()
        reached = max(reached, crash.time)  # a child that died at once reported no time
        crash = replace(crash, time=reached)
        deaths += 1
        if child.plan is not None:  # one chunk at a time from now on: the position is then known
            plan = replace(child.plan, queue_bytes=1)
        position = f"after source frame {crash.read} ({float(crash.time):.3f} s)"
        message = f"the worker died {position}: {crash.cause}"
        message += f"; {crash.hint}" if crash.hint else ""
        yield Died("FilmgateError", message, crash.read, crash, final=not resumable)
        if not resumable:
            raise FilmgateError(message)
        if deaths < MAX_DEATHS:
            continue
        if skip_bad and plan is not None and suspects is None:
            known = plan.bad_frames
            suspects = _iter_suspects(crash.read, plan.chunk)
        suspect = next(suspects, None) if suspects is not None else None
        if suspect is None or plan is None:
            raise FilmgateError(_explain_giving_up(message, deaths, skip_bad))
        plan = replace(plan, bad_frames=(*known, suspect))
        yield Warned(f"trying without the source frames {suspect[0]} to {suspect[1] - 1}")


def _explain_giving_up(message: str, deaths: int, skip_bad: bool) -> str:
    if skip_bad:
        advice = "no single chunk near it is the cause"
    else:
        advice = "pass --skip-bad to replace the frames that cause it"
    return f"{message}; gave up after {deaths} deaths without a commit: {advice}"


def run_inline(
    job: Job, plan: Plan | None = None, resume: Snapshot | None = None, /, *, run_name: str = ""
) -> Generator[Event, None, None]:
    """Run the job with the inline backend, which only the child has to import."""
    from filmgate.backends import inline

    return inline.run(job, plan, resume, run_name=run_name)


def _iter_suspects(read: int, chunk: int) -> Iterator[tuple[int, int]]:
    """Yield the chunks of source frames that may have killed a run after `read` frames.

    One chunk may be between the chain and the sink, and one on its way into the chain.
    """
    start = read - read % chunk
    for k in range(SUSPECT_CHUNKS):
        yield (start + k * chunk, start + (k + 1) * chunk)
