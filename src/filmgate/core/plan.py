"""The plan: every setting that trades memory for time, fixed before the first frame."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, lcm
from types import MappingProxyType
from typing import TypeVar

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.values import flatten_image
from filmgate.errors import BadSetting
from filmgate.units import MIB

T = TypeVar("T")
MAX_BATCH = 32
OVERHEAD_BYTES = 12_000_000  # thread stacks, muxers, small objects; see bench/memory_budget.py
QUEUE_CHUNKS = 2  # chunks in a queue; more do not even out speeds any further
SEGMENT_SECONDS = 4  # of source video between two commits; see bench/durability.py for the cost
CHUNK_BYTES = 32 * MIB  # of images moved at a time: large enough to make the calls cheap


_MAX_THREADS = 1024
_MAX_CHUNK = 1 << 16  # frames
_MAX_STAGES = 1000
_MOST = MappingProxyType(
    {
        "chunk": _MAX_CHUNK,
        "segment_frames": 1 << 40,
        "queue_bytes": 1 << 50,
        "decode_threads": _MAX_THREADS,
        "opencv_threads": _MAX_THREADS,
        "torch_threads": _MAX_THREADS,
        "encode_threads": _MAX_THREADS,
    }
)


def _count_cores() -> int:
    return min(16, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class ReducedBatch:
    """From source frame `index` on, stage number `stage` gets at most `batch` frames at a time."""

    index: int
    stage: int
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Settings of a run. The same plan on the same kind of machine gives identical bits.

    `batches` (powers of two, one per stage; empty: all 1) and `chunk` (source frames moved at a
    time) lie on grids anchored to the absolute frame index. A snapshot is due every
    `segment_frames` source frames. `reduced_batches` repeats what out-of-memory reduced earlier;
    frames in `bad_frames` (source ranges, end excluded) are replaced. Thread counts affect bits.
    """

    chunk: int = 4
    batches: tuple[int, ...] = ()
    queue_bytes: int = 64 * MIB  # for each of the two queues
    segment_frames: int = 240
    decode_threads: int = field(default_factory=_count_cores)
    opencv_threads: int = field(default_factory=_count_cores)
    torch_threads: int = field(default_factory=_count_cores)
    encode_threads: int = field(default_factory=_count_cores)
    reduced_batches: tuple[ReducedBatch, ...] = ()
    bad_frames: tuple[tuple[int, int], ...] = ()
    return_freed_memory: bool = False  # to the system at once (glibc only), 5 % slower
    cache: bool = False  # read results of model stages from disk if they are there
    guard: bool = True  # check the outputs of networks
    low_memory: bool = False  # use the slower, smaller form of model stages that have one

    def __post_init__(self) -> None:
        if self.chunk < 1 or self.segment_frames % self.chunk or self.segment_frames < 1:
            raise BadSetting(
                f"segment_frames is {self.segment_frames} and chunk is {self.chunk}: "
                "segment_frames must be a positive multiple of chunk, and chunk at least 1"
            )
        for name, most in _MOST.items():
            value = getattr(self, name)
            if not 1 <= value <= most:
                raise BadSetting(f"{name} is {value}: it must be 1 to {most}")
        if len(self.batches) > _MAX_STAGES or any(not 1 <= b <= _MAX_CHUNK for b in self.batches):
            raise BadSetting(
                f"batches are {self.batches!r:.80}: wanted one of 1 to {_MAX_CHUNK} for each stage"
            )
        if any(r.index < 0 or r.stage < 0 or r.batch < 1 for r in self.reduced_batches) or any(
            not 0 <= start < end for start, end in self.bad_frames
        ):
            raise BadSetting("reduced_batches and bad_frames: wanted positive numbers of frames")


def make_default_plan(source: StreamSpec, result: StreamSpec) -> Plan:
    """Return a plan chosen by rule, without measuring: chunks of about 32 MiB of images.

    `source` is the chain's input and `result` its output, assumed to be three full planes.
    """
    sizes = [s.width * s.height * (3 if s.dtype == "uint8" else 6) for s in (source, result)]
    ratio = result.rate / source.rate if result.rate and source.rate else Fraction(4)
    chunk = choose_chunk(sizes[0] + ratio * sizes[1])
    largest = max(Fraction(sizes[0]), ratio * sizes[1])
    return Plan(
        chunk=chunk,
        queue_bytes=min(64 * MIB, ceil(QUEUE_CHUNKS * chunk * largest)),
        segment_frames=choose_segment_frames(None, source.rate),
    )


def choose_segment_frames(seconds: Fraction | None, rate: Fraction | None, chunk: int = 1) -> int:
    """Return the source frames between two commits: a multiple of `chunk` and of 8."""
    grid = lcm(8, chunk)
    return grid * max(1, round((seconds or SEGMENT_SECONDS) * (rate or 25) / grid))


def choose_chunk(frame_bytes: Fraction | int) -> int:
    """Return how many source frames move at a time, 1 to 8, given the bytes that each adds."""
    return max(1, min(8, 1 << max(0, int(CHUNK_BYTES / frame_bytes).bit_length() - 1)))


def compute_queue_fill(queue_bytes: int, item_bytes: float) -> float:
    """Return the bytes a queue really holds: complete items, and at least one however large."""
    return item_bytes * max(1, int(queue_bytes / item_bytes)) if item_bytes else 0.0


def replace_bad_frames(
    chunks: Iterable[tuple[list[Frame], T]], plan: Plan
) -> Iterator[tuple[list[Frame], T]]:
    """Yield the chunks with each of the plan's bad frames replaced by the last good image.

    Each chunk is frames and something that stays. Only images since the start of the segment count,
    so that a resumed run gives the same; without one the frame's own mean is shown.
    """
    last: Frame | None = None
    for inputs, rest in chunks:
        frames = []
        for frame in inputs:
            last = None if frame.index % plan.segment_frames == 0 else last
            if any(start <= frame.index < end for start, end in plan.bad_frames):
                why = f"the frame at {float(frame.time):.3f} s crashed the worker: it is replaced"
                image = last.image if last else flatten_image(frame.image)
                frame = frame.with_image(image).with_extras(concealed=why)
            else:
                last = frame
            frames.append(frame)
        yield frames, rest
