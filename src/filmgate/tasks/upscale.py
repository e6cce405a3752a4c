"""The task `upscale`: every frame two or four times as wide and high, at the same times."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from filmgate.core.adapters import each
from filmgate.core.frame import EXTRAS, Frame, StreamSpec
from filmgate.core.model_cache import ModelCache
from filmgate.core.stage import AnyStage, Stage
from filmgate.core.wrappers.model_stage import CHECKS, ModelStage
from filmgate.errors import BadSetting
from filmgate.models.contracts import MemoryPrediction
from filmgate.models.registry import build_upscaler, find_family, list_upscalers, predict_memory
from filmgate.tasks.model_task import ModelTask
from filmgate.tasks.settings import FLAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Upscale(ModelTask):
    """Enlarge every frame: 2 or 4 times as wide and high."""

    scale: int = 2
    """Factor of width and height: 2 or 4."""

    model: str = "compact"
    """The model: a family (compact runs on the CPU without a download; filmgate models lists all),
    or, in job files and on the command line, a file of weights, whose tensors tell the family."""

    options: Any = field(default=None, metadata=FLAT)
    """Options of the model's family. Default: the family's defaults."""

    steady: bool = False
    """Blend each frame with the previous one, motion-compensated: less flicker, a bit slower."""

    device: str = "auto"
    """Where the model runs: auto (the GPU if there is one), cpu, cuda, cuda:1 or mps."""

    def __post_init__(self) -> None:
        if self.scale < 1:
            raise BadSetting(f"scale is {self.scale}: pass 2 or 4")
        self.check_model()

    @property
    def time_scale(self) -> Fraction:
        return Fraction(1)

    @classmethod
    def list_models(cls) -> tuple[str, ...]:
        """Return the names of the families that upscale."""
        return list_upscalers()

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[AnyStage, ...]:
        """Return the model's stage, or its function applied to each image; then `steady`."""
        from filmgate.flow.shot_detection import detect_shots
        from filmgate.flow.temporal_blend import Steady
        from filmgate.media.pixels.rgb import resize_color_tags, set_color_tags

        placement = self.place(models)
        model = build_upscaler(self.model, spec, self.scale, self.options, placement)
        stages: tuple[AnyStage, ...] = (
            ModelStage(
                model if isinstance(model, Stage) else make_stage(model, self.scale),
                settings=f"{self.describe_settings(placement)} {spec.seed}",
                weights=self.hash_weights(),
                checks=CHECKS,
                label="upscale",
            ),
        )
        colour = resize_color_tags(spec, spec.width * self.scale, spec.height * self.scale)
        if colour != spec.colour:
            stages = (set_color_tags(colour), *stages)
        return (detect_shots(), *stages, Steady(cell=self.scale)) if self.steady else stages

    def predict_memory(self, spec: StreamSpec) -> tuple[MemoryPrediction, ...]:
        """Predict the model's memory on a GPU, without weights; empty if unknown."""
        return predict_memory(self.model, spec, self.scale, self.options)

    def timeline(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the frames: indexes and times are those of the source."""
        yield from frames


def make_stage(function: Callable[[object], object], scale: int) -> AnyStage:
    """Return a stage of a function that enlarges one image `scale` times."""

    def enlarge(frames: Sequence[Frame]) -> list[Frame]:
        return [frame.with_image(function(frame.image), keep=tuple(EXTRAS)) for frame in frames]

    def output(spec: StreamSpec) -> StreamSpec:
        return replace(spec, width=spec.width * scale, height=spec.height * scale)

    return each(enlarge, name="upscale", output=output)


def samples() -> tuple[Upscale, ...]:
    """Return one of each kind and of each family, for tests."""
    own = (Upscale(), Upscale(scale=4, steady=True))
    known = {sample.model for sample in own}
    families = [find_family(name) for name in list_upscalers() if name not in known]
    return own + tuple(
        Upscale(scale=family.scales[0], model=family.name, options=family.sample_options)
        for family in families
    )
