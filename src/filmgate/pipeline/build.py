"""Build the pipeline of a job: every stage from decoded frames to what the sink takes."""

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from fractions import Fraction

from filmgate.core.chain import Chain
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.job import (
    ChoosingTask,
    Job,
    SinkFile,
    Source,
    SourceFile,
    SourceWrapper,
    StreamWarningTask,
    Task,
)
from filmgate.core.join import JoiningTask, open_joined
from filmgate.core.model_cache import ModelCache
from filmgate.core.plan import Plan
from filmgate.core.snapshot import Cursor
from filmgate.core.stage import require_stages
from filmgate.pipeline.wrapping import wrap_stages


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The stages of a job for one stream, with their networks loaded.

    `input` is the source's stream. `chain` has no plan applied yet. `warnings`: what tasks say
    about their settings for it.
    """

    source: SourceFile
    input: StreamSpec
    chain: Chain
    warnings: tuple[str, ...] = ()

    @property
    def output(self) -> StreamSpec:
        """The stream that reaches the sink."""
        return self.chain.output(self.input)

    def apply(self, plan: Plan) -> Chain:
        """Return the chain to run: with the plan's batches, cache and output checks."""
        return Chain(wrap_stages(self.chain, self.input, plan, self.source), plan.batches)


def choose_source(job: Job) -> Job:
    """Return the job with the source that its tasks choose; nothing is left to be chosen."""
    source, tasks = _choose(job.source, job.tasks)
    return replace(job, source=source, tasks=tasks)


def _choose(source: SourceFile, tasks: Sequence[Task]) -> tuple[SourceFile, tuple[Task, ...]]:
    settled = list[Task]()
    for task in tasks:
        if isinstance(task, ChoosingTask):
            source, task = task.choose_source(source)
        settled.append(task)
    return source, tuple(settled)


def build(job: Job, spec: StreamSpec, models: ModelCache | None = None) -> Pipeline:
    """Return the pipeline of a job for the source's stream `spec`. Raises UserError.

    Networks are taken from `models`, and loaded into it if they are not there (default: loaded
    for this pipeline alone).
    """
    return build_parts(job.source, job.tasks, job.image_sink, spec, job.seed, models)


def build_parts(
    source: SourceFile,
    tasks: Sequence[Task],
    sink: SinkFile | None,
    spec: StreamSpec,
    seed: int = 0,
    models: ModelCache | None = None,
) -> Pipeline:
    """Return the same for the parts of a job; without a sink it ends behind the last task.

    Only the sink that takes images has stages.
    """
    seeded, models = replace(spec, seed=seed), models or ModelCache()
    source, tasks = _choose(source, tasks)
    chain, warnings = Chain(source.stages(seeded)), list[str]()
    for task in tasks:
        if isinstance(task, StreamWarningTask):
            warnings += task.list_warnings(chain.output(seeded))
        stages = task.stages(chain.output(seeded), models)
        require_stages(stages, task)
        chain = Chain((chain, *stages))
    if sink is not None:
        chain = Chain((chain, *sink.stages(chain.output(seeded))))
    return Pipeline(source, spec, chain, tuple(warnings))


def open_source(
    source: SourceFile, tasks: Sequence[Task], threads: int | None = None
) -> AbstractContextManager[Source]:
    """Open a source with the second inputs of the tasks joined to its frames. Raises UserError."""
    source, tasks = _choose(source, tasks)
    joins = [join for task in tasks if isinstance(task, JoiningTask) for join in task.joins()]
    return open_joined(source.open(threads), joins, threads)


@dataclass(slots=True)
class CaptionDropper(SourceWrapper):
    """A source without its closed captions, which is reported once: tasks make new frames."""

    reported: bool = False

    def read(
        self, cursor: Cursor | None, size: int
    ) -> Generator[tuple[list[Frame], Cursor], None, None]:
        """See `Source.read`."""
        for frames, after in self.source.read(cursor, size):
            yield [self._drop(frame) for frame in frames], after

    def _drop(self, frame: Frame) -> Frame:
        if "captions" not in frame.extras:
            return frame
        extras = {key: value for key, value in frame.extras.items() if key != "captions"}
        if not self.reported:
            said = "closed captions are left out: the frames of the result are new"
            extras["notice"] = "; ".join(filter(None, (str(extras.get("notice", "")), said)))
            self.reported = True
        return replace(frame, extras=extras)


def compute_time_scale(tasks: Sequence[Task]) -> Fraction | None:
    """Return how many times as long as the source the result lasts.

    None if a task drops the streams that have times, such as audio.
    """
    product = Fraction(1)
    for task in tasks:
        if task.time_scale is None:
            return None
        product *= task.time_scale
    return product
