"""Choose the fastest plan inside a budget."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from math import ceil
from typing import Any

from filmgate.core.plan import (
    CHUNK_BYTES,
    QUEUE_CHUNKS,
    SEGMENT_SECONDS,
    Plan,
    choose_chunk,
    choose_segment_frames,
)
from filmgate.planning.costs import Costs, LinearCost, predict_device_bytes, predict_host_bytes
from filmgate.units import MIB


@dataclass(frozen=True, slots=True)
class Choice:
    """A plan, and for each of its settings the reason for its value."""

    plan: Plan
    reasons: Mapping[str, str]

    def with_reason(self, setting: str, reason: str) -> "Choice":
        """Return the choice with another reason for a setting."""
        return replace(self, reasons={**self.reasons, setting: reason})


def choose_plan(
    costs: Costs, host_budget: int, device_budget: int | None, fixed: Mapping[str, Any]
) -> Choice | None:
    """Return the fastest plan that fits, None if none does. `fixed`: Plan fields that must stay.

    Starts from the fastest plan and reduces first what costs the least time: queues, the chunk,
    batches, threads of decoder and encoder. None of them changes the output.
    """
    plan = make_fastest_plan(costs, fixed)
    reasons = {
        **{f.name: "as fast as it gets" for f in fields(Plan)},
        "chunk": f"about {CHUNK_BYTES // MIB} MiB of images, 8 frames at most",
        "queue_bytes": f"{QUEUE_CHUNKS} chunks even out the speeds of the parts",
        "batches": "larger batches would save no time",
        "cache": "--cache stores results of models",
        "guard": "outputs of models are checked; --no-guard turns it off",
        "low_memory": "the fastest form fits",
        "return_freed_memory": "otherwise the C library keeps freed memory",
        "segment_frames": f"about {SEGMENT_SECONDS} s of video: what a stopped run may repeat",
    }
    while device_budget is not None and predict_device_bytes(costs, plan) > device_budget:
        device = [stage.device for stage in costs.stages]
        smaller = plan if "batches" in fixed else _reduce_batch(device, plan)
        if smaller == plan:
            return None
        plan, reasons["batches"] = smaller, "reduced to fit the device"
    for smaller, setting in _iter_smaller(costs, plan, fixed):
        if sum(predict_host_bytes(costs, smaller).values()) <= host_budget:
            return Choice(smaller, reasons | dict.fromkeys(fixed, "set by you"))
        reasons[setting] = "reduced to fit the budget"
    return None


def find_smallest_plan(costs: Costs, fixed: Mapping[str, Any]) -> Plan:
    """Return the plan that needs the least memory: every setting that is not fixed at its least."""
    *_, (plan, _setting) = _iter_smaller(costs, make_fastest_plan(costs, fixed), fixed)
    return plan


def make_fastest_plan(costs: Costs, fixed: Mapping[str, Any]) -> Plan:
    """Return the plan that is fastest if memory is not limited."""
    chunk = choose_chunk(Fraction(sum(costs.chunk_bytes)) or 1)
    while "segment_frames" in fixed and fixed["segment_frames"] % chunk:
        chunk //= 2
    chunk = fixed.get("chunk", chunk)
    total_s = sum(stage.seconds_per_frame(1) for stage in costs.stages)
    fastest = {
        "return_freed_memory": True,
        "chunk": chunk,
        "batches": tuple(stage.find_useful_batch(total_s) for stage in costs.stages),
        "queue_bytes": max(1, QUEUE_CHUNKS * chunk * ceil(max(costs.chunk_bytes))),
        "segment_frames": choose_segment_frames(None, costs.rate, chunk),
    }
    return Plan(**fastest | dict(fixed))


Reduction = Callable[[Costs, Plan], Plan]


def _iter_smaller(costs: Costs, plan: Plan, fixed: Collection[str]) -> Iterator[tuple[Plan, str]]:
    """Yield the plan, then ever smaller ones, each with the setting that is reduced next."""
    reductions: tuple[tuple[str, Reduction], ...] = (
        ("queue_bytes", _reduce_queue),
        ("chunk", _reduce_chunk),
        ("batches", lambda c, p: _reduce_batch([stage.host for stage in c.stages], p)),
        ("decode_threads", lambda _, p: replace(p, decode_threads=max(1, p.decode_threads // 2))),
        ("encode_threads", lambda _, p: replace(p, encode_threads=max(1, p.encode_threads // 2))),
    )
    kept: dict[str, Any] = {"queue_bytes": plan.queue_bytes} if "queue_bytes" in fixed else {}
    for name, reduce in reductions:
        while name not in fixed and (smaller := replace(reduce(costs, plan), **kept)) != plan:
            yield plan, name
            plan = smaller
    yield plan, ""


def _reduce_queue(costs: Costs, plan: Plan) -> Plan:
    """Return the plan with one chunk less in each queue, at least one."""
    item = max(1, plan.chunk * ceil(max(costs.chunk_bytes)))
    return replace(plan, queue_bytes=max(item, plan.queue_bytes - item))


def _reduce_chunk(costs: Costs, plan: Plan) -> Plan:
    chunk = max(1, plan.chunk // 2)
    queue = max(1, chunk * ceil(max(costs.chunk_bytes)))
    return replace(plan, chunk=chunk, queue_bytes=min(plan.queue_bytes, queue))


def _reduce_batch(peaks: Sequence[LinearCost], plan: Plan) -> Plan:
    """Return the plan with half the batch of the stage that peaks highest, of those above 1."""
    reducible = [k for k, batch in enumerate(plan.batches) if batch > 1]
    if not reducible:
        return plan
    k = max(reducible, key=lambda k: peaks[k].at(plan.batches[k]))
    return replace(plan, batches=(*plan.batches[:k], plan.batches[k] // 2, *plan.batches[k + 1 :]))
