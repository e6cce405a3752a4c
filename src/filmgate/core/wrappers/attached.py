"""A stage that learns something about each frame and attaches it; images stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.stage import StageWrapper
from filmgate.errors import StageContractError


@dataclass(frozen=True)
class AttachedStage(StageWrapper):
    """A stage whose results are only the extras `attaches`; it returns a frame for each at once,
    and none at the end.

    It sees frames one at a time, of what others attached only `sees`, and neither the job's seed
    nor the number of frames: stored results of it fit every job that reads the same frames.
    """

    attaches: tuple[str, ...] = ()
    sees: tuple[str, ...] = ()

    def output(self, spec: StreamSpec) -> StreamSpec:
        self.stage.output(spec)  # raises
        return spec

    def start(self, spec: StreamSpec, first: Position) -> Any:
        return self.stage.start(replace(spec, seed=0, frames=None), first)

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        outputs = []
        for frame in frames:
            state, found = self.stage.step(state, [self._strip(frame)])
            if len(found) != 1:
                raise StageContractError(f"{self.name} returned {len(found)} frames for one: a "
                                         "stage that attaches returns one each time")  # fmt: skip
            extras = found[0].extras
            outputs.append(
                frame.with_extras(**{key: extras[key] for key in self.attaches if key in extras})
            )
        return state, outputs

    def finish(self, state: Any) -> tuple[None, list[Frame]]:
        return None, []  # nothing is left, and a cache need not compute what it would be

    def _strip(self, frame: Frame) -> Frame:
        extras = {key: frame.extras[key] for key in self.sees if key in frame.extras}
        return replace(frame, extras=extras)
