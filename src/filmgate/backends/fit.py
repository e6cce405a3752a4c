"""Measure, then spend: what a job costs on this machine, and the fastest plan within a budget."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from fractions import Fraction
from itertools import count
from time import perf_counter, process_time
from typing import Any

from filmgate.backends import encoders
from filmgate.backends.inline import build, pinned
from filmgate.core.chain import Chain, Links
from filmgate.core.frame import Frame, Position, Spec
from filmgate.core.job import Job
from filmgate.core.meter import Peak, nbytes, resident_meter, rising, spare_bytes
from filmgate.core.plan import (
    MIB,
    Choice,
    Costs,
    Line,
    Plan,
    StageCost,
    choose,
    device_bytes,
    host_bytes,
    seconds_each,
    smallest,
)
from filmgate.core.stage import AnyStage
from filmgate.core.windows import Blocks
from filmgate.errors import BadSetting, DoesNotFit, OutOfMemory
from filmgate.media.file import Output

KEPT = 4  # real frames that every stage is tried with, to and fro
DECODED = 24  # frames: by then every thread of a decoder has its own
MANY = 4  # the larger of two batches
PATIENCE = 64  # frames that a stage may take before its first comes out
LONG_S = 1.0  # a trial that takes longer has shown enough
ENCODED = 8  # frames: far from filling an encoder, enough to time it
KEY_EVERY = 250  # frames between two key pictures, where nobody says otherwise
THREAD_FRAMES, THREAD_BYTES = 2, MIB  # what another decoding thread holds; bench/memory_budget.py
TICK = Fraction(1, 1_000_000)


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes that a run may hold in RAM, all of this process included, and on the device."""

    host: int
    device: int | None = None

    @classmethod
    def of_machine(cls) -> "Budget":
        """What is free here, less a tenth for everybody else."""
        own, device = resident_meter()(), None
        if cuda := _cuda():
            free, total = cuda.mem_get_info()
            device = int(free + cuda.memory_reserved() - total / 20)
        return cls(int(own + 0.9 * spare_bytes()), device)


@dataclass(frozen=True, slots=True)
class Fit:
    """A plan with its reasons, what was measured to choose it, and what it may hold."""

    job: Job
    given: Spec
    made: Spec
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
        return int(self.costs.frames * self.costs.more * self.costs.file_bytes)


def fit(job: Job, budget: Budget | None = None, fixed: Mapping[str, Any] | None = None) -> Fit:
    """The fastest plan for a job that keeps the budget (None: what the machine has free).

    Tries every part on the film's first frames. `fixed` are Plan fields that stay as given.
    Raises DoesNotFit with the smallest budget that would do and what else would help; UserError.
    """
    fixed = dict(fixed or {})
    budget = budget or Budget.of_machine()
    with job.source.open(fixed.get("decode_threads")) as film:
        chain, _ = build(job.source, job.tasks, film.spec, None, job.sink)
        costs = measured(film, chain, job.sink, Plan(**_threads(fixed), give_back=True))
        made = chain.output(film.spec)
        if len(fixed.get("batches", ())) == 1:  # one number is meant for all
            fixed["batches"] = fixed["batches"] * len(chain.stages)
        if len(fixed.get("batches", chain.stages)) != len(chain.stages):
            raise BadSetting(f"batches are {fixed['batches']}: wanted one number, or one for each "
                             f"of {', '.join(chain.names)}")  # fmt: skip
    choice = choose(costs, budget.host, budget.device, fixed)
    if choice is None:
        raise _refused(job, made, costs, budget, fixed)
    return Fit(job, film.spec, made, budget, costs, choice)


def measured(film: Any, chain: Chain, sink: Any, plan: Plan) -> Costs:
    """What every part takes, tried with the threads of the plan on the film's first frames."""
    spec = film.spec
    with pinned(plan):
        frames, decode_bytes, decode_s, decode_cpu = _decoded(film)
        given_bytes = nbytes(frames[0].image)
        a_thread = THREAD_FRAMES * given_bytes + THREAD_BYTES
        costs, cpu_s, fed = [], decode_cpu, Fraction(1)
        for stage, name, at in zip(chain.stages, chain.names, chain.specs(spec), strict=False):
            cost, frames, more, cpu = probe(stage, at, frames)
            costs.append(replace(cost, name=name, fed=fed))
            cpu_s += float(fed) * cpu
            fed *= more
        made = chain.output(spec)
        result_bytes = max(nbytes(frame.image) for frame in frames)
        encode, encode_s, encode_cpu, file_bytes = Line(), 0.0, 0.0, 0.0
        if isinstance(sink, Output):
            encode = encoders.held(sink, made)
            encode_s, encode_cpu, file_bytes = _encoded(film, sink, made, frames, plan)
        del frames
    with rising():
        pass  # what was freed is given back: the program alone is left
    return Costs(
        program=resident_meter()(),
        given_bytes=given_bytes,
        result_bytes=result_bytes,
        stages=tuple(costs),
        decode=Line(max(0.0, decode_bytes - plan.decode_threads * a_thread), a_thread),
        encode=encode,
        decode_s=decode_s,
        encode_s=float(fed) * encode_s,
        cpu_s=cpu_s + float(fed) * encode_cpu,
        more=fed,
        frames=spec.frames,
        file_bytes=file_bytes,
    )


