"""The line: stages in a row are a stage. Batches, out-of-memory and stages' starts live here."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.instrumentation.timing import Clock
from filmgate.core.stage import AnyStage, Reach
from filmgate.errors import BadSetting, OutOfMemory

R = TypeVar("R")


Phase = Literal["waiting", "running", "done"]  # a stage waits until its first frame comes


@dataclass(frozen=True, slots=True)
class StageState:
    """What the chain remembers of one stage: its stream, its state, frames short of a batch."""

    spec: StreamSpec
    phase: Phase = "waiting"
    state: Any = ()
    queue: tuple[Frame, ...] = ()


ChainState = tuple[StageState, ...]


@dataclass(frozen=True)
class Chain:
    """Stages in a row; `batches[k]` frames go to stage k at a time, however they arrive.

    Batches lie on a grid anchored to the absolute index, so a network sees the same ones wherever
    the film is cut; sizes are powers of two, so a smaller batch keeps the grid. Chains given as
    stages are flattened, keeping their own batches. Raises `OutOfMemory`; then nothing happened.
    """

    stages: tuple[AnyStage, ...]
    batches: tuple[int, ...] = ()
    clock: Clock = field(default_factory=Clock, compare=False, repr=False)

    def __post_init__(self) -> None:
        batches = self.batches or (1,) * len(self.stages)
        if len(batches) != len(self.stages):
            raise BadSetting(
                f"the chain has {len(self.stages)} stages and the plan {len(batches)} batches: "
                "wanted one for each"
            )
        if any(size < 1 or size & (size - 1) for size in batches):
            raise BadSetting(f"batches are {batches}: wanted powers of two")
        flat: list[tuple[AnyStage, int]] = []
        stage: AnyStage | Chain
        for stage, size in zip(self.stages, batches, strict=True):
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
        """One for each stage, no two alike."""
        plain = [stage.name for stage in self.stages]
        return tuple(
            name if plain.count(name) == 1 else f"{name} {k + 1}" for k, name in enumerate(plain)
        )

    def specs(self, spec: StreamSpec) -> tuple[StreamSpec, ...]:
        """What goes into each stage, and last what comes out."""
        every = [spec]
        for stage in self.stages:
            every.append(stage.output(every[-1]))
        return tuple(every)

    def reach(self, spec: StreamSpec) -> Reach:
        pairs = zip(self.stages, self.specs(spec), strict=False)
        return sum((stage.reach(given) for stage, given in pairs), Reach())

    def output(self, spec: StreamSpec) -> StreamSpec:
        return self.specs(spec)[-1]

    def start(self, spec: StreamSpec, first: Position) -> ChainState:
        return tuple(StageState(given) for given in self.specs(spec)[:-1])

    def step(self, state: ChainState, frames: Sequence[Frame]) -> tuple[ChainState, list[Frame]]:
        return self._pour(state, frames, 0)

    def finish(self, state: ChainState) -> tuple[ChainState | None, list[Frame]]:
        """One move: the first stage that is not done gives a last short batch, or finishes."""
        k = next((k for k, link in enumerate(state) if link.phase != "done"), len(state))
        if k == len(state):
            return None, []
        link = state[k]
        if link.queue:
            size = min(len(link.queue), self._wanted(k, link.queue[0]))
            link, made = self._batch(k, link, size)
        elif link.phase == "waiting":
            link, made = replace(link, phase="done"), []
        else:
            inner, made = self._call(k, 1, lambda: self.stages[k].finish(link.state))
            ended = inner is None
            link = replace(link, state=() if ended else inner)
            link = replace(link, phase="done") if ended else link
        rest, made = self._pour(state, made, k + 1)
        return (*state[:k], link, *rest[k + 1 :]), made

    def smaller(self, stage: int) -> "Chain":
        """The same chain with half the batch at one stage. Raises OutOfMemory at one frame."""
        if self.batches[stage] == 1:
            raise OutOfMemory(stage, 1, f"{self.names[stage]} has no smaller batch")
        halved = (size // 2 if k == stage else size for k, size in enumerate(self.batches))
        return replace(self, batches=tuple(halved))

    def _pour(
        self, state: ChainState, frames: Iterable[Frame], first: int
    ) -> tuple[ChainState, list[Frame]]:
        """Frames into stage `first`; what it gives goes on to the end before its next batch."""
        if first == len(state):
            return state, list(frames)
        link = replace(state[first], queue=(*state[first].queue, *frames))
        out: list[Frame] = []
        while link.queue and len(link.queue) >= (size := self._wanted(first, link.queue[0])):
            link, made = self._batch(first, link, size)
            state, made = self._pour(state, made, first + 1)
            out += made
        return (*state[:first], link, *state[first + 1 :]), out

    def _wanted(self, k: int, first: Frame) -> int:
        return self.batches[k] - first.index % self.batches[k]

    def _batch(self, k: int, link: StageState, size: int) -> tuple[StageState, list[Frame]]:
        stage, frames = self.stages[k], link.queue[:size]
        if link.phase == "waiting":
            begun = self._call(k, 1, lambda: stage.start(link.spec, frames[0].position))
            link = replace(link, phase="running", state=begun)
        state, made = self._call(k, size, lambda: stage.step(link.state, frames))
        return replace(link, state=state, queue=link.queue[size:]), made

    def _call(self, k: int, size: int, verb: Callable[[], R]) -> R:
        """The one place where a stage is called: its time is counted, its hunger is named."""
        try:
            with self.clock.busy(self.names[k]):
                return verb()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            # of a line within a line: here it is this stage that did not fit
            said = error.why if isinstance(error, OutOfMemory) else str(error)
            why = said.partition("\n")[0]
        # Raised out here: the handler above keeps the failed tensors alive through its traceback.
        raise OutOfMemory(k, size, why)


def is_out_of_memory(error: Exception) -> bool:
    """Every kind: Python's, torch's on a device and on the CPU, OpenCV's (code -4), a chain's."""
    return (
        isinstance(error, MemoryError | OutOfMemory)
        or type(error).__name__ == "OutOfMemoryError"
        or getattr(error, "code", 0) == -4
        or "can't allocate memory" in str(error)
    )
