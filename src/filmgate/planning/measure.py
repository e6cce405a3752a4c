"""What a run's parts take on this machine, found by trying them on the film's first frames."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from fractions import Fraction
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

from filmgate.core.adapters import Blocks
from filmgate.core.chain import Chain, ChainState
from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.instrumentation.memory import Peak, cuda_in_use, measure_peak, resident_meter
from filmgate.core.plan import Plan
from filmgate.core.stage import AnyStage
from filmgate.core.values import nbytes
from filmgate.errors import OutOfMemory
from filmgate.media.sinks import ImageOutput, VideoOutput
from filmgate.pipeline.threads import pinned
from filmgate.planning import encoder_memory
from filmgate.planning.costs import Costs, LinearCost, StageCost

KEPT = 4  # real frames that every stage is tried with, to and fro
DECODED = 24  # frames: by then every thread of a decoder has its own
MANY = 4  # the larger of two batches
PATIENCE = 64  # frames that a stage may take before its first comes out
LONG_S = 1.0  # a trial that takes longer has shown enough
ENCODED = 8  # frames: far from filling an encoder, enough to time it
KEY_EVERY = 250  # frames between two key pictures, where nobody says otherwise
THREAD_FRAMES = 1.5  # that another decoding thread holds: measured 1.6 to 3.6, so it spares less
STILL_COPIES = 5  # of a picture while it becomes a file: waiting, in rows, as RGB, in its format
TICK = Fraction(1, 1_000_000)


def measured(video: Any, chain: Chain, sink: Any, plan: Plan) -> Costs:
    """What every part takes, tried with the threads of the plan on the film's first frames."""
    spec = video.spec
    with pinned(plan):
        frames, decode_bytes, decode_s, decode_cpu = _decoded(video)
        given_bytes = nbytes(frames[0].image)
        a_thread = THREAD_FRAMES * given_bytes
        costs, cpu_s, fed = [], decode_cpu, Fraction(1)
        for stage, name, at in zip(chain.stages, chain.names, chain.specs(spec), strict=False):
            cost, frames, more, cpu = probe(stage, at, frames)
            costs.append(replace(cost, name=name, fed=fed))
            cpu_s += float(fed) * cpu
            fed *= more
        made = chain.output(spec)
        result_bytes = max(nbytes(frame.image) for frame in frames)
        encode, encode_s, encode_cpu, file_bytes = LinearCost(), 0.0, 0.0, 0.0
        if isinstance(sink, VideoOutput):
            encode = encoder_memory.held(sink, made)
            encode_s, encode_cpu, file_bytes = _encoded(video, sink, made, frames, plan)
        elif isinstance(sink, ImageOutput):
            encode = LinearCost(0.0, STILL_COPIES * result_bytes)
            encode_s, encode_cpu, file_bytes = _stilled(video, sink, made, frames, plan)
        del frames
    with measure_peak(), _rising_on_device():
        pass  # what was freed is given back: the program alone is left
    return Costs(
        program=resident_meter()(),
        given_bytes=given_bytes,
        result_bytes=result_bytes,
        stages=tuple(costs),
        decode=LinearCost(max(0.0, decode_bytes - plan.decode_threads * a_thread), a_thread),
        encode=encode,
        decode_s=decode_s,
        encode_s=float(fed) * encode_s,
        cpu_s=cpu_s + float(fed) * encode_cpu,
        output_ratio=fed,
        rate=spec.rate,
        frames=spec.frames,
        file_bytes=file_bytes,
    )


