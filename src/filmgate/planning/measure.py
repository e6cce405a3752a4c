"""Measure what the parts of a run cost on this machine, on the first frames of the video."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any, Protocol, runtime_checkable

from filmgate.core.adapters import Blocks
from filmgate.core.chain import Chain, ChainState
from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.instrumentation.memory import (
    Peak,
    get_loaded_cuda,
    list_used_devices,
    make_memory_meter,
    measure_parent_memory,
    measure_peak,
)
from filmgate.core.plan import Plan
from filmgate.core.stage import AnyStage
from filmgate.core.values import count_bytes, iter_leaves
from filmgate.errors import OutOfMemory
from filmgate.media.sinks import ImageOutput, VideoOutput
from filmgate.pipeline.threads import pin_threads
from filmgate.planning.costs import Costs, LinearCost, StageCost
from filmgate.planning.encoder_memory import predict_encoder_memory

KEPT_FRAMES = 4  # that every stage is measured with, forwards and backwards
DECODED_FRAMES = 24  # enough for every thread of a decoder to hold its own
LARGE_BATCH = 4  # the larger of the two batches that are measured
MAX_FRAMES = 64  # that a stage may take before its first output
LONG_S = 1.0  # a trial that takes longer than this ends early
ENCODED_FRAMES = 8  # far from filling an encoder, enough to time it
KEY_INTERVAL = 250  # frames between two key frames, the default of x264
THREAD_FRAMES = 1.5  # per decoding thread; measured 1.6 to 3.6, a low value saves too little
IMAGE_COPIES = 5  # of an image being written: waiting, as rows, as RGB, encoded
TICK = Fraction(1, 1_000_000)


@dataclass(frozen=True, slots=True)
class SinkCost:
    """Seconds, seconds of the CPU and bytes on disk for one frame of the result."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    file_bytes: float = 0.0


def measure_costs(video: Any, chain: Chain, sink: Any, plan: Plan) -> Costs:
    """Return what every part costs with the plan's threads, measured on the first frames."""
    spec = video.spec
    with pin_threads(plan):
        frames, decode_bytes, decode_s, decode_cpu = _measure_decoding(video)
        input_bytes = count_bytes(frames[0].image)
        thread_bytes = THREAD_FRAMES * input_bytes
        costs, cpu_s, frames_in = [], decode_cpu, Fraction(1)
        for stage, name, at in zip(chain.stages, chain.names, chain.specs(spec), strict=False):
            cost, frames, ratio, stage_cpu_s = measure_stage(stage, at, frames)
            costs.append(replace(cost, name=name, frames_in=frames_in))
            cpu_s += float(frames_in) * stage_cpu_s
            frames_in *= ratio
        result = chain.output(spec)
        result_bytes = max(count_bytes(frame.image) for frame in frames)
        encode, written = LinearCost(), SinkCost()
        if isinstance(sink, VideoOutput):
            encode = predict_encoder_memory(sink, result)
            written = _measure_encoding(video, sink, result, frames, plan)
        elif isinstance(sink, ImageOutput):
            encode = LinearCost(0.0, IMAGE_COPIES * result_bytes)
            written = _measure_images(video, sink, result, frames, plan)
        del frames
    with measure_peak(), _measure_device_peak():
        pass  # returns freed memory to the system: what remains is the program alone
    return Costs(
        program=make_memory_meter()(),
        parent=measure_parent_memory(),
        input_bytes=input_bytes,
        result_bytes=result_bytes,
        stages=tuple(costs),
        decode=LinearCost(
            max(0.0, decode_bytes - plan.decode_threads * thread_bytes), thread_bytes
        ),
        encode=encode,
        decode_s=decode_s,
        encode_s=float(frames_in) * written.seconds,
        cpu_s=cpu_s + float(frames_in) * written.cpu_s,
        output_ratio=frames_in,
        rate=spec.rate,
        frames=spec.frames,
        file_bytes=written.file_bytes,
    )


