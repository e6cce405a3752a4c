"""The plainest place to run: here, in this process."""

import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager

from filmgate.core.chain import Chain
from filmgate.core.events import Event, Warned
from filmgate.core.frame import Frame, Spec
from filmgate.core.job import Job, SourceFile, Task
from filmgate.core.plan import Plan
from filmgate.core.run import frames as made_frames
from filmgate.core.run import run as run_film
from filmgate.core.snapshot import Snapshot
from filmgate.core.stage import AnyStage
from filmgate.tasks.forms import TAG, job_tag


def run(
    job: Job, plan: Plan | None = None, resume: Snapshot | None = None
) -> Generator[Event, None, None]:
    """Does the job; says what happens. The result is whole under its name when this ends.

    Closing the generator, or any error, leaves nothing behind. Raises FilmgateError.
    """
    plan = plan or Plan()
    with pinned(plan), job.source.open(plan.decode_threads) as film:
        chain = build(job.tasks, film.spec, plan)
        with job.sink.open(
            film,
            chain.output(film.spec),
            tracks=all(task.keeps_sound for task in job.tasks),
            tags={TAG: job_tag(job)},
            threads=plan.encode_threads,
        ) as result:
            yield from (Warned(message) for message in result.dropped)
            yield from run_film(film, chain, result, plan, resume)


def frames(
    source: SourceFile, tasks: Sequence[Task], plan: Plan | None = None
) -> Generator[Frame, None, None]:
    """The result's frames as they are made. Raises FilmgateError."""
    plan = plan or Plan()
    with pinned(plan), source.open(plan.decode_threads) as film:
        yield from made_frames(film, build(tasks, film.spec, plan), plan)


def build(tasks: Sequence[Task], spec: Spec, plan: Plan) -> Chain:
    """The tasks as one chain for the stream `spec`; weights are loaded here."""
    stages: list[AnyStage] = []
    for task in tasks:
        made = task.stages(spec)
        spec = Chain(made).output(spec)
        stages += made
    return Chain(tuple(stages), plan.batches)


@contextmanager
def pinned(plan: Plan) -> Iterator[None]:
    """The plan's thread counts, while the `with` lasts: they move the last bits of results."""
    import cv2

    cv2_threads, torch = cv2.getNumThreads(), sys.modules.get("torch")
    torch_threads = torch.get_num_threads() if torch else 0
    try:
        cv2.setNumThreads(plan.compute_threads)
        if torch:
            torch.set_num_threads(plan.compute_threads)
        yield
    finally:
        cv2.setNumThreads(cv2_threads)
        if torch:
            torch.set_num_threads(torch_threads)
