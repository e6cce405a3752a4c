"""What the user may limit or fix of a plan, and the bytes that a budget means."""

from dataclasses import dataclass, replace
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from filmgate.core.frame import StreamSpec
from filmgate.core.instrumentation.memory import (
    get_loaded_cuda,
    list_used_devices,
    make_memory_meter,
    measure_available_memory,
    measure_parent_memory,
)
from filmgate.core.plan import Plan, choose_segment_frames, make_default_plan
from filmgate.errors import BadSetting
from filmgate.media.rates import check_fraction
from filmgate.media.settings import check_settings
from filmgate.units import parse_bytes

# More cannot help, and makes FFmpeg or the system fail: threads of a decoder, frames in memory.
_MOST = MappingProxyType({"batch": 1024, "chunk": 1024, "threads": 128})
_SEGMENT_S = Fraction(1, 1000), Fraction(86_400)  # from 1 ms to a day


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes that a run may hold in RAM, with its worker and its parent, and on the device."""

    host: int
    device: int | None = None

    @classmethod
    def of_machine(cls) -> "Budget":
        """Return what is free on this machine, less a tenth for other programs.

        Of devices: those that this process has loaded networks on.
        """
        own, device = make_memory_meter()() + measure_parent_memory(), None
        if cuda := get_loaded_cuda():
            device = 0
            for k in list_used_devices(cuda):
                free, total = cuda.mem_get_info(k)
                device += int(free + cuda.memory_reserved(k) - total / 20)
        return cls(int(own + 0.9 * measure_available_memory()), device)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits and settings of a plan that the user chooses; each field is a flag."""

    ram: str | None = None
    """Memory the entire program may use: 800MB, 4GiB. The fastest plan that keeps it is chosen.
    Default: no limit; with vram, and for plan and bench, nine tenths of what is free."""

    vram: str | None = None
    """Memory it may use on the GPU: 8GB. Default: no limit; with ram, and for plan and bench,
    nearly all that is free."""

    batch: int | None = None
    """Frames given to each stage at a time: 1, 2, 4, 8 ... Default: 1; with ram or vram, the
    fastest that fits."""

    chunk: int | None = None
    """Frames that move from part to part at a time. Default: 1 to 8, by their size."""

    threads: int | None = None
    """Threads for decoding, for encoding and for OpenCV, each. Default: one for each processor, at
    most 16."""

    segment: Fraction | None = None
    """Seconds of the video between commits: a stopped run repeats at most that much. Default: 4."""

    cache: bool = False
    """Store the results of models (see filmgate cache), and reuse stored ones."""

    guard: bool = True
    """Stop if a model's output cannot be right: black, frozen, flashing, shuffled."""

    def __post_init__(self) -> None:
        check_settings(self)
        for name, most in _MOST.items():
            value = getattr(self, name)
            if value is not None and not 1 <= value <= most:
                raise BadSetting(f"{name} is {value}: pass 1 to {most}")
        if self.batch and self.batch & (self.batch - 1):
            raise BadSetting(f"batch is {self.batch}: pass a power of two")
        if self.segment is not None:
            check_fraction("segment", self.segment, *_SEGMENT_S, "s")
        for size in filter(None, (self.ram, self.vram)):
            parse_bytes(size)

    @property
    def needs_measuring(self) -> bool:
        """Whether the parts of a run must be measured to keep these limits."""
        return bool(self.ram or self.vram)

    @property
    def device_bytes(self) -> int | None:
        """The bytes that the user allows on the device; None: what is free."""
        return parse_bytes(self.vram) if self.vram else None

    @property
    def host_bytes(self) -> int | None:
        """The bytes of RAM that the user allows; None: what is free."""
        return parse_bytes(self.ram) if self.ram else None

    @property
    def budget(self) -> Budget:
        """The budget in bytes, what is not given taken from the machine. Raises BadSetting."""
        free = Budget.of_machine()
        return Budget(
            parse_bytes(self.ram) if self.ram else free.host,
            parse_bytes(self.vram) if self.vram else free.device,
        )

    @property
    def thread_fields(self) -> dict[str, Any]:
        """The thread counts of the Plan that the user chose."""
        names = ("decode_threads", "encode_threads", "opencv_threads")
        return dict.fromkeys(names, self.threads) if self.threads else {}

    def plan_fields(self, spec: StreamSpec, stages: int) -> dict[str, Any]:
        """Return the fields of the Plan that the user chose, for a video and a number of stages."""
        segment_frames = choose_segment_frames(self.segment, spec.rate, self.chunk or 1)
        return {
            **({"batches": (self.batch,) * stages} if self.batch else {}),
            **({"cache": True} if self.cache else {}),
            **({} if self.guard else {"guard": False}),
            **({"chunk": self.chunk} if self.chunk else {}),
            **({"segment_frames": segment_frames} if self.segment or self.chunk else {}),
            **self.thread_fields,
        }

    def make_plan(self, source: StreamSpec, result: StreamSpec, stages: int) -> Plan:
        """Return the default plan with the user's fields; the budget needs `fit`."""
        return replace(make_default_plan(source, result), **self.plan_fields(source, stages))
