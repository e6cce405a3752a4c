"""The plainest place to run: here, in this process."""

import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from filmgate.backends.costly import dressed
from filmgate.core.chain import Chain
from filmgate.core.clock import Clock
from filmgate.core.events import Event, Warned
from filmgate.core.frame import Frame, Spec
from filmgate.core.job import Job, SinkFile, SourceFile, Task
from filmgate.core.meter import give_back
from filmgate.core.plan import Plan, planned
from filmgate.core.run import frames as made_frames
from filmgate.core.run import run as run_film
from filmgate.core.snapshot import Keep, Snapshot
from filmgate.core.trace import Trace
from filmgate.tasks.forms import TAG, job_tag


def run(
    job: Job,
    plan: Plan | None = None,
    resume: Snapshot | None = None,
    *,
    keep: Keep | None = None,
    trace: Path | None = None,
) -> Generator[Event, None, None]:
    """Does the job; says what happens, and draws it in `trace`. The result is whole at the end.

    With `keep` it goes on from what is kept there, and so does the trace. Closing the generator,
    or any error, leaves nothing behind but what is kept. Raises FilmgateError.
    """
    with job.source.open(plan.decode_threads if plan else None) as film:
        chain, plan = build(job.source, job.tasks, film.spec, plan, job.sink, job.seed)
        result = job.sink.open(
            film,
            chain.output(film.spec),
            slow=stretched(job.tasks),
            tags={TAG: job_tag(job)},
            threads=plan.encode_threads,
            keep=keep,
        )
        with pinned(plan), result as sink:
            yield from (Warned(message) for message in sink.dropped)
            resume = resume or sink.resume
            if trace is None:
                yield from run_film(film, chain, sink, plan, resume)
                return
            with Trace(trace, goes_on=resume is not None) as drawn:
                chain = replace(chain, clock=Clock(span=drawn.span, level=drawn.level))
                for event in run_film(film, chain, sink, plan, resume):
                    drawn.tell(event)
                    yield event


def frames(
    source: SourceFile, tasks: Sequence[Task], plan: Plan | None = None
) -> Generator[Frame, None, None]:
    """The result's frames as they are made. Raises FilmgateError."""
    with source.open(plan.decode_threads if plan else None) as film:
        chain, plan = build(source, tasks, film.spec, plan)
        with pinned(plan):
            yield from made_frames(film, chain, plan)


def build(
    source: SourceFile,
    tasks: Sequence[Task],
    spec: Spec,
    plan: Plan | None,
    sink: SinkFile | None = None,
    seed: int = 0,
) -> tuple[Chain, Plan]:
    """The line for the stream `spec` as the plan wants it, and the plan. Raises UserError."""
    chain = line(source, tasks, spec, sink, seed)
    plan = plan or planned(spec, chain.output(spec))
    return Chain(dressed(chain, spec, plan, source), plan.batches), plan


def line(
    source: SourceFile,
    tasks: Sequence[Task],
    spec: Spec,
    sink: SinkFile | None = None,
    seed: int = 0,
) -> Chain:
    """All that the film goes through, as one chain. Weights are loaded here. Raises UserError."""
    chain, spec = Chain(()), replace(spec, seed=seed)
    for part in (source, *tasks, *((sink,) if sink else ())):
        chain = Chain((chain, *part.stages(chain.output(spec))))
    return chain


def stretched(tasks: Sequence[Task]) -> Fraction | None:
    """How many times as long the tracks beside the picture last; None: they no longer fit."""
    slow = Fraction(1)
    for task in tasks:
        if task.stretch is None:
            return None
        slow *= task.stretch
    return slow


@contextmanager
def pinned(plan: Plan) -> Iterator[None]:
    """The plan's thread counts, while the `with` lasts: they move the last bits of results.

    How freed memory is given back stays as the plan said: it can't be undone.
    """
    import cv2

    before, torch = cv2.getNumThreads(), sys.modules.get("torch")
    torch_before = torch.get_num_threads() if torch else 0
    if plan.give_back:
        give_back()
    try:
        cv2.setNumThreads(plan.opencv_threads)
        if torch:
            torch.set_num_threads(plan.torch_threads)
        yield
    finally:
        cv2.setNumThreads(before)
        if torch:
            torch.set_num_threads(torch_before)
