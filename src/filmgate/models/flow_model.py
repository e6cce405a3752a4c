"""Which optical flow a model needs: a definition, from which stages are built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.model_cache import ModelCache
from filmgate.core.stage import AnyStage
from filmgate.core.wrappers.model_stage import ModelStage
from filmgate.device.placement import Placement, choose_device
from filmgate.errors import BadSetting
from filmgate.models.registry import (
    build_flow,
    check_options,
    find_flow_family,
    find_flow_files,
    list_flow_models,
)
from filmgate.weights.store import WeightsStore

if TYPE_CHECKING:
    from filmgate.flow.stage import Flow


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """Settings of optical flow, without weights. `build` returns the stages.

    `model`: one of `registry.list_flow_models`; dis is rough, fast and needs no download. `scale`:
    flow is estimated on images of 4 times to 1/16 of each side. `occlusion`: find what was hidden
    in the previous frame, which takes the flow in the other direction too. `options`: those of the
    model's family, None for its defaults. `device`: where `stages` runs it.
    """

    model: str = "raft_large"
    scale: Fraction | int = Fraction(1)
    occlusion: bool = True
    options: Any = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if not Fraction(1, 16) <= self.scale <= 4:
            raise BadSetting(f"the scale of flow is {self.scale}: pass 4 to 1/16")
        check_options(find_flow_family(self.model).name, self.options)

    def build_stage(self, placement: Placement) -> Flow:
        """Return the flow stage alone, for a chain that has detected shots. Raises BadWeights."""
        from filmgate.flow.stage import Flow

        estimator = build_flow(self.model, self.options, placement)
        return Flow(estimator, Fraction(self.scale), self.occlusion)

    def build(self, spec: StreamSpec, placement: Placement) -> tuple[AnyStage, ...]:
        """Return shot detection, then flow within each shot. Raises BadWeights, Unsupported."""
        from filmgate.flow.shot_detection import detect_shots

        flow, store = self.build_stage(placement), WeightsStore.open_default()
        flow.output(spec)
        weights = [store.sha256(file) for file in find_flow_files(self.model, self.options)]
        options = check_options(find_flow_family(self.model).name, self.options)
        values = [getattr(options, field.name) for field in fields(options)]
        settings = repr([self.model, self.scale, self.occlusion, placement.device,
                         *(value for value in values if not isinstance(value, Path))])  # fmt: skip
        return (detect_shots(), ModelStage(flow, settings=settings, weights=" ".join(weights)))

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[AnyStage, ...]:
        """Return the stages on `device`, as a task would. Raises UserError."""
        return self.build(spec, choose_device(self.device, models))

    def timeline(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Return the frames: none is added, dropped or moved."""
        return iter(frames)


def samples() -> tuple[Guide, ...]:
    """Return one of each flow model, for tests."""
    own = (Guide(model="dis"), Guide(model="dis", scale=Fraction(1, 2), occlusion=False))
    names = [name for name in list_flow_models() if name != "dis"]
    return own + tuple(
        Guide(model=name, options=find_flow_family(name).sample_options,
              scale=Fraction(1, 1 + 2 * (k % 2)), occlusion=k % 2 == 0)
        for k, name in enumerate(names)
    )  # fmt: skip
