"""Chooses the fastest plan inside a budget."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from math import ceil
from typing import Any

from filmgate.core.plan import AHEAD, CHUNK_BYTES, SEGMENT_S, Plan, chunk_of, segment_of
from filmgate.planning.costs import Costs, LinearCost, device_bytes, host_bytes
from filmgate.units import MIB

# --- choosing -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """A plan, and for each knob in words why it stands where it does."""

    plan: Plan
    reasons: Mapping[str, str]

    def because(self, knob: str, reason: str) -> "Choice":
        """The same, with another reason for a knob."""
        return replace(self, reasons={**self.reasons, knob: reason})


def choose(
    costs: Costs, host_budget: int, device_budget: int | None, fixed: Mapping[str, Any]
) -> Choice | None:
    """The fastest plan that fits; None if none does. `fixed` are a person's own Plan fields.

    Starts from what is fastest and gives up first what costs least time: queues, then the chunk,
    then batches, then threads of decoder and encoder. None of them changes what is on the screen.
    """
    plan = wished(costs, fixed)
    reasons = {f.name: "as fast as it gets" for f in fields(Plan)}
    reasons["chunk"] = f"about {CHUNK_BYTES // MIB} MiB of pictures, 8 frames at most"
    reasons["queue_bytes"] = f"{AHEAD} chunks even out the speeds of the parts"
    reasons["batches"] = "more at a time would save no time"
    reasons["cache"] = "--cache keeps what was slow to make"
    reasons["guard"] = "what a network makes is looked at; --no-guard"
    reasons["low_memory"] = "what is fastest fits"
    reasons["return_freed_memory"] = "else the C library keeps what was freed"
    reasons["segment_frames"] = f"about {SEGMENT_S} s of the film: what a stop may cost twice"
    reasons["torch_threads"] = "more only wait for each other"
    while device_budget is not None and device_bytes(costs, plan) > device_budget:
        device = [stage.device for stage in costs.stages]
        smaller = plan if "batches" in fixed else _less_batch(device, plan)
        if smaller == plan:
            return None
        plan, reasons["batches"] = smaller, "made smaller to fit the device"
    for smaller, knob in _ladder(costs, plan, fixed):
        if sum(host_bytes(costs, smaller).values()) <= host_budget:
            return Choice(smaller, reasons | dict.fromkeys(fixed, "yours"))
        reasons[knob] = "made smaller to fit the budget"
    return None


def smallest(costs: Costs, fixed: Mapping[str, Any]) -> Plan:
    """The plan that needs least memory: every knob that is not fixed at its end."""
    *_, (plan, _knob) = _ladder(costs, wished(costs, fixed), fixed)
    return plan


def wished(costs: Costs, fixed: Mapping[str, Any]) -> Plan:
    """The plan that is fastest, were memory free."""
    chunk = chunk_of(Fraction(sum(costs.chunk_bytes)) or 1)
    while "segment_frames" in fixed and fixed["segment_frames"] % chunk:
        chunk //= 2
    chunk = fixed.get("chunk", chunk)
    whole_s = sum(stage.seconds_each(1) for stage in costs.stages)
    wish = {
        "return_freed_memory": True,
        "chunk": chunk,
        "batches": tuple(stage.worthwhile(whole_s) for stage in costs.stages),
        "queue_bytes": max(1, AHEAD * chunk * ceil(max(costs.chunk_bytes))),
        "segment_frames": segment_of(None, costs.rate, chunk),
    }
    return Plan(**wish | dict(fixed))


Knob = Callable[[Costs, Plan], Plan]


def _ladder(costs: Costs, plan: Plan, fixed: Collection[str]) -> Iterator[tuple[Plan, str]]:
    """The plan, then ever smaller ones; with each the knob that is turned next."""
    knobs: tuple[tuple[str, Knob], ...] = (
        ("queue_bytes", _less_queue),
        ("chunk", _less_chunk),
        ("batches", lambda c, p: _less_batch([stage.host for stage in c.stages], p)),
        ("decode_threads", lambda _, p: replace(p, decode_threads=max(1, p.decode_threads // 2))),
        ("encode_threads", lambda _, p: replace(p, encode_threads=max(1, p.encode_threads // 2))),
    )
    kept: dict[str, Any] = {"queue_bytes": plan.queue_bytes} if "queue_bytes" in fixed else {}
    for name, turn in knobs:
        while name not in fixed and (smaller := replace(turn(costs, plan), **kept)) != plan:
            yield plan, name
            plan = smaller
    yield plan, ""


def _less_queue(costs: Costs, plan: Plan) -> Plan:
    """One chunk less in each, down to one."""
    item = max(1, plan.chunk * ceil(max(costs.chunk_bytes)))
    return replace(plan, queue_bytes=max(item, plan.queue_bytes - item))


def _less_chunk(costs: Costs, plan: Plan) -> Plan:
    chunk = max(1, plan.chunk // 2)
    queue = max(1, chunk * ceil(max(costs.chunk_bytes)))
    return replace(plan, chunk=chunk, queue_bytes=min(plan.queue_bytes, queue))


def _less_batch(peaks: Sequence[LinearCost], plan: Plan) -> Plan:
    """Half the batch of the stage with the highest peak of those that can give."""
    able = [k for k, batch in enumerate(plan.batches) if batch > 1]
    if not able:
        return plan
    k = max(able, key=lambda k: peaks[k].at(plan.batches[k]))
    return replace(plan, batches=(*plan.batches[:k], plan.batches[k] // 2, *plan.batches[k + 1 :]))
