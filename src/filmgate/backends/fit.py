"""Measure, then spend: the fastest plan of a job that keeps a budget, or why there is none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from filmgate.backends import encoders
from filmgate.backends.inline import build
from filmgate.backends.probe import cuda_in_use, measured
from filmgate.core.frame import Spec
from filmgate.core.job import Job
from filmgate.core.meter import read_bytes, resident_meter, spare_bytes
from filmgate.core.plan import (
    Choice,
    Costs,
    Plan,
    choose,
    device_bytes,
    host_bytes,
    seconds_each,
    smallest,
)
from filmgate.errors import BadSetting, DoesNotFit, Unsupported
from filmgate.media.file import Output


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
        return cls(int(own + 0.9 * spare_bytes()), device)


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

    @property
    def budget(self) -> Budget:
        """In bytes; what is not said is the machine's. Raises BadSetting."""
        free = Budget.of_machine()
        return Budget(
            read_bytes(self.ram) if self.ram else free.host,
            read_bytes(self.vram) if self.vram else free.device,
        )

    @property
    def fixed(self) -> dict[str, Any]:
        """The fields of the Plan that are a person's own. Raises BadSetting."""
        for name in ("batch", "chunk", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadSetting(f"{name} is {value}: wanted at least 1")
        if self.batch and self.batch & (self.batch - 1):
            raise BadSetting(f"batch is {self.batch}: wanted a power of two")
        threads = ("decode_threads", "encode_threads", "opencv_threads")
        return {
            **({"batches": (self.batch,)} if self.batch else {}),
            **({"chunk": self.chunk} if self.chunk else {}),
            **(dict.fromkeys(threads, self.threads) if self.threads else {}),
        }


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
    if str(getattr(job.source, "path", "")) == "-":
        raise Unsupported("a budget needs a look at the first frames, and a pipe can be read only "
                          "once: give a file, or leave the budget out")  # fmt: skip
    fixed = dict(fixed or {})
    budget = budget or Budget.of_machine()
    threads = {key: value for key, value in fixed.items() if key.endswith("_threads")}
    tried = Plan(**threads, give_back=True)
    with job.source.open(tried.decode_threads) as film:
        chain, _ = build(job.source, job.tasks, film.spec, None, job.sink)
        costs = measured(film, chain, job.sink, tried)
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
