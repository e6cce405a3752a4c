"""Measure, then spend: the fastest plan of a job that keeps a budget, or why there is none."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from filmgate.core.chain import Chain
from filmgate.core.frame import StreamSpec
from filmgate.core.job import Job
from filmgate.core.plan import Plan
from filmgate.core.wrappers.model_stage import has_low_memory
from filmgate.errors import DoesNotFit, OutOfMemory, Unsupported
from filmgate.media.sinks import VideoOutput
from filmgate.pipeline.build import build, line
from filmgate.pipeline.wrapping import dressed
from filmgate.planning import encoder_memory
from filmgate.planning.costs import Costs, device_bytes, host_bytes, seconds_each, with_held
from filmgate.planning.limits import Budget, Limits
from filmgate.planning.measure import measured
from filmgate.planning.optimizer import Choice, choose, smallest


@dataclass(frozen=True, slots=True)
class Fit:
    """A plan with its reasons, what was measured to choose it, and what it may hold."""

    job: Job
    given: StreamSpec
    made: StreamSpec
    budget: Budget
    costs: Costs
    choice: Choice

    @property
    def plan(self) -> Plan:
        return self.choice.plan

    @property
    def host(self) -> Mapping[str, int]:
        """Predicted bytes of RAM by part, at most."""
        return host_bytes(self.costs, self.plan)

    @property
    def device_bytes(self) -> int:
        """Predicted bytes on the device, at most."""
        return device_bytes(self.costs, self.plan)

    @property
    def seconds(self) -> float | None:
        """Expected for the whole film; None where nobody knows how many frames it has."""
        each = max(seconds_each(self.costs, self.plan).values())
        return None if self.costs.frames is None else each * self.costs.frames

    @property
    def disk_bytes(self) -> int | None:
        """Expected of the result, from a few frames of its beginning; None where it is unknown."""
        if self.costs.frames is None or not self.costs.file_bytes:
            return None
        return int(self.costs.frames * self.costs.output_ratio * self.costs.file_bytes)


def fit(job: Job, limits: Limits | None = None, budget: Budget | None = None) -> Fit:
    """The fastest plan for a job that keeps the limits (without: what the machine has free).

    Tries every part on the film's first frames. A `budget` goes before that of the limits. Raises
    DoesNotFit with the smallest budget that would do and what else would help; UserError.
    """
    if str(getattr(job.source, "path", "")) == "-":
        raise Unsupported("a plan and a budget need a look at the first frames, and a pipe can be "
                          "read only once: give a file, or leave the budget out")  # fmt: skip
    limits = limits or Limits()
    budget = budget or limits.budget
    plan = replace(Plan(return_freed_memory=True, guard=limits.guard), **limits.threads_of_plan)
    with job.source.open(plan.decode_threads) as video:
        chain = line(job.source, job.tasks, video.spec, job.sink, job.seed)
        made = chain.output(video.spec)
        fixed = limits.fixed(video.spec, len(chain.stages))
        thrifty = has_low_memory(chain)
        for lean in (False, True) if thrifty else (False,):
            plan, fixed = (
                replace(plan, low_memory=lean),
                fixed | ({"low_memory": True} if lean else {}),
            )
            ours = Chain(dressed(chain, video.spec, plan, job.source))
            try:
                costs = measured(video, ours, job.sink, plan)
            except OutOfMemory:
                if lean or not thrifty:
                    raise
                continue
            if limits.cache:
                costs = with_held(costs, chain)
            if choice := choose(costs, budget.host, budget.device, fixed):
                if lean:
                    choice = choice.because("low_memory", "made so to fit the budget")
                return Fit(job, video.spec, made, budget, costs, choice)
    raise _refused(job, made, costs, budget, limits, fixed)


def planned_within(job: Job, limits: Limits) -> Plan | None:
    """The plan that keeps the limits; None where nobody set any and the rule is enough.

    Only a budget needs a fit: other limits replace knobs of the rule's plan. Raises UserError.
    """
    if limits == Limits():
        return None
    if limits.measured:
        return fit(job, limits).plan
    with job.source.open() as video:
        chain, plan = build(job.source, job.tasks, video.spec, None, job.sink, job.seed)
        return replace(plan, **limits.fixed(video.spec, len(chain.stages)))


def _refused(
    job: Job,
    made: StreamSpec,
    costs: Costs,
    budget: Budget,
    limits: Limits,
    fixed: Mapping[str, Any],
) -> DoesNotFit:
    """What would be needed, and what a person might give up for less."""
    least = smallest(costs, fixed)
    host, device = host_bytes(costs, least), device_bytes(costs, least)
    if budget.device is not None and device > budget.device:
        return DoesNotFit(
            f"the stages need {_mb(device)} on the device and --vram is {_mb(budget.device)}: give "
            f"--vram {_mb(device)}, --dtype float16 or a smaller --flow-scale or --tile where the "
            "model has them, or a smaller picture", device)  # fmt: skip
    needed = sum(host.values())
    largest = sorted(host, key=lambda part: -host[part])[:3]
    where = ", ".join(f"{part} {_mb(host[part])}" for part in largest)
    offers = [f"give --ram {_mb(needed)}"]
    if own := [name for name in ("batch", "chunk", "threads") if getattr(limits, name)]:
        offers.append(f"leave {', '.join(own)} to us")
    if isinstance(job.sink, VideoOutput):
        for preset, less in encoder_memory.cheaper(job.sink, made):
            spared = int(host["encoder"] - less.at(least.encode_threads))
            if spared > 0:
                offers.append(
                    f"--preset {preset}, another result, does with {_mb(needed - spared)}"
                )
    return DoesNotFit(
        f"this needs {_mb(needed)} of memory at least ({where}), and --ram is "
        f"{_mb(budget.host)}: {'; or '.join(offers)}",
        needed,
    )


def _mb(size: int) -> str:
    """So that --ram takes it, and it is never too little."""
    return f"{-(-size // 10**6)}MB"
