"""A chain: stages in a row, which together are a stage. Handles batches and out-of-memory."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, TypeVar

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.instrumentation.memory import release_cached_memory
from filmgate.core.instrumentation.timing import Clock
from filmgate.core.instrumentation.torch_settings import fix_torch_settings
from filmgate.core.stage import (
    AnyStage,
    Preparation,
    Reach,
    can_prepare,
    prepare_stage,
    require_stage,
)
from filmgate.errors import BadSetting, OutOfMemory

R = TypeVar("R")


_OPENCV_NO_MEMORY = -4
# Messages of torch's other errors. cuDNN's search for an algorithm skips those that do not fit and
# then finds none; cuBLAS cannot start without some memory.
_NO_MEMORY = re.compile(
    r"can't allocate memory|not enough memory"
    r"|(CUDA|HIP|MPS|XPU)\b.{0,40}\bout of memory|cudaErrorMemoryAllocation"
    r"|(CU|HIP|ROC)[A-Z]+_(STATUS_)?\w*ALLOC\w*_FAILED|miopenStatusAllocFailed"
    r"|CUBLAS_STATUS_NOT_INITIALIZED"
    r"|unable to find an engine to execute this computation|valid cuDNN algorithm",
    re.IGNORECASE,
)

Phase = Literal["waiting", "running", "done"]  # a stage is waiting until its first frame arrives


@dataclass(frozen=True, slots=True)
class StageState:
    """What the chain stores for one stage: its input format, its state, and queued frames."""

    spec: StreamSpec
    phase: Phase = "waiting"
    state: Any = ()
    queue: tuple[Frame, ...] = ()  # too few for a batch


ChainState = tuple[StageState, ...]


@dataclass(frozen=True)
class Chain:
    """Stages in a row; stage k gets `batches[k]` frames at a time, however they arrive.

    Batches lie on a grid anchored to the absolute index, so a network sees the same batches
    however the video is split; sizes are powers of two, so a halved batch keeps the grid. Chains
    given as stages are flattened and keep their own batches. A step that raises OutOfMemory has
    no effect.
    """

    stages: tuple[AnyStage, ...]
    batches: tuple[int, ...] = ()
    clock: Clock = field(default_factory=Clock, compare=False, repr=False)

    def __post_init__(self) -> None:
        batches = self.batches or (1,) * len(self.stages)
        if len(batches) != len(self.stages):
            raise BadSetting(
                f"{len(batches)} batches for a chain of {len(self.stages)} stages: "
                "give one batch per stage"
            )
        if any(size < 1 or size & (size - 1) for size in batches):
            raise BadSetting(f"batches are {batches}: each must be a power of two")
        flat: list[tuple[AnyStage, int]] = []
        stage: AnyStage | Chain
        for stage, size in zip(self.stages, batches, strict=True):
            require_stage(stage)
            if isinstance(stage, Chain):
                flat += zip(stage.stages, stage.batches, strict=True)
            else:
                flat.append((stage, size))
        object.__setattr__(self, "stages", tuple(stage for stage, _ in flat))
        object.__setattr__(self, "batches", tuple(size for _, size in flat))

    @property
    def name(self) -> str:
        return " > ".join(stage.name for stage in self.stages) or "identity"

    @property
    def names(self) -> tuple[str, ...]:
        """The stages' names; equal ones get a number."""
        plain = [stage.name for stage in self.stages]
        return tuple(
            name if plain.count(name) == 1 else f"{name} {k + 1}" for k, name in enumerate(plain)
        )

    def specs(self, spec: StreamSpec) -> tuple[StreamSpec, ...]:
        """Return the input format of each stage, and last the output format of the chain."""
        specs = [spec]
        for stage in self.stages:
            specs.append(stage.output(specs[-1]))
        return tuple(specs)

    def reach(self, spec: StreamSpec) -> Reach:
        pairs = zip(self.stages, self.specs(spec), strict=False)
        return sum((stage.reach(stage_spec) for stage, stage_spec in pairs), Reach())

    def output(self, spec: StreamSpec) -> StreamSpec:
        return self.specs(spec)[-1]

    def start(self, spec: StreamSpec, first: Position) -> ChainState:
        state = tuple(StageState(stage_spec) for stage_spec in self.specs(spec)[:-1])
        if not (self.stages and can_prepare(self.stages[0])):
            return state
        started = self._call(0, lambda: self.stages[0].start(spec, first))
        return (replace(state[0], phase="running", state=started), *state[1:])

    @property
    def prepares(self) -> bool:
        return any(map(can_prepare, self.stages))

    def prepare(self, state: ChainState) -> Preparation | None:
        """Make one move of the first stage that has work before its next frame; None: none has."""
        for k, (stage, own) in enumerate(zip(self.stages, state, strict=True)):
            if own.phase != "running" or not can_prepare(stage):
                continue
            made = self._call(k, partial(prepare_stage, stage, own.state))
            if made is not None and made.state is own.state:
                return replace(made, state=state, stage=self.names[k])
            if made is not None:
                after = replace(own, state=made.state)
                return replace(
                    made, state=(*state[:k], after, *state[k + 1 :]), stage=self.names[k]
                )
        return None

    def step(self, state: ChainState, frames: Sequence[Frame]) -> tuple[ChainState, list[Frame]]:
        return self._feed(state, frames, 0)

    def finish(self, state: ChainState) -> tuple[ChainState | None, list[Frame]]:
        """Do one move: the first stage that is not done runs a last batch, or finishes."""
        k = next((k for k, own in enumerate(state) if own.phase != "done"), len(state))
        if k == len(state):
            return None, []
        own = state[k]
        if own.queue:
            size = min(len(own.queue), self._next_batch_size(k, own.queue[0]))
            own, outputs = self._run_batch(k, own, size)
        elif own.phase == "waiting":
            own, outputs = replace(own, phase="done"), []
        else:
            inner, outputs = self._call(k, lambda: self.stages[k].finish(own.state))
            ended = inner is None
            own = replace(own, state=() if ended else inner)
            own = replace(own, phase="done") if ended else own
        rest, outputs = self._feed(state, outputs, k + 1)
        return (*state[:k], own, *rest[k + 1 :]), outputs

    def halve_batch(self, stage: int) -> "Chain":
        """Return the chain with half the batch at one stage. Raises OutOfMemory at one frame."""
        if self.batches[stage] == 1:
            advice = "use a smaller video, or options that need less memory (--dtype, --tile)"
            if can_prepare(self.stages[stage]):  # perhaps for hours: a resumable run stored that
                advice = ("what it made so far is stored: free memory, such as by closing other "
                          "programs, and run the same command again, which resumes")  # fmt: skip
            raise OutOfMemory(stage, 1, f"{self.names[stage]} has no smaller batch: {advice}")
        halved = (size // 2 if k == stage else size for k, size in enumerate(self.batches))
        return replace(self, batches=tuple(halved))

    def _feed(
        self, state: ChainState, frames: Iterable[Frame], first: int
    ) -> tuple[ChainState, list[Frame]]:
        """Feed frames to stage `first`; each batch's output reaches the end before the next."""
        if first == len(state):
            return state, list(frames)
        own = replace(state[first], queue=(*state[first].queue, *frames))
        results: list[Frame] = []
        while own.queue and len(own.queue) >= (size := self._next_batch_size(first, own.queue[0])):
            own, outputs = self._run_batch(first, own, size)
            state, outputs = self._feed(state, outputs, first + 1)
            results += outputs
        return (*state[:first], own, *state[first + 1 :]), results

    def _next_batch_size(self, k: int, first: Frame) -> int:
        return self.batches[k] - first.index % self.batches[k]

    def _run_batch(self, k: int, own: StageState, size: int) -> tuple[StageState, list[Frame]]:
        stage, frames = self.stages[k], own.queue[:size]
        if own.phase == "waiting":
            started = self._call(k, lambda: stage.start(own.spec, frames[0].position))
            own = replace(own, phase="running", state=started)
        state, outputs = self._call(k, lambda: stage.step(own.state, frames), size)
        return replace(own, state=state, queue=own.queue[size:]), outputs

    def _call(self, k: int, verb: Callable[[], R], frames: int = 0) -> R:
        """Call a stage, measure its time, and raise OutOfMemory for any out-of-memory error.

        The only place that calls a stage.
        """
        try:
            with self.clock.busy(self.names[k], frames), fix_torch_settings():
                return verb()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            # An inner chain counts its own stages: here the stage that failed is k.
            message = error.why if isinstance(error, OutOfMemory) else str(error)
            why = message.partition("\n")[0]
        # Outside of the handler, whose traceback keeps the failed tensors alive.
        release_cached_memory()
        raise OutOfMemory(k, max(1, frames), why)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error is out-of-memory: of Python, OpenCV, torch, its libraries, a chain."""
    return (
        isinstance(error, MemoryError | OutOfMemory)
        or type(error).__name__ == "OutOfMemoryError"  # of torch, which is not loaded for it
        or getattr(error, "code", 0) == _OPENCV_NO_MEMORY
        or (isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(str(error))))
    )
