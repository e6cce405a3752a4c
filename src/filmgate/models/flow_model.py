"""A stage that tells of every frame where its pixels were in the frame before, and which were not.

Each frame is looked at once in the life of a film; what is known of the last one is the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.core.wrappers.model_stage import ModelStage
from filmgate.errors import BadSetting
from filmgate.flow.estimator import Dis
from filmgate.flow.shot_detection import cuts
from filmgate.flow.stage import Flow
from filmgate.models.families import raft
from filmgate.models.families.raft.net import UPDATES

MODELS = ("dis", *raft.MODELS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """Which flow is wanted: a definition, without weights. `stages` builds it."""

    model: str = "raft_large"
    """Who finds it: raft_large, raft_small, or dis, which is rough, quick and no download."""

    scale: Fraction | int = Fraction(1)
    """Flow is found on pictures of 4 times to 1/16 of each side."""

    occlusion: bool = True
    """Find what was hidden in the frame before; that takes the flow the other way too."""

    updates: int = UPDATES
    """Steps of RAFT. 12 are usual."""

    volume: bool | None = None
    """Correlate all pairs beforehand, or look up what is needed; None: by their size."""

    weights: Path | None = None
    """Where RAFT's weights lie: a file, or a folder with it. Without: the models folder."""

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise BadSetting(f"the flow is by {self.model!r}: wanted one of {', '.join(MODELS)}")
        if not Fraction(1, 16) <= self.scale <= 4:
            raise BadSetting(f"the flow's scale is {self.scale}: wanted 4 to 1/16")
        if self.updates < 1:
            raise BadSetting(f"updates is {self.updates}: wanted 1 or more")

    def stage(self) -> Flow:
        """The stage alone, for a line that has looked for cuts. Raises BadWeights."""
        if self.model == "dis":
            return Flow(Dis(), Fraction(self.scale), self.occlusion)
        found = raft.estimator(self.model, self.weights, self.updates, self.volume)
        return Flow(found, Fraction(self.scale), self.occlusion)

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """Cuts are looked for, then flow within each shot. Raises BadWeights, Unsupported."""
        flow, weights = self.stage(), ""
        flow.output(spec)
        if self.model != "dis":
            weights = raft.sha256(self.model, self.weights)
        return (
            cuts(),
            ModelStage(flow, settings=repr(replace(self, weights=None)), weights=weights),
        )

    def timeline(self, shown: Iterable[Frame]) -> Iterator[Frame]:
        """Frames stay when they are."""
        return iter(shown)


def samples() -> tuple[Guide, ...]:
    """One of each estimator, for trials."""
    return (
        Guide(model="dis"),
        Guide(model="dis", scale=Fraction(1, 2), occlusion=False),
        Guide(model="raft_large", updates=1),
        Guide(model="raft_small", scale=Fraction(1, 3), updates=1, occlusion=False, volume=False),
    )