def probe(
    stage: AnyStage, spec: StreamSpec, frames: Sequence[Frame]
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
            with measure_peak() as host, _rising_on_device() as device:
                trial.run(wanted=0)
        except OutOfMemory:
            if batch == 1:
                raise
            break
        trials.append((trial, host, device))
    (few, low, low_device), (many, high, high_device) = trials[0], trials[-1]
    cost = StageCost(
        name=stage.name,
        host=LinearCost.through((1, low.bytes), (many.batch, high.bytes)),
        device=LinearCost.through((1, low_device.bytes), (many.batch, high_device.bytes)),
        seconds=LinearCost.through((1, few.seconds), (many.batch, many.seconds)),
        weights_bytes=_weights(stage),
        state_bytes=max(few.state_bytes, many.state_bytes),
        made_bytes=float(few.output_ratio) * few.new_bytes / max(1, few.out),
        recompute=Fraction(stage.length, stage.stride)
        if isinstance(stage, Blocks)
        else Fraction(1),
    )
    return cost, made, few.output_ratio, few.cpu_s / few.fed


class _Trial:
    """A stage at work on frames that go to and fro for ever: what it took, and what came out."""

    def __init__(
        self, stage: AnyStage, batch: int, spec: StreamSpec, frames: Sequence[Frame]
    ) -> None:
        self.batch, self.fed, self.kept = batch, 0, list[Frame]()
        self.seconds = self.cpu_s = 0.0  # of one step; of all
        self.new_bytes = self.state_bytes = 0
        made = stage.output(spec)
        self._ratio = made.rate / spec.rate if made.rate and spec.rate else None
        self.output_ratio, self.out = self._ratio or Fraction(1), 0
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
        rest: ChainState | None = state
        while len(self.kept) < wanted and rest:
            rest, made = self._chain.finish(rest)
            self.kept += made
        if cuda := cuda_in_use():  # what was asked of it may still be under way
            cuda.synchronize()
        steps = self.fed / self.batch
        self.seconds = (perf_counter() - began) / steps
        self.cpu_s = process_time() - cpu
        if self._ratio is None and len(came) > 1:
            self.output_ratio = Fraction(came[-1][1] - came[0][1], came[-1][0] - came[0][0])


def to_and_fro(frames: Sequence[Frame], spec: StreamSpec) -> Iterator[Frame]:
    """The frames forwards and backwards for ever, as one film without a cut."""
    lasts = 1 / spec.rate if spec.rate else frames[0].duration or Fraction(1, 25)
    there_and_back = [*frames, *frames[-2:0:-1]]
    for index in count():
        frame = there_and_back[index % len(there_and_back)]
        extras = {key: value for key, value in frame.extras.items() if key != "cut"}
        yield Frame(index, index * lasts, lasts, frame.image, extras)


def _decoded(video: Any) -> tuple[list[Frame], int, float, float]:
    """The first frames, bytes that decoding holds beside them, seconds a frame, of the CPU."""
    kept, seen = list[Frame](), 0
    with measure_peak() as peak:
        began, cpu = perf_counter(), process_time()
        chunks = video.read(None, 1)
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
    video: Any, sink: VideoOutput, spec: StreamSpec, frames: Sequence[Frame], plan: Plan
) -> tuple[float, float, float]:
    """Seconds, seconds of the processor, and bytes on disk for one frame of the result."""
    from filmgate.media.writing.encoder import Encoder

    feed = to_and_fro(frames, spec)
    encoder = Encoder(sink, spec, TICK, video.origin, plan.encode_threads)
    began, cpu = perf_counter(), process_time()
    packets = encoder.packets(next(feed) for _ in range(ENCODED))
    packets += encoder.flush()
    seconds, cpu = (perf_counter() - began) / ENCODED, (process_time() - cpu) / ENCODED
    encoder.close()
    first, *rest = [packet.size for packet in packets]
    return seconds, cpu, first / KEY_EVERY + sum(rest) / max(1, len(rest))


def _stilled(
    video: Any, sink: ImageOutput, spec: StreamSpec, frames: Sequence[Frame], plan: Plan
) -> tuple[float, float, float]:
    """The same, where the result is pictures: some are written into a folder that goes."""
    many, feed = max(KEPT, plan.encode_threads), to_and_fro(frames, spec)
    with TemporaryDirectory(prefix="filmgate-") as folder:
        aside = replace(sink, path=Path(folder) / f"%06d{Path(sink.path).suffix or '.png'}")
        with aside.open(video, spec, threads=plan.encode_threads) as pictures:
            began, cpu = perf_counter(), process_time()
            pictures.write([next(feed) for _ in range(many)])
            seconds, cpu = (perf_counter() - began) / many, (process_time() - cpu) / many
        sizes = [path.stat().st_size for path in Path(folder).glob("[0-9]*")]
    return seconds, cpu, sum(sizes) / max(1, len(sizes))


def _weights(stage: object) -> int:
    """Bytes of the networks among a stage's settings, and in what its functions belong to."""
    owner: Any = getattr(stage, "__self__", stage)  # a method's
    if callable(getattr(owner, "parameters", None)):
        return sum(nbytes(weight) for weight in owner.parameters())
    if not is_dataclass(owner) or isinstance(owner, type):
        return 0
    return sum(_weights(getattr(owner, item.name)) for item in fields(owner))


# --- the device -----------------------------------------------------------------------------------


@contextmanager
def _rising_on_device() -> Iterator[Peak]:
    """The allocator's peak on the device while the `with` lasts, weights and all."""
    peak, cuda = Peak(), cuda_in_use()
    if cuda:
        cuda.synchronize()
        cuda.empty_cache()  # else what others have left reserved counts as this one's
        cuda.reset_peak_memory_stats()
    yield peak
    if cuda:
        cuda.synchronize()
        peak.bytes = int(cuda.max_memory_reserved())
