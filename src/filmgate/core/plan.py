"""Every knob that trades memory for time, chosen before frame one and kept for the whole run."""

import os
from dataclasses import dataclass, field
from fractions import Fraction

from filmgate.core.frame import Spec
from filmgate.errors import BadSetting

MIB = 1 << 20
GIB = 1 << 30


def _cores() -> int:
    return min(16, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The knobs. Two runs with the same plan on the same kind of machine give the same bits.

    `batches` (powers of two, one for each stage; empty: all 1) and `chunk` (source frames that
    move at a time) lie on grids anchored to the absolute frame number; a snapshot is due every
    `segment_frames` source frames. Threads are pinned because they move bits. Those of
    torch spin while they wait: more than one costs twice the CPU in small work on pictures.
    """

    chunk: int = 4
    batches: tuple[int, ...] = ()
    queue_bytes: int = 64 * MIB  # for each of the two queues
    segment_frames: int = 240
    decode_threads: int = field(default_factory=_cores)
    opencv_threads: int = field(default_factory=_cores)
    torch_threads: int = 1
    encode_threads: int = field(default_factory=_cores)

    def __post_init__(self) -> None:
        if self.chunk < 1 or self.segment_frames % self.chunk or self.segment_frames < 1:
            raise BadSetting(
                f"the plan commits every {self.segment_frames} frames and moves {self.chunk} at a "
                "time: wanted a multiple of it, at least 1"
            )
        if self.queue_bytes < 1:
            raise BadSetting(f"queue_bytes is {self.queue_bytes}: wanted at least 1")


def planned(given: Spec, made: Spec) -> Plan:
    """A plan set by rule, until plans are measured: chunks of about 32 MiB of pictures.

    `given` goes into the chain and `made` comes out of it; eight bits or sixteen, three planes.
    """
    each = [s.width * s.height * (3 if s.dtype == "uint8" else 6) for s in (given, made)]
    more = made.rate / given.rate if made.rate and given.rate else Fraction(4)
    chunk = 32 * MIB / (each[0] + more * each[1])
    return Plan(chunk=max(1, min(8, 1 << max(0, int(chunk).bit_length() - 1))))
