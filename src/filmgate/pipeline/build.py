"""Builds the chain of a job."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from filmgate.core.chain import Chain
from filmgate.core.frame import StreamSpec
from filmgate.core.job import SinkFile, SourceFile, Task
from filmgate.core.plan import Plan, planned
from filmgate.pipeline.wrapping import dressed


def build(
    source: SourceFile,
    tasks: Sequence[Task],
    spec: StreamSpec,
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
    spec: StreamSpec,
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
