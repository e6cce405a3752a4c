"""Every knob that trades memory for time, chosen before frame one, and the sums that choose it."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from math import ceil, lcm
from typing import Any

from filmgate.core.frame import Spec
from filmgate.errors import BadSetting

MIB = 1 << 20
GIB = 1 << 30
LARGEST_BATCH = 32
SMALL_CHANGE = 12_000_000  # bytes: stacks, libraries of the folder, muxers; bench/memory_budget.py
AHEAD = 2  # chunks that a queue holds; what is more than evens out nothing further
SEGMENT_S = 4  # of the film between two commits; bench/durability.py says what that costs
CHUNK_BYTES = 32 * MIB  # of pictures that move at a time: calls cost little beside them


def _cores() -> int:
    return min(16, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class Shrunk:
    """From source frame `index` on, stage number `stage` gets `batch` frames at a time."""

    index: int
    stage: int
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The knobs. Two runs with the same plan on the same kind of machine give the same bits.

    `batches` (powers of two, one for each stage; empty: all 1) and `chunk` (source frames that
    move at a time) lie on grids anchored to the absolute frame number; a snapshot is due every
    `segment_frames` source frames; `shrunk` is what out-of-memory made smaller, and where; in the
    ranges of `bad` (source frames, end excluded) a stand-in is shown. Threads are pinned: they move
    bits.
    """

    chunk: int = 4
    batches: tuple[int, ...] = ()
    queue_bytes: int = 64 * MIB  # for each of the two queues
    segment_frames: int = 240
    decode_threads: int = field(default_factory=_cores)
    opencv_threads: int = field(default_factory=_cores)
    torch_threads: int = 1
    encode_threads: int = field(default_factory=_cores)
    shrunk: tuple[Shrunk, ...] = ()
    bad: tuple[tuple[int, int], ...] = ()
    give_back: bool = False  # freed memory goes back at once (glibc), 5 % slower
    cache: bool = False  # results of costly stages are taken from disk where they are
    guard: bool = True  # those of networks are looked at
    lean: bool = False  # costly stages hold less and take longer, where they can

    def __post_init__(self) -> None:
        if self.chunk < 1 or self.segment_frames % self.chunk or self.segment_frames < 1:
            raise BadSetting(
                f"the plan commits every {self.segment_frames} frames and moves {self.chunk} at a "
                "time: wanted a multiple of it, at least 1"
            )
        for name in ("queue_bytes", "decode_threads", "opencv_threads", "torch_threads",
                     "encode_threads"):  # fmt: skip
            if getattr(self, name) < 1:
                raise BadSetting(f"{name} is {getattr(self, name)}: wanted at least 1")


def planned(given: Spec, made: Spec) -> Plan:
    """A plan set by rule, where nothing is measured: chunks of about 32 MiB of pictures.

    `given` goes into the chain and `made` comes out of it; eight bits or sixteen, three planes.
    """
    each = [s.width * s.height * (3 if s.dtype == "uint8" else 6) for s in (given, made)]
    more = made.rate / given.rate if made.rate and given.rate else Fraction(4)
    return Plan(
        chunk=chunk_of(each[0] + more * each[1]), segment_frames=segment_of(None, given.rate)
    )


def segment_of(seconds: Fraction | None, rate: Fraction | None, chunk: int = 1) -> int:
    """How many source frames lie between two commits: a multiple of `chunk`, and of 8 for all."""
    grid = lcm(8, chunk)
    return grid * max(1, round((seconds or SEGMENT_S) * (rate or 25) / grid))


def chunk_of(frame_bytes: Fraction | int) -> int:
    """How many source frames move at a time, 1 to 8, where each brings so many bytes along."""
    return max(1, min(8, 1 << max(0, int(CHUNK_BYTES / frame_bytes).bit_length() - 1)))


# --- what things cost -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """What is `fixed`, and what each frame (of a batch) or thread costs `more`: bytes, seconds."""

    fixed: float = 0.0
    more: float = 0.0

    def at(self, count: float) -> float:
        """The cost of so many."""
        return self.fixed + self.more * count

    @classmethod
    def through(cls, few: tuple[int, float], many: tuple[int, float]) -> "Line":
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
    host: Line
    seconds: Line
    device: Line = Line()
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
    and out; `more`: frames out for one in. `rate`, `frames`: of the source, if known.
    `file_bytes`: on disk, for one frame out.
    """

    program: int
    given_bytes: int
    result_bytes: int
    stages: tuple[StageCost, ...] = ()
    decode: Line = Line()
    encode: Line = Line()
    decode_s: float = 0.0
    encode_s: float = 0.0
    cpu_s: float = 0.0
    more: Fraction = Fraction(1)
    rate: Fraction | None = None
    frames: int | None = None
    file_bytes: float = 0.0

    @property
    def chunk_bytes(self) -> tuple[float, float]:
        """Bytes of pictures for one source frame: what goes in, and what comes out."""
        return self.given_bytes, float(self.more) * self.result_bytes

    @property
    def new_bytes(self) -> float:
        """Bytes of pictures that all the stages make for one source frame."""
        return sum(float(stage.fed) * stage.made_bytes for stage in self.stages)

    @property
    def snapshot_bytes(self) -> int:
        """What the stages remember, in all: a snapshot is no bigger than this and a page."""
        return sum(stage.state_bytes for stage in self.stages)


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a family would hold on a card: predicted, not measured.

    `way`: "ours", or "plain", the usual loop. `batch`: frames at a time, None for any. `parts`:
    bytes at most while each part is at work, the weights and all else that is held among them.
    """

    way: str
    dtype: str
    flow_scale: Fraction
    batch: int | None
    parts: Mapping[str, int]

    @property
    def peak(self) -> int:
        """Bytes at most."""
        return max(self.parts.values())


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


def queue_fill(queue_bytes: int, item_bytes: float) -> float:
    """What a queue really holds: whole items, and one that is bigger than the queue alone."""
    return item_bytes * max(1, int(queue_bytes / item_bytes)) if item_bytes else 0.0


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
    reasons["lean"] = "what is fastest fits"
    reasons["give_back"] = "else the C library keeps what was freed"
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
        "give_back": True,
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


def _less_batch(peaks: Sequence[Line], plan: Plan) -> Plan:
    """Half the batch of the stage with the highest peak of those that can give."""
    able = [k for k, batch in enumerate(plan.batches) if batch > 1]
    if not able:
        return plan
    k = max(able, key=lambda k: peaks[k].at(plan.batches[k]))
    return replace(plan, batches=(*plan.batches[:k], plan.batches[k] // 2, *plan.batches[k + 1 :]))
