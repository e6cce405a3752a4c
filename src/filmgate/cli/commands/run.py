"""Acts on an order: runs its jobs one after the other and shows what happens."""

import sys
from contextlib import closing

import filmgate as fg
from filmgate.cli.request import DisplayOptions, Request, jobs_of
from filmgate.cli.signals import polite
from filmgate.core.events import Committed, Died, Done, Event, Progress
from filmgate.core.job import Job
from filmgate.errors import BadSetting, Exit, FilmgateError, Interrupted
from filmgate.jobs.options import ResumeOptions
from filmgate.media.sinks import VideoOutput
from filmgate.planning.limits import Limits


def do(order: Request) -> Exit:
    """Does one job after the other; what goes wrong with one does not keep the next from running.

    Says so and returns the exit code of the first that did not end well; one alone raises.
    """
    jobs, sampled = jobs_of(order), order.more.get("Sampled")
    if len(jobs) == 1:
        return _do(next(iter(jobs.values())), order)
    for flag, named in (("--work", order.durable.work), ("--trace", order.shown.trace)):
        if named is not None and not (sampled and sampled.sample):
            raise BadSetting(f"{flag} names one place and there are {len(jobs)} films: leave it "
                             "out")  # fmt: skip
    codes = []
    for name, job in jobs.items():
        if not order.shown.quiet:
            print(name, file=sys.stderr)
        try:
            codes.append(_do(job, order))
        except Interrupted:
            raise
        except FilmgateError as error:
            print(f"filmgate: {error}", file=sys.stderr)
            codes.append(error.exit_code)
    return next((code for code in codes if code != Exit.DONE), Exit.DONE)


def _do(job: Job, order: Request) -> Exit:
    from filmgate.cli.commands.sample import tried

    sampled = order.more.get("Sampled")
    if sampled is not None and sampled.sample is not None:
        return tried(job, sampled.sample, order)
    return do_one(job, order.limits, order.durable, order.shown)


def do_one(job: Job, limits: Limits, durable: ResumeOptions, shown: DisplayOptions) -> Exit:
    """Runs the job and shows its events. Raises FilmgateError; nothing is half-written then."""
    from filmgate.cli.views.progress import watching
    from filmgate.jobs.resumable import passing

    if shown.json and isinstance(job.sink, VideoOutput) and job.sink.piped:
        raise BadSetting("the result and --json both want standard output: leave one")
    happenings = fg.events(
        job,
        limits=limits,
        durable=durable,
        trace=shown.trace,
        worker=not shown.in_process and passing(job) is None,
        skip_bad=shown.skip_bad,
    )
    read, committed, verdict = 0, 0, Exit.DONE
    last: Event | None = None
    with watching(job, shown.json, shown.quiet) as tell:
        try:
            with polite(), closing(happenings) as events:
                for event in events:
                    last = event
                    if isinstance(event, Progress):
                        read = event.read
                    elif isinstance(event, Committed):
                        committed = event.snapshot.cursor.index
                    elif isinstance(event, Done) and event.concealed:
                        verdict = Exit.REPAIRED
                    tell(event)
        except KeyboardInterrupt:
            left = f"the same command goes on from frame {committed}" if committed else (
                "nothing half-written is left")  # fmt: skip
            error = Interrupted(f"stopped after frame {read}; {left}")
            tell(Died("Interrupted", str(error), read))
            raise error from None
        except Exception as error:
            if not isinstance(last, Died):  # a worker has told of its death itself
                tell(Died(type(error).__name__, str(error), read))
            raise
    return verdict