def probe(
    stage: AnyStage, spec: Spec, frames: Sequence[Frame]
) -> tuple[StageCost, list[Frame], Fraction, float]:
    """What one stage takes for a stream that looks like `frames`: two batches make a line.

    Also some of the frames that it makes, how many for one, and seconds of the processor for one.
    Raises OutOfMemory if one frame at a time is too much.
    """
    begun = _Trial(stage, 1, spec, frames)
    begun.run(wanted=KEPT)
    made = begun.kept
    trials: list[tuple[_Trial, Peak, Peak]] = []
    for batch in (1, MANY):
        trial = _Trial(stage, batch, spec, frames)
        try:
            with rising() as host, _rising_on_device() as device:
                trial.run(wanted=0)
        except OutOfMemory:
            if batch == 1:
                raise
            break
        trials.append((trial, host, device))
    (few, low, low_device), (many, high, high_device) = trials[0], trials[-1]
    cost = StageCost(
        name=stage.name,
        host=Line.through((1, low.bytes), (many.batch, high.bytes)),
        device=Line.through((1, low_device.bytes), (many.batch, high_device.bytes)),
        seconds=Line.through((1, few.seconds), (many.batch, many.seconds)),
        weights_bytes=_weights(stage),
        state_bytes=max(few.state_bytes, many.state_bytes),
        made_bytes=float(few.more) * few.new_bytes / max(1, few.out),
        recompute=Fraction(stage.length, stage.stride)
        if isinstance(stage, Blocks)
        else Fraction(1),
    )
    return cost, made, few.more, few.cpu_s / few.fed


class _Trial:
    """A stage at work on frames that go to and fro for ever: what it took, and what came out."""

    def __init__(self, stage: AnyStage, batch: int, spec: Spec, frames: Sequence[Frame]) -> None:
        self.batch, self.fed, self.kept = batch, 0, list[Frame]()
        self.seconds = self.cpu_s = 0.0  # of one step; of all
        self.new_bytes = self.state_bytes = 0
        made = stage.output(spec)
        self._ratio = made.rate / spec.rate if made.rate and spec.rate else None
        self.more, self.out = self._ratio or Fraction(1), 0
        self._chain, self._feed = Chain((stage,), (batch,)), to_and_fro(frames, spec)
        self._given = {id(frame.image) for frame in frames}
        self._spec = spec

    def run(self, wanted: int) -> None:
        """Until `wanted` frames are kept and some came out twice; or patience ends."""
        state = self._chain.start(self._spec, Position(0, Fraction(0)))
        came: list[tuple[int, int]] = []  # frames in and out so far, wherever some came out
        began, cpu = perf_counter(), process_time()
        while self.fed < PATIENCE:
            state, made = self._chain.step(state, [next(self._feed) for _ in range(self.batch)])
            self.fed, self.out = self.fed + self.batch, self.out + len(made)
            new = {id(f.image): nbytes(f.image) for f in made if id(f.image) not in self._given}
            self.new_bytes += sum(new.values())
            self.state_bytes = max(self.state_bytes, nbytes(state))
            self.kept += made[: max(0, wanted - len(self.kept))]
            if made:
                came.append((self.fed, self.out))
            del made
            enough = len(came) > 1 and self.fed >= MANY
            enough |= bool(came and self._ratio) and perf_counter() - began > LONG_S
            if enough and len(self.kept) >= wanted:
                break
        rest: Links | None = state
        while len(self.kept) < wanted and rest:
            rest, made = self._chain.finish(rest)
            self.kept += made
        steps = self.fed / self.batch
        self.seconds = (perf_counter() - began) / steps
        self.cpu_s = process_time() - cpu
        if self._ratio is None and len(came) > 1:
            self.more = Fraction(came[-1][1] - came[0][1], came[-1][0] - came[0][0])


