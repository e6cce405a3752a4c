"""Run a job in this process."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from filmgate.backends.trace import Trace
from filmgate.core import run as core_run
from filmgate.core.chain import Chain
from filmgate.core.events import Done, Event, Warned
from filmgate.core.frame import Frame
from filmgate.core.instrumentation.phases import phase, record_phases
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

if TYPE_CHECKING:
    from filmgate.backends.profile import Profile


def run(
    job: Job,
    plan: Plan | None = None,
    resume: Snapshot | None = None,
    *,
    limits: Limits | None = None,
    checkpoints: CheckpointStore | None = None,
    trace: Path | None = None,
    profile: Profile | None = None,
    models: ModelCache | None = None,
    run_name: str = "",
    journal: Journal | None = None,
    watch: core_run.FrameWatch | None = None,
) -> Generator[Event, None, None]:
    """Run the job and yield its events; the result is complete at the end.

    Default plan: by rule, with the settings in `limits`. With `checkpoints` the run, and its
    `trace`, continue an earlier one, from a later frame if a `journal` has some. Closing the
    generator, or an error, leaves only checkpoints. Networks come from `models`; `run_name`
    is in the names of hidden files; `watch` sees the frames; `profile`, which is entered, measures
    the run. Raises FilmgateError.
    """
    limits, job = limits or Limits(), choose_source(job)
    models = models if models is not None else ModelCache()
    models.device_bytes, models.host_bytes = limits.device_bytes, limits.host_bytes
    threads = plan.decode_threads if plan else limits.threads
    with open_source(job.source, job.tasks, threads) as source:
        with record_phases(profile), phase("load"):
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
            while models.notices:
                yield Warned(models.notices.pop(0))
            resume = resume or sink.resume
            video = CaptionDropper(source) if job.tasks else source
            with _observe(trace, profile, append=resume is not None) as (clock, file):
                chain = replace(chain, clock=clock)
                events = _run(video, chain, sink, plan, resume, journal, watch)
                for event in events:
                    if file:
                        file.add_event(event)
                    yield event


@contextmanager
def _observe(
    path: Path | None, profile: Profile | None, *, append: bool
) -> Iterator[tuple[Clock, Trace | None]]:
    """Yield a clock that is read by the profile and the trace, and the trace."""
    if path is None:
        yield profile.make_clock() if profile else Clock(), None
        return
    with Trace(path, append=append, start=profile.started if profile else None) as file:
        if profile is None:
            yield Clock(span=file.add_span, level=file.add_level), file
            return
        profile.send_spans(file.add_span)
        try:
            yield profile.make_clock(file.add_level), file
        finally:
            profile.send_spans(None)


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