def measure_stage(
    stage: AnyStage, spec: StreamSpec, frames: Sequence[Frame]
) -> tuple[StageCost, list[Frame], Fraction, float]:
    """Return the cost of a stage, some frames that it makes, their ratio and CPU seconds per frame.

    `frames` are examples of the stream `spec`. Two batch sizes give slope and intercept. Raises
    OutOfMemory if one frame at a time is too much.
    """
    warm_up = _Trial(stage, 1, spec, frames)
    warm_up.run(wanted=KEPT_FRAMES)
    outputs = warm_up.kept
    trials: list[tuple[_Trial, Peak, Peak]] = []
    for batch in (1, LARGE_BATCH):
        trial = _Trial(stage, batch, spec, frames)
        try:
            with measure_peak() as host, _measure_device_peak() as device:
                trial.run(wanted=0)
        except OutOfMemory:
            if batch == 1:
                raise
            break
        trials.append((trial, host, device))
    (few, low, low_device), (many, high, high_device) = trials[0], trials[-1]
    cost = StageCost(
        name=stage.name,
        host=LinearCost.from_points((1, low.bytes), (many.batch, high.bytes)),
        device=LinearCost.from_points((1, low_device.bytes), (many.batch, high_device.bytes)),
        seconds=LinearCost.from_points((1, few.seconds), (many.batch, many.seconds)),
        weights_bytes=count_weight_bytes(stage),
        state_bytes=max(few.state_bytes, many.state_bytes),
        new_bytes_per_frame=float(few.output_ratio) * few.new_bytes / max(1, few.frames_out),
        recompute=Fraction(stage.length, stage.stride)
        if isinstance(stage, Blocks)
        else Fraction(1),
    )
    return cost, outputs, few.output_ratio, few.cpu_s / few.frames_in


class _Trial:
    """Runs a stage on endless frames and records what it takes and makes."""

    def __init__(
        self, stage: AnyStage, batch: int, spec: StreamSpec, frames: Sequence[Frame]
    ) -> None:
        self.batch, self.frames_in, self.kept = batch, 0, list[Frame]()
        self.seconds = self.cpu_s = 0.0  # of one step; of all
        self.new_bytes = self.state_bytes = 0
        result = stage.output(spec)
        self._ratio = result.rate / spec.rate if result.rate and spec.rate else None
        self.output_ratio, self.frames_out = self._ratio or Fraction(1), 0
        self._chain, self._feed = Chain((stage,), (batch,)), bounce_frames(frames, spec)
        self._inputs = {id(frame.image) for frame in frames}
        self._spec = spec

    def run(self, wanted: int) -> None:
        """Run until `wanted` frames are kept and some came out twice, or MAX_FRAMES went in."""
        state = self._chain.start(self._spec, Position(0, Fraction(0)))
        counts: list[tuple[int, int]] = []  # frames in and out, after each step with output
        start, cpu = perf_counter(), process_time()
        while self.frames_in < MAX_FRAMES:
            state, outputs = self._chain.step(state, [next(self._feed) for _ in range(self.batch)])
            self.frames_in += self.batch
            self.frames_out += len(outputs)
            images = {id(f.image): f.image for f in outputs if id(f.image) not in self._inputs}
            self.new_bytes += sum(map(count_bytes, images.values()))
            self.state_bytes = max(self.state_bytes, count_bytes(state))
            self.kept += outputs[: max(0, wanted - len(self.kept))]
            if outputs:
                counts.append((self.frames_in, self.frames_out))
            del outputs, images
            enough = len(counts) > 1 and self.frames_in >= LARGE_BATCH
            enough |= bool(counts and self._ratio) and perf_counter() - start > LONG_S
            if enough and len(self.kept) >= wanted:
                break
        rest: ChainState | None = state
        while len(self.kept) < wanted and rest:
            rest, outputs = self._chain.finish(rest)
            self.kept += outputs
        if cuda := get_loaded_cuda():
            _synchronize(cuda)
        steps = self.frames_in / self.batch
        self.seconds = (perf_counter() - start) / steps
        self.cpu_s = process_time() - cpu
        if self._ratio is None and len(counts) > 1:
            (first_in, first_out), (last_in, last_out) = counts[0], counts[-1]
            self.output_ratio = Fraction(last_out - first_out, last_in - first_in)


