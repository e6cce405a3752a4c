"""What a person may say of memory and of the knobs, and the bytes that it means."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from filmgate.core.frame import StreamSpec
from filmgate.core.instrumentation.memory import available_bytes, cuda_in_use, resident_meter
from filmgate.core.plan import segment_of
from filmgate.errors import BadSetting
from filmgate.units import parse_bytes


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes that a run may hold in RAM, all of this process included, and on the device."""

    host: int
    device: int | None = None

    @classmethod
    def of_machine(cls) -> "Budget":
        """What is free here, less a tenth for everybody else."""
        own, device = resident_meter()(), None
        if cuda := cuda_in_use():
            free, total = cuda.mem_get_info()
            device = int(free + cuda.memory_reserved() - total / 20)
        return cls(int(own + 0.9 * available_bytes()), device)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a person may say of memory and of the knobs; each field is a flag."""

    ram: str | None = None
    """Memory that the whole program may use: 800MB, 4GiB. Without: nine tenths of what is free."""

    vram: str | None = None
    """Memory that it may use on the device."""

    batch: int | None = None
    """Frames that go to each stage at a time: 1, 2, 4, 8 ..."""

    chunk: int | None = None
    """Frames that move from part to part at a time."""

    threads: int | None = None
    """Threads to decode, to encode and of OpenCV, for each of the three."""

    segment: Fraction | None = None
    """Seconds of the film to a commit: that much may be done twice when a run is stopped."""

    cache: bool = False
    """Keep what is slow to make (filmgate cache), and take it from there where it is."""

    guard: bool = True
    """Stop at pictures from a network that can't be right: black, frozen, flashing, shuffled."""

    def __post_init__(self) -> None:
        for name in ("batch", "chunk", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadSetting(f"{name} is {value}: wanted at least 1")
        if self.batch and self.batch & (self.batch - 1):
            raise BadSetting(f"batch is {self.batch}: wanted a power of two")
        if self.segment is not None and self.segment <= 0:
            raise BadSetting(f"segment is {self.segment} s: wanted more than 0")

    @property
    def measured(self) -> bool:
        """Whether the parts of a run have to be tried to keep these limits."""
        return bool(self.ram or self.vram)

    @property
    def budget(self) -> Budget:
        """In bytes; what is not said is the machine's. Raises BadSetting."""
        free = Budget.of_machine()
        return Budget(
            parse_bytes(self.ram) if self.ram else free.host,
            parse_bytes(self.vram) if self.vram else free.device,
        )

    @property
    def threads_of_plan(self) -> dict[str, Any]:
        """The thread counts of the Plan, where they are a person's own."""
        names = ("decode_threads", "encode_threads", "opencv_threads")
        return dict.fromkeys(names, self.threads) if self.threads else {}

    def fixed(self, spec: StreamSpec, stages: int) -> dict[str, Any]:
        """The fields of the Plan that are a person's own, for a film through so many stages."""
        segment = {"segment_frames": segment_of(self.segment, spec.rate, self.chunk or 1)}
        return {
            **({"batches": (self.batch,) * stages} if self.batch else {}),
            **({"cache": True} if self.cache else {}),
            **({} if self.guard else {"guard": False}),
            **({"chunk": self.chunk} if self.chunk else {}),
            **(segment if self.segment or self.chunk else {}),
            **self.threads_of_plan,
        }
