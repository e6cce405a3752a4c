"""Upscale: every frame two or four times as wide and high, at the same times."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from filmgate.core.adapters import each
from filmgate.core.frame import EXTRAS, Frame, StreamSpec
from filmgate.core.stage import AnyStage, Stage
from filmgate.core.wrappers.model_stage import CHECKS, ModelStage
from filmgate.errors import BadSetting
from filmgate.models.contracts import Dtype, Flow, Knobs, MemoryPrediction
from filmgate.models.registry import foreseen, upscaler, upscalers, weights_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Upscale:
    """Makes every frame larger: 2 or 4 times as wide and high."""

    scale: int = 2
    """How many times as wide and high: 2 or 4."""

    model: str = "compact"
    """Who draws the frames. compact is a small network for the CPU and needs no download."""

    steps: int | None = None
    """How many steps a frame is drawn in, where the model goes by steps. diffvsr: 4 without."""

    flow: Flow | None = None
    """Who finds motion for a model that wants it. diffvsr: raft_large without."""

    flow_weights: Path | None = None
    """Where the weights of that lie: a file, or a folder with it. Without: the models folder."""

    flow_scale: Fraction | int | None = None
    """The size of pictures on which that is found, beside the result: 1 (without), 1/2 ... 1/16."""

    steady: bool = False
    """Blend each frame with the one before it, moved along: less flicker, a little slower."""

    weights: Path | None = None
    """Where the model's weights lie: a file, or a folder with it. Without: the models folder, and
    for compact the package."""

    dtype: Dtype | None = None
    """The model's numbers. Without: float16 on a GPU, float32 elsewhere."""

    tile: int | None = None
    """Rows (image: sides of squares) that the model looks at at a time: 64, 128 ... Without: by its
    size."""

    def __post_init__(self) -> None:
        if self.scale < 1:
            raise BadSetting(f"scale is {self.scale}: wanted 2 or 4")
        assert self.knobs  # refuses what no network takes

    @property
    def stretch(self) -> Fraction:
        return Fraction(1)

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """The model's stage, or its function of a picture, frame by frame; then `steady`."""
        from filmgate.flow.shot_detection import cuts
        from filmgate.flow.temporal_blend import Steady
        from filmgate.media.pixels.rgb import named, resized

        made = upscaler(self.model, spec, self.scale, self.knobs)
        costly = ModelStage(
            made if isinstance(made, Stage) else drawn(made, self.scale),
            settings=f"{replace(self, weights=None, flow_weights=None)} {spec.seed}",
            weights=weights_hash(self.model, self.knobs),
            checks=CHECKS,
            called="upscale",
        )
        stages: tuple[AnyStage, ...] = (costly,)
        colour = resized(spec, spec.width * self.scale, spec.height * self.scale)
        if colour != spec.colour:
            stages = (named(colour), *stages)
        return (cuts(), *stages, Steady(cell=self.scale)) if self.steady else stages

    def foreseen(self, spec: StreamSpec) -> tuple[MemoryPrediction, ...]:
        """What the model would hold on a card, predicted without weights; empty: nobody can say."""
        return foreseen(self.model, spec, self.scale, self.knobs)

    @property
    def knobs(self) -> Knobs:
        """What it says of the network."""
        return Knobs(self.weights, self.dtype, self.tile, self.steps, self.flow,
                     self.flow_weights, self.flow_scale)  # fmt: skip

    def timeline(self, shown: Iterable[Frame]) -> Iterator[Frame]:
        """Numbers and times are those of the source."""
        yield from shown


def drawn(picture: Callable[[object], object], scale: int) -> AnyStage:
    """A stage of a function that makes one picture `scale` times as large."""

    def enlarge(frames: Sequence[Frame]) -> list[Frame]:
        return [frame.made(picture(frame.image), keep=tuple(EXTRAS)) for frame in frames]

    def output(spec: StreamSpec) -> StreamSpec:
        return replace(spec, width=spec.width * scale, height=spec.height * scale)

    return each(enlarge, name="upscale", output=output)


def samples() -> tuple[Upscale, ...]:
    """One of each kind and of each family, for trials."""
    led = Upscale(scale=4, model="diffvsr", steps=1, flow="dis", flow_scale=Fraction(1, 4))
    own = (Upscale(), Upscale(scale=4, steady=True), led)
    known = {sample.model for sample in own}
    return (*own, *(Upscale(model=name) for name in upscalers() if name not in known))
