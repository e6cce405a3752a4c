"""Every knob that trades memory for time, chosen before frame one, and the sums that choose it."""

import os
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm

from filmgate.core.frame import StreamSpec
from filmgate.errors import BadSetting
from filmgate.units import MIB

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
    return_freed_memory: bool = False  # freed memory goes back at once (glibc), 5 % slower
    cache: bool = False  # results of costly stages are taken from disk where they are
    guard: bool = True  # those of networks are looked at
    low_memory: bool = False  # costly stages hold less and take longer, where they can

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


def planned(given: StreamSpec, made: StreamSpec) -> Plan:
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


def queue_fill(queue_bytes: int, item_bytes: float) -> float:
    """What a queue really holds: whole items, and one that is bigger than the queue alone."""
    return item_bytes * max(1, int(queue_bytes / item_bytes)) if item_bytes else 0.0
