"""The stage protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol, TypeVar, runtime_checkable

from filmgate.core.frame import Frame, Position, StreamSpec

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Reach:
    """Seconds of past and future input that one output needs; None if there is no known bound."""

    past: Fraction | None = Fraction(0)
    future: Fraction | None = Fraction(0)

    def __add__(self, other: "Reach") -> "Reach":
        """Return the reach of two stages in a row."""
        return Reach(_add(self.past, other.past), _add(self.future, other.future))


def _add(a: Fraction | None, b: Fraction | None) -> Fraction | None:
    return None if a is None or b is None else a + b


def frames_to_seconds(count: int, spec: StreamSpec) -> Fraction | None:
    """Return the duration of `count` frames; None if the rate varies and `count` is not 0."""
    if not count:
        return Fraction(0)
    return None if spec.rate is None else count / spec.rate


@runtime_checkable
class Stage(Protocol[S]):
    """One step of a chain: frames in, frames out, all memory of the stream in the state S.

    The stage holds weights and settings and is never modified. S is a plain, bounded value (see
    core/serialization.py) that is passed to `step` and returned from it, never changed in place.
    The adapters `each`, `windowed` and `blocks` make a stage from a pure function.
    """

    @property
    def name(self) -> str:
        """The name shown in plans, traces and errors."""
        ...

    def reach(self, spec: StreamSpec) -> Reach:
        """Return how much past and future one output needs, for the input stream `spec`."""
        ...

    def output(self, spec: StreamSpec) -> StreamSpec:
        """Return the format of the output, before the first frame: size, rate, pixel format."""
        ...

    def start(self, spec: StreamSpec, first: Position) -> S:
        """Return the state before the first frame, which is at `first`."""
        ...

    def step(self, state: S, frames: Sequence[Frame]) -> tuple[S, list[Frame]]:
        """Process the next frames; return the new state and the frames that are ready.

        A step that raises has no effect: the same state can be used again.
        """
        ...

    def finish(self, state: S) -> tuple[S | None, list[Frame]]:
        """Return frames that remain at the end; called again until the state is None."""
        ...


AnyStage = Stage[Any]


@dataclass(frozen=True)
class StageWrapper:
    """A stage that forwards everything to another one. Subclasses override what they change."""

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
