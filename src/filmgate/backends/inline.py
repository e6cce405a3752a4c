"""Run a job in this process."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

from filmgate.backends.trace import Trace
from filmgate.core import run as core_run
from filmgate.core.events import Event, Warned
from filmgate.core.frame import Frame
from filmgate.core.instrumentation.timing import Clock
from filmgate.core.job import Job, SourceFile, Task
from filmgate.core.model_cache import ModelCache
from filmgate.core.plan import Plan, make_default_plan
from filmgate.core.snapshot import CheckpointStore, Snapshot
from filmgate.pipeline.build import build, build_parts, compute_time_scale, open_source
from filmgate.pipeline.threads import pin_threads
from filmgate.planning.limits import Limits
from filmgate.tasks.provenance import TAG, write_tag


def run(
    job: Job,
    plan: Plan | None = None,
    resume: Snapshot | None = None,
    *,
    limits: Limits | None = None,
    checkpoints: CheckpointStore | None = None,
    trace: Path | None = None,
    models: ModelCache | None = None,
    run_name: str = "",
) -> Generator[Event, None, None]:
    """Run the job and yield its events; the result is complete at the end.

    Default plan: by rule, with the settings in `limits`. With `checkpoints` the run, and its
    `trace`, continue an earlier one. Closing the generator, or an error, leaves only checkpoints.
    Networks come from `models`; `run_name` is in the names of hidden files. Raises FilmgateError.
    """
    limits = limits or Limits()
    threads = plan.decode_threads if plan else limits.threads
    with open_source(job.source, job.tasks, threads) as source:
        pipeline = build(job, source.spec, models)
        result = pipeline.output
        plan = plan or limits.make_plan(source.spec, result, len(pipeline.chain.stages))
        chain = pipeline.apply(plan)
        sink_file = job.sink.open(
            source.metadata,
            result,
            time_scale=compute_time_scale(job.tasks),
            tags={TAG: write_tag(job)},
            threads=plan.encode_threads,
            checkpoints=checkpoints,
            run_name=run_name,
        )
        with pin_threads(plan, opencv=bool(chain.stages)), sink_file as sink:
            yield from (Warned(message) for message in sink.dropped)
            resume = resume or sink.resume
            if trace is None:
                yield from core_run.run(source, chain, sink, plan, resume)
                return
            with Trace(trace, append=resume is not None) as file:
                chain = replace(chain, clock=Clock(span=file.add_span, level=file.add_level))
                for event in core_run.run(source, chain, sink, plan, resume):
                    file.add_event(event)
                    yield event


def iter_frames(
    source: SourceFile,
    tasks: Sequence[Task],
    plan: Plan | None = None,
    models: ModelCache | None = None,
) -> Generator[Frame, None, None]:
    """Yield the result's frames as they are made. Raises FilmgateError."""
    with open_source(source, tasks, plan.decode_threads if plan else None) as video:
        pipeline = build_parts(source, tasks, None, video.spec, models=models)
        plan = plan or make_default_plan(video.spec, pipeline.output)
        with pin_threads(plan):
            yield from core_run.iter_frames(video, pipeline.apply(plan), plan)
