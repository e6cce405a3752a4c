"""Find the fastest plan of a job that keeps a budget, or explain why there is none."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from filmgate.core.frame import StreamSpec
from filmgate.core.job import Job
from filmgate.core.model_cache import ModelCache
from filmgate.core.plan import Plan
from filmgate.core.wrappers.model_stage import has_low_memory
from filmgate.errors import DoesNotFit, OutOfMemory, Unsupported
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoPipe
from filmgate.pipeline.build import build, open_source
from filmgate.planning.costs import (
    Costs,
    add_cache_memory,
    predict_device_bytes,
    predict_host_bytes,
    predict_seconds,
)
from filmgate.planning.encoder_memory import iter_cheaper_presets
from filmgate.planning.generation import find_generation
from filmgate.planning.limits import Budget, Limits
from filmgate.planning.measure import measure_costs
from filmgate.planning.optimizer import Choice, choose_plan, find_smallest_plan

MARGIN = 1.05  # of a budget that is named: the next measurement may be a little higher


@dataclass(frozen=True, slots=True)
class Fit:
    """A plan with its reasons, the measured costs that led to it, and what it may hold."""

    job: Job
    source_spec: StreamSpec
    result_spec: StreamSpec
    budget: Budget
    costs: Costs
    choice: Choice

    @property
    def plan(self) -> Plan:
        """The chosen plan."""
        return self.choice.plan

    @property
    def host(self) -> Mapping[str, int]:
        """Predicted peak bytes of RAM by part."""
        return predict_host_bytes(self.costs, self.plan)

    @property
    def device_bytes(self) -> int:
        """Predicted peak bytes on the device."""
        return predict_device_bytes(self.costs, self.plan)

    @property
    def seconds(self) -> float | None:
        """Predicted for the entire video, None if its number of frames is unknown."""
        slowest = max(predict_seconds(self.costs, self.plan).values())
        return None if self.costs.frames is None else slowest * self.costs.frames

    @property
    def disk_bytes(self) -> int | None:
        """Predicted size of the result, from a few frames of its beginning; None if unknown."""
        if self.costs.frames is None or not self.costs.file_bytes:
            return None
        return int(self.costs.frames * self.costs.output_ratio * self.costs.file_bytes)


def fit(
    job: Job,
    limits: Limits | None = None,
    budget: Budget | None = None,
    *,
    models: ModelCache | None = None,
    parent_bytes: int | None = None,
) -> Fit:
    """Return the fastest plan of a job within the limits (default: what the machine has free).

    Measures every part on the first frames of the video. `budget` takes precedence over that of
    the limits; networks stay in `models` for the run. `parent_bytes`: of the process that will
    start the run's worker (default: the one that started this worker). Raises DoesNotFit, with a
    budget that is enough and what else would help; UserError.
    """
    if isinstance(job.source, VideoPipe):
        raise Unsupported(
            "cannot measure a pipe: planning decodes the first frames, and a pipe can only be read "
            "once. Pass a file, or omit --ram and --vram."
        )
    refuse_generation(job)
    limits = limits or Limits()
    plan = replace(Plan(return_freed_memory=True, guard=limits.guard), **limits.thread_fields)
    with open_source(job.source, job.tasks, plan.decode_threads) as video:
        pipeline = build(job, video.spec, models)
        budget = budget or limits.budget  # networks are loaded: it is known which device counts
        spec, chain, result = pipeline.input, pipeline.chain, pipeline.output
        fixed = limits.plan_fields(spec, len(chain.stages))
        reducible = has_low_memory(chain)
        for low_memory in (False, True) if reducible else (False,):
            plan = replace(plan, low_memory=low_memory)
            fixed |= {"low_memory": True} if low_memory else {}
            try:
                costs = measure_costs(video, pipeline.apply(plan), job.image_sink, plan)
            except OutOfMemory:
                if low_memory or not reducible:
                    raise
                continue
            if parent_bytes is not None:
                costs = replace(costs, parent=parent_bytes)
            if limits.cache:
                costs = add_cache_memory(costs, chain)
            if choice := choose_plan(costs, budget.host, budget.device, fixed):
                if low_memory:
                    choice = choice.with_reason("low_memory", "turned on to fit the budget")
                return Fit(job, spec, result, budget, costs, choice)
    raise _explain_refusal(job, result, costs, budget, limits, fixed)


def refuse_generation(job: Job) -> None:
    """Raise Unsupported for a job that generates: it cannot be measured on some frames."""
    if find_generation(job) is not None:
        raise Unsupported(
            "cannot measure a job that generates: some frames take as long as all of them. "
            "filmgate plan generate predicts from shapes"
        )


def plan_within(job: Job, limits: Limits, models: ModelCache | None = None) -> Plan | None:
    """Return the plan that keeps the budget in `limits`, None if they have none.

    Limits other than a budget need no measuring: the run applies them to its default plan, and
    nothing is opened here. Raises UserError.
    """
    fitted = fit_within(job, limits, models)
    return None if fitted is None else fitted.plan


def fit_within(job: Job, limits: Limits, models: ModelCache | None = None) -> Fit | None:
    """Return the same plan with what was measured for it."""
    if find_generation(job) is not None:  # it keeps the budget by itself, without measuring
        return None
    return fit(job, limits, models=models) if limits.needs_measuring else None


def _explain_refusal(
    job: Job,
    result: StreamSpec,
    costs: Costs,
    budget: Budget,
    limits: Limits,
    fixed: Mapping[str, Any],
) -> DoesNotFit:
    """Return the error: a budget that is enough, and what else the user could change."""
    smallest = find_smallest_plan(costs, fixed)
    host, device = predict_host_bytes(costs, smallest), predict_device_bytes(costs, smallest)
    if budget.device is not None and device > budget.device:
        needed = int(MARGIN * device)
        return DoesNotFit(
            f"the stages need {_format_mb(device)} on the device, and --vram is "
            f"{_format_mb(budget.device)}: pass --vram {_format_mb(needed)}, or reduce the memory "
            "use with --dtype float16, with a smaller --flow-scale or --tile if the model has "
            "them, or with a smaller video",
            needed,
        )
    least = sum(host.values())
    needed = int(MARGIN * least)
    largest = sorted(host, key=lambda part: -host[part])[:3]
    where = ", ".join(f"{part} {_format_mb(host[part])}" for part in largest)
    offers = [f"pass --ram {_format_mb(needed)}"]
    if own := [f"--{name}" for name in ("batch", "chunk", "threads") if getattr(limits, name)]:
        offers.append(f"omit {', '.join(own)}")
    if isinstance(job.image_sink, VideoOutput):
        for preset, cost in iter_cheaper_presets(job.image_sink, result):
            saved = int(host["encoder"] - cost.at(smallest.encode_threads))
            if saved > 0:
                offers.append(
                    f"pass --preset {preset}, which changes the result and needs "
                    f"{_format_mb(int(MARGIN * (least - saved)))}"
                )
    return DoesNotFit(
        f"this needs at least {_format_mb(least)} of memory ({where}), and --ram is "
        f"{_format_mb(budget.host)}: {'; or '.join(offers)}",
        needed,
    )


def _format_mb(size: int) -> str:
    """Return the size as --ram takes it, rounded up."""
    return f"{-(-size // 10**6)}MB"
