"""What a run costs in bytes and seconds."""

import os
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from filmgate.core.chain import Chain
from filmgate.core.plan import LARGEST_BATCH, SMALL_CHANGE, Plan, queue_fill
from filmgate.core.wrappers.model_stage import ModelStage
from filmgate.pipeline.wrapping import HELD_BYTES

# --- what things cost -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LinearCost:
    """A `fixed` cost and a cost `per_item` (a frame of a batch, a thread): bytes or seconds."""

    fixed: float = 0.0
    per_item: float = 0.0

    def at(self, count: float) -> float:
        """The cost of so many."""
        return self.fixed + self.per_item * count

    @classmethod
    def through(cls, few: tuple[int, float], many: tuple[int, float]) -> "LinearCost":
        """The line through two (count, cost); it falls nowhere, and starts nowhere below 0."""
        (a, low), (b, high) = few, many
        slope = max(0.0, (high - low) / (b - a)) if b > a else low / a
        fixed = max(0.0, low - slope * a)
        return cls(fixed, slope if fixed else max(low / a, high / b))


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """What one stage takes at its real size, as probed.

    `host` and `device`: peak bytes of a step over its batch, what it remembers included.
    `seconds`: of a step over its batch. `fed`: frames that reach it for one source frame.
    `made_bytes`: pictures that are new (not handed on) for one frame that goes in.
    `recompute`: frames through the model for one frame of the stream.
    """

    name: str
    host: LinearCost
    seconds: LinearCost
    device: LinearCost = LinearCost()
    weights_bytes: int = 0
    state_bytes: int = 0
    made_bytes: float = 0.0
    fed: Fraction = Fraction(1)
    recompute: Fraction = Fraction(1)

    def seconds_each(self, batch: int) -> float:
        """Seconds for one source frame, in batches of this size."""
        return float(self.fed) * self.seconds.at(batch) / batch

    def worthwhile(self, whole_s: float) -> int:
        """The batch beyond which twice as many save less than 2 % of `whole_s`, of all stages."""
        batch, each = 1, self.seconds_each
        while batch < LARGEST_BATCH and each(batch) - each(2 * batch) > 0.02 * whole_s:
            batch *= 2
        return batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What a whole run takes. `program`: bytes in RAM before frame one, weights among them.

    `decode`, `encode`: bytes held, over threads; `decode_s`, `encode_s`: seconds for one source
    frame, alone; `cpu_s`: of all parts, on one core. `given_bytes`, `result_bytes`: one picture in
    and out; `output_ratio`: frames out for one in. `rate`, `frames`: of the source, if known.
    `file_bytes`: on disk, for one frame out.
    """

    program: int
    given_bytes: int
    result_bytes: int
    stages: tuple[StageCost, ...] = ()
    decode: LinearCost = LinearCost()
    encode: LinearCost = LinearCost()
    decode_s: float = 0.0
    encode_s: float = 0.0
    cpu_s: float = 0.0
    output_ratio: Fraction = Fraction(1)
    rate: Fraction | None = None
    frames: int | None = None
    file_bytes: float = 0.0

    @property
    def chunk_bytes(self) -> tuple[float, float]:
        """Bytes of pictures for one source frame: what goes in, and what comes out."""
        return self.given_bytes, float(self.output_ratio) * self.result_bytes

    @property
    def new_bytes(self) -> float:
        """Bytes of pictures that all the stages make for one source frame."""
        return sum(float(stage.fed) * stage.made_bytes for stage in self.stages)

    @property
    def snapshot_bytes(self) -> int:
        """What the stages remember, in all: a snapshot is no bigger than this and a page."""
        return sum(stage.state_bytes for stage in self.stages)


def host_bytes(costs: Costs, plan: Plan) -> dict[str, int]:
    """Where host memory goes, at most: by part, in the order in which a frame meets them.

    Both queues count as full, and each part as busiest at the same moment as the others.
    """
    given, result = (plan.chunk * each for each in costs.chunk_bytes)
    batches = plan.batches or (1,) * len(costs.stages)
    waiting = sum(batch - 1 for batch in batches) * costs.given_bytes  # frames short of a batch
    peak = max(
        (stage.host.at(batch) for stage, batch in zip(costs.stages, batches, strict=True)),
        default=0.0,
    )
    parts = {
        "program": costs.program + SMALL_CHANGE,
        "decoder": costs.decode.at(plan.decode_threads) + given,
        "queue in": queue_fill(plan.queue_bytes, given),
        "stages": given + plan.chunk * costs.new_bytes + costs.snapshot_bytes + peak + waiting,
        "queue out": queue_fill(plan.queue_bytes, result),
        "encoder": costs.encode.at(plan.encode_threads) + result,
    }
    return {name: ceil(part) for name, part in parts.items()}


def device_bytes(costs: Costs, plan: Plan) -> int:
    """Device memory at most: all weights, and the hungriest stage at its batch."""
    batches = plan.batches or (1,) * len(costs.stages)
    peaks = (s.device.at(batch) for s, batch in zip(costs.stages, batches, strict=True))
    return ceil(max(peaks, default=0.0))


def seconds_each(costs: Costs, plan: Plan) -> dict[str, float]:
    """Seconds for one source frame by part, and for all of them on the processors that there are.

    Parts overlap, so the slowest counts.
    """
    batches = plan.batches or (1,) * len(costs.stages)
    compute = sum(s.seconds_each(batch) for s, batch in zip(costs.stages, batches, strict=True))
    return {
        "decode": costs.decode_s,
        "compute": compute,
        "encode": costs.encode_s,
        "processors": costs.cpu_s / (os.cpu_count() or 1),
    }


def with_held(costs: Costs, chain: Chain) -> Costs:
    """The costs where results are kept; stages are tried without, so that nothing is found."""
    stages = (
        replace(cost, state_bytes=cost.state_bytes + isinstance(stage, ModelStage) * HELD_BYTES)
        for cost, stage in zip(costs.stages, chain.stages, strict=True)
    )
    return replace(costs, stages=tuple(stages))