def to_and_fro(frames: Sequence[Frame], spec: Spec) -> Iterator[Frame]:
    """The frames forwards and backwards for ever, as one film without a cut."""
    lasts = 1 / spec.rate if spec.rate else frames[0].duration or Fraction(1, 25)
    there_and_back = [*frames, *frames[-2:0:-1]]
    for index in count():
        frame = there_and_back[index % len(there_and_back)]
        extras = {key: value for key, value in frame.extras.items() if key != "cut"}
        yield Frame(index, index * lasts, lasts, frame.image, extras)


def _decoded(film: Any) -> tuple[list[Frame], int, float, float]:
    """The film's first frames, bytes that decoding holds beside them, seconds a frame, of the CPU.

    A film that can only be read once is not touched here: its source says so by raising.
    """
    kept, seen = list[Frame](), 0
    with rising() as peak:
        began, cpu = perf_counter(), process_time()
        chunks = film.read(None, 1)
        for frames, _ in chunks:
            seen += len(frames)
            if len(kept) < KEPT:
                kept += frames
            if seen >= DECODED or perf_counter() - began > LONG_S:
                break
        chunks.close()
        seconds, cpu = perf_counter() - began, process_time() - cpu
    return kept, max(0, peak.bytes - nbytes(kept)), seconds / seen, cpu / seen


def _encoded(
    film: Any, sink: Output, spec: Spec, frames: Sequence[Frame], plan: Plan
) -> tuple[float, float, float]:
    """Seconds, seconds of the processor, and bytes on disk for one frame of the result."""
    from filmgate.media.encode import Encoder

    feed = to_and_fro(frames, spec)
    encoder = Encoder(sink, spec, TICK, film.origin, plan.encode_threads)
    began, cpu = perf_counter(), process_time()
    packets = encoder.packets(next(feed) for _ in range(ENCODED))
    packets += encoder.flush()
    seconds, cpu = (perf_counter() - began) / ENCODED, (process_time() - cpu) / ENCODED
    encoder.close()
    first, *rest = [packet.size for packet in packets]
    return seconds, cpu, first / KEY_EVERY + sum(rest) / max(1, len(rest))


def _refused(
    job: Job, made: Spec, costs: Costs, budget: Budget, fixed: Mapping[str, Any]
) -> DoesNotFit:
    """What would be needed, and what a person might give up for less."""
    least = smallest(costs, fixed)
    host, device = host_bytes(costs, least), device_bytes(costs, least)
    if budget.device is not None and device > budget.device:
        return DoesNotFit(
            f"the stages need {_mb(device)} on the device and --vram is {_mb(budget.device)}: give "
            f"--vram {_mb(device)}, or a smaller picture", device)  # fmt: skip
    needed = sum(host.values())
    largest = sorted(host, key=lambda part: -host[part])[:3]
    where = ", ".join(f"{part} {_mb(host[part])}" for part in largest)
    offers = [f"give --ram {_mb(needed)}"]
    if fixed:
        offers.append(f"leave {', '.join(sorted(fixed))} to us")
    if isinstance(job.sink, Output):
        for preset, less in encoders.cheaper(job.sink, made):
            spared = needed - int(host["encoder"] - less.at(least.encode_threads))
            offers.append(f"--preset {preset}, another result, does with {_mb(spared)}")
    return DoesNotFit(
        f"this needs {_mb(needed)} of memory at least ({where}), and --ram is "
        f"{_mb(budget.host)}: {'; or '.join(offers)}",
        needed,
    )


def _mb(size: int) -> str:
    """So that --ram takes it, and it is never too little."""
    return f"{-(-size // 10**6)}MB"


def _threads(fixed: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fixed.items() if key.endswith("_threads")}


def _weights(stage: object) -> int:
    """Bytes of the networks and arrays among a stage's settings."""
    if not is_dataclass(stage):
        return 0
    total = 0
    for item in fields(stage):
        value: Any = getattr(stage, item.name)
        inner = is_dataclass(value) and not isinstance(value, type)
        networks = [getattr(value, f.name) for f in fields(value)] if inner else [value]
        for network in networks:
            if callable(getattr(network, "parameters", None)):
                total += sum(nbytes(weight) for weight in network.parameters())
    return total


# --- the device -----------------------------------------------------------------------------------


def _cuda() -> Any:
    """torch.cuda where torch is loaded already and has a device; else None."""
    torch: Any = sys.modules.get("torch")
    return torch.cuda if torch and torch.cuda.is_available() else None


@contextmanager
def _rising_on_device() -> Iterator[Peak]:
    """The allocator's peak on the device while the `with` lasts, weights and all."""
    peak, cuda = Peak(), _cuda()
    if cuda:
        cuda.synchronize()
        cuda.reset_peak_memory_stats()
    yield peak
    if cuda:
        cuda.synchronize()
        peak.bytes = int(cuda.max_memory_reserved())
