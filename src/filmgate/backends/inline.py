"""Run a job in this process."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

from filmgate.backends.trace import Trace
from filmgate.core import run as core_run
from filmgate.core.chain import Chain
from filmgate.core.events import Done, Event, Warned
from filmgate.core.frame import Frame
from filmgate.core.instrumentation.timing import Clock
from filmgate.core.job import Job, Source, SourceFile, Task, WarningTask
from filmgate.core.model_cache import ModelCache
from filmgate.core.outputs import Outputs, open_outputs
from filmgate.core.plan import Plan, make_default_plan
from filmgate.core.snapshot import CheckpointStore, Journal, Snapshot
from filmgate.pipeline.build import (
    CaptionDropper,
    build,
    build_parts,
    choose_source,
    compute_time_scale,
    open_source,
)
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
    journal: Journal | None = None,
    watch: core_run.FrameWatch | None = None,
) -> Generator[Event, None, None]:
    """Run the job and yield its events; the result is complete at the end.

    Default plan: by rule, with the settings in `limits`. With `checkpoints` the run, and its
    `trace`, continue an earlier one, from a later frame if a `journal` has some. Closing the
    generator, or an error, leaves only checkpoints. Networks come from `models`; `run_name`
    is in the names of hidden files; `watch` sees the frames. Raises FilmgateError.
    """
    limits, job = limits or Limits(), choose_source(job)
    models = models if models is not None else ModelCache()
    models.device_bytes, models.host_bytes = limits.device_bytes, limits.host_bytes
    threads = plan.decode_threads if plan else limits.threads
    with open_source(job.source, job.tasks, threads) as source:
        pipeline = build(job, source.spec, models)
        result = pipeline.output
        plan = plan or limits.make_plan(source.spec, result, len(pipeline.chain.stages))
        chain = pipeline.apply(plan)
        opened = open_outputs(
            job.sinks,
            source.metadata,
            result,
            time_scale=compute_time_scale(job.tasks),
            tags={TAG: write_tag(job)},
            threads=plan.encode_threads,
            checkpoints=checkpoints,
            run_name=run_name,
        )
        with pin_threads(plan, opencv=bool(chain.stages)), opened as sink:
            advice = [text for t in job.tasks if isinstance(t, WarningTask) for text in t.warnings]
            yield from (Warned(message) for message in (*advice, *pipeline.warnings))
            resume = resume or sink.resume
            video = CaptionDropper(source) if job.tasks else source
            if trace is None:
                yield from _run(video, chain, sink, plan, resume, journal, watch)
                return
            with Trace(trace, append=resume is not None) as file:
                chain = replace(chain, clock=Clock(span=file.add_span, level=file.add_level))
                for event in _run(video, chain, sink, plan, resume, journal, watch):
                    file.add_event(event)
                    yield event


def _run(
    source: Source,
    chain: Chain,
    sink: Outputs,
    plan: Plan,
    resume: Snapshot | None,
    journal: Journal | None,
    watch: core_run.FrameWatch | None,
) -> Generator[Event, None, None]:
    """Run, and report what the outputs leave out as soon as they know."""
    yield from (Warned(message) for message in sink.dropped)
    reported = set(sink.dropped)
    for event in core_run.run(source, chain, sink, plan, resume, journal, watch):
        new = [message for message in sink.dropped if message not in reported]
        yield from (Warned(message) for message in new)
        reported.update(new)
        if isinstance(event, Done):  # nothing follows it
            event = replace(event, is_complete=sink.is_complete)
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