def bounce_frames(frames: Sequence[Frame], spec: StreamSpec) -> Iterator[Frame]:
    """Yield the frames forwards and backwards forever, as one video without shot boundaries."""
    duration = 1 / spec.rate if spec.rate else frames[0].duration or Fraction(1, 25)
    cycle = [*frames, *frames[-2:0:-1]]
    for index in count():
        frame = cycle[index % len(cycle)]
        extras = {key: value for key, value in frame.extras.items() if key != "cut"}
        yield Frame(index, index * duration, duration, frame.image, extras)


def _measure_decoding(video: Any) -> tuple[list[Frame], int, float, float]:
    """Return the first frames, the bytes that decoding holds besides, seconds and CPU seconds."""
    kept, decoded = list[Frame](), 0
    with measure_peak() as peak:
        start, cpu = perf_counter(), process_time()
        chunks = video.read(None, 1)
        for frames, _ in chunks:
            decoded += len(frames)
            if len(kept) < KEPT_FRAMES:
                kept += frames
            if decoded >= DECODED_FRAMES or perf_counter() - start > LONG_S:
                break
        chunks.close()
        seconds, cpu = perf_counter() - start, process_time() - cpu
    return kept, max(0, peak.bytes - count_bytes(kept)), seconds / decoded, cpu / decoded


def _measure_encoding(
    video: Any, sink: VideoOutput, spec: StreamSpec, frames: Sequence[Frame], plan: Plan
) -> SinkCost:
    """Return the cost of a result frame as video."""
    from filmgate.media.writing.encoder import Encoder

    feed = bounce_frames(frames, spec)
    encoder = Encoder(sink.encode_options, spec, TICK, video.metadata, plan.encode_threads)
    start, cpu = perf_counter(), process_time()
    packets = encoder.encode(next(feed) for _ in range(ENCODED_FRAMES))
    packets += encoder.flush()
    seconds, cpu = perf_counter() - start, process_time() - cpu
    encoder.close()
    first, *rest = [packet.size for packet in packets]
    file_bytes = first / KEY_INTERVAL + sum(rest) / max(1, len(rest))
    return SinkCost(seconds / ENCODED_FRAMES, cpu / ENCODED_FRAMES, file_bytes)


def _measure_images(
    video: Any, sink: ImageOutput, spec: StreamSpec, frames: Sequence[Frame], plan: Plan
) -> SinkCost:
    """Return the cost of a result frame as an image; some are written to a temporary folder."""
    number, feed = max(KEPT_FRAMES, plan.encode_threads), bounce_frames(frames, spec)
    with TemporaryDirectory(prefix="filmgate-") as folder:
        trial = replace(sink, path=Path(folder) / f"%06d{Path(sink.path).suffix or '.png'}")
        with trial.open(video.metadata, spec, threads=plan.encode_threads) as images:
            start, cpu = perf_counter(), process_time()
            images.write([next(feed) for _ in range(number)])
            seconds, cpu = perf_counter() - start, process_time() - cpu
        sizes = [path.stat().st_size for path in Path(folder).glob("[0-9]*")]
    return SinkCost(seconds / number, cpu / number, sum(sizes) / max(1, len(sizes)))


@runtime_checkable
class _Network(Protocol):
    """A torch module, without importing torch."""

    def parameters(self) -> Iterator[Any]: ...


def count_weight_bytes(stage: object) -> int:
    """Return the bytes of the networks in a stage, also of those that its methods belong to."""
    total = 0
    for leaf in iter_leaves(stage):
        owner = getattr(leaf, "__self__", leaf)  # of a bound method
        if isinstance(owner, _Network):
            total += sum(map(count_bytes, owner.parameters()))
        elif owner is not leaf:
            total += count_weight_bytes(owner)
    return total


@contextmanager
def _measure_device_peak() -> Iterator[Peak]:
    """Yield the allocator's peak on the device while the `with` lasts, weights included."""
    peak, cuda = Peak(), get_loaded_cuda()
    if cuda:
        _synchronize(cuda)
        cuda.empty_cache()  # otherwise memory that others have left reserved counts too
        for k in list_used_devices(cuda):
            cuda.reset_peak_memory_stats(k)
    yield peak
    if cuda:
        _synchronize(cuda)
        peak.bytes = sum(int(cuda.max_memory_reserved(k)) for k in list_used_devices(cuda))


def _synchronize(cuda: Any) -> None:
    """Wait for the work of every device, which is asynchronous."""
    for k in list_used_devices(cuda):
        cuda.synchronize(k)
