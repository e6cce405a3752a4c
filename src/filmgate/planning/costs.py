"""What a run costs in bytes and seconds, predicted from what its parts cost alone."""

import os
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from filmgate.core.chain import Chain
from filmgate.core.plan import MAX_BATCH, OVERHEAD_BYTES, Plan, compute_queue_fill
from filmgate.core.wrappers.model_stage import ModelStage
from filmgate.pipeline.wrapping import CACHE_BUFFER_BYTES

SNAPSHOT_COPIES = 2  # of the states while they are written, besides themselves
PARENT_BYTES = 8_000_000  # that the parent adds: what it shows, events; measured 3 MB
MIN_SAVING = 0.02  # of all stages' time: a larger batch must save at least this much


@dataclass(frozen=True, slots=True)
class LinearCost:
    """A fixed cost plus a cost per item (a frame of a batch, a thread), in bytes or seconds."""

    fixed: float = 0.0
    per_item: float = 0.0

    def at(self, count: float) -> float:
        """Return the cost of `count` items."""
        return self.fixed + self.per_item * count

    @classmethod
    def from_points(cls, few: tuple[int, float], many: tuple[int, float]) -> "LinearCost":
        """Return the line through two (count, cost), with slope and intercept at least 0."""
        (a, low), (b, high) = few, many
        slope = max(0.0, (high - low) / (b - a)) if b > a else low / a
        fixed = max(0.0, low - slope * a)
        return cls(fixed, slope if fixed else max(low / a, high / b))


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """What one stage costs at its real size, as measured.

    `host`, `device`: peak bytes of a step over its batch, state included; `seconds`: of a step
    over its batch. `frames_in`: frames that reach the stage per source frame.
    `new_bytes_per_frame`: bytes of images that it makes, not hands on, per input frame.
    `recompute`: frames through the model per frame of the stream.
    """

    name: str
    host: LinearCost
    seconds: LinearCost
    device: LinearCost = LinearCost()
    weights_bytes: int = 0
    state_bytes: int = 0
    new_bytes_per_frame: float = 0.0
    frames_in: Fraction = Fraction(1)
    recompute: Fraction = Fraction(1)

    def seconds_per_frame(self, batch: int) -> float:
        """Return the seconds per source frame in batches of this size."""
        return float(self.frames_in) * self.seconds.at(batch) / batch

    def find_useful_batch(self, total_s: float) -> int:
        """Return the batch beyond which doubling saves less than 2 % of `total_s`, all stages'."""
        batch, each = 1, self.seconds_per_frame
        while batch < MAX_BATCH and each(batch) - each(2 * batch) > MIN_SAVING * total_s:
            batch *= 2
        return batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What all parts of a run cost. `program`: bytes in RAM before frame one, with weights;
    `parent`: of the process that starts it, 0 if it runs in that process.

    `decode`, `encode`: bytes over threads; `decode_s`, `encode_s`: seconds per source frame,
    alone; `cpu_s`: of all parts, on one core. `input_bytes`, `result_bytes`: one image in and out;
    `output_ratio`: output frames per source frame. `rate`, `frames`: of the source, if known.
    `file_bytes`: on disk per output frame.
    """

    program: int
    input_bytes: int
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
    parent: int = 0

    @property
    def chunk_bytes(self) -> tuple[float, float]:
        """Bytes of images per source frame: of the input, and of the output."""
        return self.input_bytes, float(self.output_ratio) * self.result_bytes

    @property
    def new_bytes(self) -> float:
        """Bytes of images that all stages make per source frame."""
        return sum(float(stage.frames_in) * stage.new_bytes_per_frame for stage in self.stages)

    @property
    def snapshot_bytes(self) -> int:
        """Bytes of all states: a snapshot is at most this and a page larger."""
        return sum(stage.state_bytes for stage in self.stages)


def predict_host_bytes(costs: Costs, plan: Plan) -> dict[str, int]:
    """Return the peak bytes of RAM by part, in the order in which a frame meets the parts.

    Assumes that both queues are full and that all parts peak at the same moment.
    """
    inputs, outputs = (plan.chunk * size for size in costs.chunk_bytes)
    batches = plan.batches or (1,) * len(costs.stages)
    waiting = sum(batch - 1 for batch in batches) * costs.input_bytes  # frames short of a batch
    peak = max(
        (stage.host.at(batch) for stage, batch in zip(costs.stages, batches, strict=True)),
        default=0.0,
    )
    parts = {
        "program": costs.program + OVERHEAD_BYTES,
        "decoder": costs.decode.at(plan.decode_threads) + inputs,
        "queue in": compute_queue_fill(plan.queue_bytes, inputs),
        "stages": inputs + plan.chunk * costs.new_bytes + costs.snapshot_bytes + peak + waiting,
        "queue out": compute_queue_fill(plan.queue_bytes, outputs),
        "encoder": costs.encode.at(plan.encode_threads) + outputs,
        "snapshot": SNAPSHOT_COPIES * costs.snapshot_bytes,
    }
    if costs.parent:
        received = SNAPSHOT_COPIES * costs.snapshot_bytes  # it keeps one while it gets the next
        parts["parent"] = costs.parent + PARENT_BYTES + received
    return {name: ceil(part) for name, part in parts.items()}


def predict_device_bytes(costs: Costs, plan: Plan) -> int:
    """Return the peak bytes on the device: all weights, and the largest stage at its batch."""
    batches = plan.batches or (1,) * len(costs.stages)
    peaks = (s.device.at(batch) for s, batch in zip(costs.stages, batches, strict=True))
    return ceil(max(peaks, default=0.0))


def predict_seconds(costs: Costs, plan: Plan) -> dict[str, float]:
    """Return the seconds per source frame by part, and of all parts on all processors.

    Parts overlap, so the slowest counts.
    """
    batches = plan.batches or (1,) * len(costs.stages)
    stages = zip(costs.stages, batches, strict=True)
    return {
        "decode": costs.decode_s,
        "compute": sum(stage.seconds_per_frame(batch) for stage, batch in stages),
        "encode": costs.encode_s,
        "processors": costs.cpu_s / (os.cpu_count() or 1),
    }


def add_cache_memory(costs: Costs, chain: Chain) -> Costs:
    """Return the costs with the memory of cached stages, which are measured without their cache."""
    stages = (
        replace(
            cost, state_bytes=cost.state_bytes + isinstance(stage, ModelStage) * CACHE_BUFFER_BYTES
        )
        for cost, stage in zip(costs.stages, chain.stages, strict=True)
    )
    return replace(costs, stages=tuple(stages))
