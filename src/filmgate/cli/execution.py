"""Run the jobs of a request and show their events."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import filmgate as fg
from filmgate.cli.paths import check_paths
from filmgate.cli.request import DisplayOptions, Request
from filmgate.cli.signals import stop_on_signals
from filmgate.core.events import Committed, Died, Done, Event, Progress
from filmgate.core.job import Job
from filmgate.errors import BadSetting, Exit, FilmgateError, Interrupted
from filmgate.jobs.options import ResumeOptions, explain_not_resumable
from filmgate.media.sinks import VideoOutput
from filmgate.planning.limits import Limits

if TYPE_CHECKING:
    from filmgate.cli.views.progress import ProgressView


def run_request(request: Request) -> Exit:
    """Run every job of a request and return the first exit code that is not 0.

    The error of one of several jobs is printed, and the next job runs; that of a single job is
    raised.
    """
    jobs = request.build_jobs()
    if len(jobs) == 1:
        return _run_or_sample(next(iter(jobs.values())), request)
    for flag, place in (("--work", request.durable.work), ("--trace", request.display.trace)):
        if place is not None and not request.sample.sample:
            raise BadSetting(f"{flag} names one place and there are {len(jobs)} videos: omit it")
    codes = []
    for name, job in jobs.items():
        if not request.display.quiet:
            print(name, file=sys.stderr)
        try:
            codes.append(_run_or_sample(job, request))
        except Interrupted:
            raise
        except FilmgateError as error:
            print(f"filmgate: {error}", file=sys.stderr)
            codes.append(error.exit_code)
    return next((code for code in codes if code != Exit.DONE), Exit.DONE)


def run_job(job: Job, limits: Limits, durable: ResumeOptions, display: DisplayOptions) -> Exit:
    """Run one job and show its events. Raises FilmgateError; no half-written result is left."""
    if display.json and isinstance(job.sink, VideoOutput) and job.sink.to_pipe:
        raise BadSetting("the result and --json both use standard output: omit --json")
    check_paths(job)
    stream = fg.events(
        job,
        limits=limits,
        durable=durable,
        trace=display.trace,
        worker=not display.in_process and explain_not_resumable(job) is None,
        skip_bad=display.skip_bad,
    )
    read, committed, code = 0, 0, Exit.DONE
    last: Event | None = None
    with _show_events(job, display) as show:
        try:
            with stop_on_signals(), closing(stream) as events:
                for event in events:
                    last = event
                    if isinstance(event, Progress):
                        read = event.read
                    elif isinstance(event, Committed):
                        committed = event.snapshot.cursor.index
                    elif isinstance(event, Done) and event.concealed:
                        code = Exit.REPAIRED
                    show(event)
        except KeyboardInterrupt:
            rest = (f"the same command resumes from frame {committed}" if committed else
                    "no half-written result is left")  # fmt: skip
            error = Interrupted(f"stopped after frame {read}; {rest}")
            show(Died("Interrupted", str(error), read))
            raise error from None
        except Exception as error:
            if not isinstance(last, Died):  # a worker has reported its own death
                show(Died(type(error).__name__, str(error), read))
            raise
    return code


@contextmanager
def _show_events(job: Job, display: DisplayOptions) -> Iterator[Callable[[Event], None]]:
    """Yield a function that prints events as JSON, or shows them on standard error."""
    if display.json:
        from filmgate.jobs.event_log import format_event

        yield lambda event: print(format_event(event), flush=True)
        return
    view: ProgressView | None = None
    with ExitStack() as stack:

        def show(event: Event) -> None:
            nonlocal view
            if view is None:  # imported now, while the worker is busy
                from filmgate.cli.views.progress import ProgressView

                path = job.sink.path if isinstance(job.sink, VideoOutput) else None
                view = stack.enter_context(ProgressView.on_stderr(path, display.quiet))
            view.show(event)

        yield show


def _run_or_sample(job: Job, request: Request) -> Exit:
    if request.sample.sample is not None:
        from filmgate.cli.sample import run_sample

        return run_sample(job, request.sample.sample, request)
    return run_job(job, request.limits, request.durable, request.display)
