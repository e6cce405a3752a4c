"""The contract: what a stage is, and what one may rely on."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol, TypeVar, runtime_checkable

from filmgate.core.frame import Frame, Position, StreamSpec

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Reach:
    """Seconds of past and of future that one result needs; None: no bound that is known."""

    past: Fraction | None = Fraction(0)
    future: Fraction | None = Fraction(0)

    def __add__(self, other: "Reach") -> "Reach":
        """What two stages in a row need together."""
        return Reach(_sum(self.past, other.past), _sum(self.future, other.future))


def _sum(a: Fraction | None, b: Fraction | None) -> Fraction | None:
    return None if a is None or b is None else a + b


def frames_long(count: int, spec: StreamSpec) -> Fraction | None:
    """How long `count` frames are, in seconds; None where the rate varies and count is not 0."""
    if not count:
        return Fraction(0)
    return None if spec.rate is None else count / spec.rate


@runtime_checkable
class Stage(Protocol[S]):
    """Weights and settings, never written to. All memory of the stream is the state S.

    S is a plain, bounded value (see `core/store.py`): it goes into `step` and comes out of it, and
    nobody changes it. An adapter (`each`, `windowed`, `blocks`) makes a stage of a pure function.
    """

    @property
    def name(self) -> str:
        """What people call it, in plans, traces and errors."""
        ...

    def reach(self, spec: StreamSpec) -> Reach:
        """How far one result sees, for the stream `spec`."""
        ...

    def output(self, spec: StreamSpec) -> StreamSpec:
        """What comes out, known before frame one: twice the rate, four times the size."""
        ...

    def start(self, spec: StreamSpec, first: Position) -> S:
        """The state when its first frame arrives."""
        ...

    def step(self, state: S, frames: Sequence[Frame]) -> tuple[S, list[Frame]]:
        """Takes the next frames; gives what is ready. If it raises, nothing happened."""
        ...

    def finish(self, state: S) -> tuple[S | None, list[Frame]]:
        """The film ended. Called until the state is None, so the tail is as small as the rest."""
        ...


AnyStage = Stage[Any]


@dataclass(frozen=True)
class StageWrapper:
    """A stage around another, which it is in all that it does not say otherwise."""

    stage: AnyStage

    @property
    def name(self) -> str:
        return self.stage.name

    def reach(self, spec: StreamSpec) -> Reach:
        return self.stage.reach(spec)

    def output(self, spec: StreamSpec) -> StreamSpec:
        return self.stage.output(spec)

    def start(self, spec: StreamSpec, first: Position) -> Any:
        return self.stage.start(spec, first)

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        return self.stage.step(state, frames)

    def finish(self, state: Any) -> tuple[Any, list[Frame]]:
        return self.stage.finish(state)
