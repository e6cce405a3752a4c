"""The task `upscale`: every frame two or four times as wide and high, at the same times."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from filmgate.core.adapters import each
from filmgate.core.frame import EXTRAS, Frame, StreamSpec
from filmgate.core.job import Task
from filmgate.core.model_cache import ModelCache
from filmgate.core.stage import AnyStage, Stage
from filmgate.core.wrappers.model_stage import CHECKS, ModelStage
from filmgate.errors import BadOutput, BadSetting, StageContractError
from filmgate.media.pixels.color_tags import resize_color_tags
from filmgate.media.pixels.planes import Planes
from filmgate.models.compiling.shapes import FixedShapes
from filmgate.models.contracts import BatchUpscaler, Family, ImageUpscaler, MemoryPrediction
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
        self.check_model()
        scales = self.find_model(self.model).scales
        if self.scale < 1 or (scales and self.scale not in scales):
            wanted = " or ".join(map(str, scales)) or "1 or more, such as 2"
            raise BadSetting(f"scale is {self.scale}: pass {wanted}, which the model {self.model} "
                             "has")  # fmt: skip

    @property
    def time_scale(self) -> Fraction:
        return Fraction(1)

    @classmethod
    def supports(cls, family: Family) -> bool:
        """Return whether the family upscales."""
        return family.build_upscaler is not None

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[AnyStage, ...]:
        """Return the model's stage, or its function applied to each image; then `steady`."""
        from filmgate.flow.shot_detection import detect_shots
        from filmgate.flow.temporal_blend import Steady
        from filmgate.media.pixels.rgb import set_color_tags

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

    def describe_output(self, spec: StreamSpec) -> StreamSpec:
        """Return the stream that comes out: of the other size, in the same colours."""
        width, height = spec.width * self.scale, spec.height * self.scale
        colour = resize_color_tags(spec, width, height)
        return replace(spec, width=width, height=height, colour=colour)

    def predict_memory(self, spec: StreamSpec) -> tuple[MemoryPrediction, ...]:
        """Predict the model's memory on a GPU, without weights; empty if unknown."""
        return predict_memory(self.model, spec, self.scale, self.options)

    def fix_shapes(self, frame: tuple[int, int] | None) -> FixedShapes:
        """See `ModelTask.fix_shapes`."""
        return FixedShapes(frame=frame, scale=self.scale)

    def timeline(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the frames: indexes and times are those of the source."""
        yield from frames


def make_stage(function: ImageUpscaler, scale: int) -> AnyStage:
    """Return a stage of a function that enlarges one image `scale` times."""

    def enlarge(frames: Sequence[Frame]) -> list[Frame]:
        images = [frame.image for frame in frames]
        try:
            if isinstance(function, BatchUpscaler):
                results = list(function.upscale_batch(images))
            else:
                results = [function(image) for image in images]
        except FloatingPointError as error:
            at = frames[0].time
            raise BadOutput(f"upscale, from {float(at):.3f} s: {error}; try another --dtype",
                            "not finite", at) from error  # fmt: skip
        for image, result in zip(images, results, strict=True):
            _check_size(image, result, scale)
        pairs = zip(frames, results, strict=True)
        return [frame.with_image(result, keep=tuple(EXTRAS)) for frame, result in pairs]

    def output(spec: StreamSpec) -> StreamSpec:
        return replace(spec, width=spec.width * scale, height=spec.height * scale)

    return each(enlarge, name="upscale", output=output)


def _check_size(image: object, result: object, scale: int) -> None:
    """Raise StageContractError if the result is not `scale` times as wide and high."""
    if isinstance(image, Planes) and isinstance(result, Planes):
        wanted = image.size[0] * scale, image.size[1] * scale
        if result.size != wanted:
            raise StageContractError(
                f"the model made {result.size[0]}x{result.size[1]} of {image.size[0]}x"
                f"{image.size[1]} and scale is {scale}: pass the scale that the model has"
            )


def samples() -> tuple[Upscale, ...]:
    """Return one of each kind and of each family, for tests."""
    own = (Upscale(), Upscale(scale=4, steady=True))
    known = {sample.model for sample in own}
    families = [find_family(name) for name in list_upscalers() if name not in known]
    return own + tuple(
        Upscale(scale=(family.scales or (2,))[0], model=family.name, options=family.sample_options)
        for family in families
    )


TASK: type[Task] = Upscale
