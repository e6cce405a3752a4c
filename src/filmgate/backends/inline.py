"""The plainest place to run: here, in this process."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

from filmgate.backends.trace import Trace
from filmgate.core.events import Event, Warned
from filmgate.core.frame import Frame
from filmgate.core.instrumentation.timing import Clock
from filmgate.core.job import Job, SourceFile, Task
from filmgate.core.plan import Plan
from filmgate.core.run import frames as made_frames
from filmgate.core.run import run as run_film
from filmgate.core.snapshot import CheckpointStore, Snapshot
from filmgate.pipeline.build import build, stretched
from filmgate.pipeline.threads import pinned
from filmgate.tasks.provenance import TAG, job_tag


def run(
    job: Job,
    plan: Plan | None = None,
    resume: Snapshot | None = None,
    *,
    keep: CheckpointStore | None = None,
    trace: Path | None = None,
) -> Generator[Event, None, None]:
    """Does the job; says what happens, and draws it in `trace`. The result is whole at the end.

    With `keep` it goes on from what is kept there, and so does the trace. Closing the generator,
    or any error, leaves nothing behind but what is kept. Raises FilmgateError.
    """
    with job.source.open(plan.decode_threads if plan else None) as video:
        chain, plan = build(job.source, job.tasks, video.spec, plan, job.sink, job.seed)
        result = job.sink.open(
            video,
            chain.output(video.spec),
            slow=stretched(job.tasks),
            tags={TAG: job_tag(job)},
            threads=plan.encode_threads,
            keep=keep,
        )
        with pinned(plan), result as sink:
            yield from (Warned(message) for message in sink.dropped)
            resume = resume or sink.resume
            if trace is None:
                yield from run_film(video, chain, sink, plan, resume)
                return
            with Trace(trace, goes_on=resume is not None) as drawn:
                chain = replace(chain, clock=Clock(span=drawn.span, level=drawn.level))
                for event in run_film(video, chain, sink, plan, resume):
                    drawn.tell(event)
                    yield event


def frames(
    source: SourceFile, tasks: Sequence[Task], plan: Plan | None = None
) -> Generator[Frame, None, None]:
    """The result's frames as they are made. Raises FilmgateError."""
    with source.open(plan.decode_threads if plan else None) as video:
        chain, plan = build(source, tasks, video.spec, plan)
        with pinned(plan):
            yield from made_frames(video, chain, plan)
