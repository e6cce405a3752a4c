"""`Costly`: a stage whose results are worth keeping, and looking at; who builds the line may."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from filmgate.core.frame import Frame, Position, Spec
from filmgate.core.stage import AnyStage, Reach

CHECKS = ("finite", "black", "flashing", "frozen", "shuffled")  # what `guarded` looks for


@dataclass(frozen=True)
class Costly:
    """The stage itself, with what a wrapper has to know of it.

    `settings` and `weights` are all that its results follow from beside its frames (see `cached`);
    `checks` and `stretch` are for `guarded`: no checks where no network can go wrong.
    """

    stage: AnyStage
    settings: str
    weights: str = ""
    checks: tuple[str, ...] = ()
    stretch: Fraction = Fraction(1)

    @property
    def name(self) -> str:
        return self.stage.name

    def reach(self, spec: Spec) -> Reach:
        return self.stage.reach(spec)

    def output(self, spec: Spec) -> Spec:
        return self.stage.output(spec)

    def start(self, spec: Spec, first: Position) -> Any:
        return self.stage.start(spec, first)

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        return self.stage.step(state, frames)

    def finish(self, state: Any) -> tuple[Any, list[Frame]]:
        return self.stage.finish(state)
