"""Run the jobs of a request and show their events."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import filmgate as fg
from filmgate.backends.spawn import Workers
from filmgate.cli.paths import check_paths, check_timeline
from filmgate.cli.request import TABLE, DisplayOptions, Request
from filmgate.cli.signals import stop_on_signals
from filmgate.cli.views.batch import Batch
from filmgate.core.events import Committed, Died, Done, Event, Prepared, Progress, Started
from filmgate.core.job import Job
from filmgate.errors import BadSetting, Exit, FilmgateError, Interrupted
from filmgate.installation import quote_argument
from filmgate.jobs.options import ResumeOptions, explain_not_resumable
from filmgate.media.sinks import VideoOutput
from filmgate.planning.limits import Limits
from filmgate.tasks.model_task import ModelTask


def run_request(request: Request, workers: Workers | None = None) -> Exit:
    """Run every job of a request and return the first exit code that is not 0.

    The error of one of several jobs is printed, and the next job runs; that of a single job is
    raised.
    """
    jobs = request.build_jobs()
    if len(jobs) == 1:
        return _run_or_sample(next(iter(jobs.values())), request, workers)
    display = request.display
    profile = None if display.profile == TABLE else display.profile
    places = {"--work": request.resume_options.work, "--trace": display.trace, "--profile": profile}
    for flag, place in places.items():
        if place is not None and not request.sample.sample:
            raise BadSetting(f"{flag} names one place and there are {len(jobs)} videos: omit it")
    if request.sample.sample is not None or request.display.json or request.display.quiet:
        return _run_all(jobs, request, workers)
    batch = Batch.of(jobs)
    try:
        return _run_all(jobs, request, workers, batch)
    finally:
        if batch.rows:
            from rich.console import Console

            console = Console(stderr=True, highlight=False)
            console.print(batch.draw())
            console.print(batch.summarize(), markup=False)


def _run_all(
    jobs: Mapping[str, Job], request: Request, workers: Workers | None, batch: Batch | None = None
) -> Exit:
    """Run jobs one after another; the error of one is printed, and the next runs."""
    codes = []
    for name, job in jobs.items():
        if not request.display.quiet:
            print(batch.heading if batch else name, file=sys.stderr)
        failure = ""
        try:
            codes.append(_run_or_sample(job, request, workers, batch))
        except Interrupted:
            failure = "stopped"
            raise
        except FilmgateError as error:
            print(f"filmgate: {error}", file=sys.stderr)
            codes.append(error.exit_code)
            failure = "failed"
        finally:
            if batch:
                batch.end_file(Path(job.sink.path), failure)
    return next((code for code in codes if code != Exit.DONE), Exit.DONE)


def run_job(
    job: Job,
    limits: Limits,
    resume_options: ResumeOptions,
    display: DisplayOptions,
    batch: Batch | None = None,
    workers: Workers | None = None,
) -> Exit:
    """Run one job, perhaps of a batch, and show its events; `workers` may have started a process.

    Raises FilmgateError; no half-written result is left.
    """
    if display.json and isinstance(job.sink, VideoOutput) and job.sink.to_pipe:
        raise BadSetting("the result and --json both use standard output: omit --json")
    if display.quiet and display.profile == TABLE:
        raise BadSetting("a profile is printed and --quiet prints nothing: omit --quiet, or pass "
                         "--profile FILE.json")  # fmt: skip
    timeline = display.timeline
    check_paths(job)
    if timeline is not None and timeline == display.profile:
        check_timeline(timeline, job, resume_options)
    for task in job.tasks:
        if isinstance(task, ModelTask):
            task.check_job_weights(job.source)
    workers = workers or Workers()
    in_worker = not display.in_process and explain_not_resumable(job) is None
    if not in_worker:
        workers.close()
    stream = fg.events(
        job,
        limits=limits,
        resume_options=resume_options,
        trace=timeline,
        profile=display.profile is not None,
        worker=workers if in_worker else False,
        skip_bad=display.skip_bad,
    )
    reached, code = _Reached(), Exit.DONE
    last: Event | None = None
    with _show_events(job, display, batch) as show:
        try:
            with stop_on_signals(), closing(stream) as events:
                for event in events:
                    last = event
                    reached.take(event)
                    if isinstance(event, Done) and (event.concealed or not event.is_complete):
                        code = Exit.REPAIRED
                    show(event)
        except KeyboardInterrupt:
            if isinstance(last, Done):  # the result is complete and has its name
                return code
            how = explain_resuming(job, resume_options, reached.committed)
            error = Interrupted(f"stopped after {reached.place}; {how}")
            show(Died("Interrupted", str(error), reached.read))
            raise error from None
        except Exception as error:
            if not (isinstance(last, Died) and last.final):  # else it is reported already
                show(Died(type(error).__name__, str(error), reached.read))
            raise
    return code


@dataclass
class _Reached:
    """How far a run is: `committed` in this run or an earlier one, "" if nothing is."""

    read: int = 0  # source frames
    committed: str = ""
    move: str = ""  # the last one before the first frame

    @property
    def place(self) -> str:
        """The last move or frame that was made."""
        return self.move if self.move and not self.read else f"frame {self.read}"

    def take(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, Started):
            self.read, self.committed = event.read, f"frame {event.read}" if event.read else ""
        elif isinstance(event, Prepared):
            self.move = f"{event.what} {event.done} of {event.total}"
        elif isinstance(event, Progress):
            self.read = event.read
        elif isinstance(event, Committed):
            index = event.snapshot.cursor.index
            self.committed = f"frame {index}" if index else self.move


def explain_resuming(job: Job, options: ResumeOptions, committed: str) -> str:
    """Return how a stopped run is resumed, of which everything up to `committed` is done."""
    if reason := explain_not_resumable(job):
        return f"no half-written result is left. The same command starts again ({reason})"
    if not committed:
        return "nothing is committed yet: the same command starts again"
    place = options.work or job.sink.path
    return (f"the same command, or filmgate resume {quote_argument(str(place))}, resumes from "
            f"{committed}")  # fmt: skip


@contextmanager
def _show_events(
    job: Job, display: DisplayOptions, batch: Batch | None
) -> Iterator[Callable[[Event], None]]:
    """Yield a function that prints events as JSON, or shows them on standard error."""
    if display.json:
        from filmgate.jobs.event_log import format_event

        yield lambda event: print(format_event(event), flush=True)
        return
    from filmgate.cli.views.progress import ProgressView  # while the worker starts

    view: ProgressView | None = None
    with ExitStack() as stack:

        def show(event: Event) -> None:
            nonlocal view
            if view is None:
                to_pipe = isinstance(job.sink, VideoOutput) and job.sink.to_pipe
                path = None if to_pipe else Path(job.sink.path)
                view = stack.enter_context(ProgressView.on_stderr(path, display.quiet, batch))
            view.show(event)

        yield show


def _run_or_sample(
    job: Job, request: Request, workers: Workers | None, batch: Batch | None = None
) -> Exit:
    if request.sample.sample is not None:
        if request.display.profile is not None:
            raise BadSetting("a profile is of a complete run, and --sample runs parts of it: omit "
                             "one of them")  # fmt: skip
        from filmgate.cli.sample import run_sample

        return run_sample(job, request.sample.sample, request)
    return run_job(job, request.limits, request.resume_options, request.display, batch, workers)
