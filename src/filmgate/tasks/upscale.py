"""Upscale: every frame two or four times as wide and high, at the same times."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from filmgate.core.costly import CHECKS, Costly
from filmgate.core.frame import EXTRAS, Frame, Spec
from filmgate.core.stage import AnyStage, Stage
from filmgate.core.windows import each
from filmgate.errors import BadSetting
from filmgate.models import Knobs, upscaler, upscalers, weights_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Upscale:
    """Makes every frame larger: 2 or 4 times as wide and high."""

    scale: int = 2
    """How many times as wide and high: 2 or 4."""

    model: str = "compact"
    """Who draws the frames. compact is a small network for the CPU and needs no download."""

    steady: bool = False
    """Blend each frame with the one before it, moved along: less flicker, a little slower."""

    weights: Path | None = None
    """Where the model's weights lie: a file, or a folder with it. Without: the models folder, and
    for compact the package."""

    def __post_init__(self) -> None:
        if self.scale < 1:
            raise BadSetting(f"scale is {self.scale}: wanted 2 or 4")

    @property
    def stretch(self) -> Fraction:
        return Fraction(1)

    def stages(self, spec: Spec) -> tuple[AnyStage, ...]:
        """The model's stage, or its function of a picture, frame by frame; then `steady`."""
        from filmgate.flow.cuts import cuts
        from filmgate.flow.steady import Steady
        from filmgate.media.colour import named, resized

        made = upscaler(self.model, spec, self.scale, Knobs(self.weights))
        costly = Costly(
            made if isinstance(made, Stage) else drawn(made, self.scale),
            settings=repr(replace(self, weights=None)),
            weights=weights_hash(self.model, self.weights),
            checks=CHECKS,
        )
        stages: tuple[AnyStage, ...] = (costly,)
        colour = resized(spec, spec.width * self.scale, spec.height * self.scale)
        if colour != spec.colour:
            stages = (named(colour), *stages)
        return (cuts(), *stages, Steady(cell=self.scale)) if self.steady else stages

    def timeline(self, shown: Iterable[Frame]) -> Iterator[Frame]:
        """Numbers and times are those of the source."""
        yield from shown


def drawn(picture: Callable[[object], object], scale: int) -> AnyStage:
    """A stage of a function that makes one picture `scale` times as large."""

    def enlarge(frames: Sequence[Frame]) -> list[Frame]:
        return [frame.made(picture(frame.image), keep=tuple(EXTRAS)) for frame in frames]

    def output(spec: Spec) -> Spec:
        return replace(spec, width=spec.width * scale, height=spec.height * scale)

    return each(enlarge, name="upscale", output=output)


def samples() -> tuple[Upscale, ...]:
    """One of each kind and of each family, for trials."""
    others = tuple(Upscale(model=name, scale=4) for name in upscalers() if name != "compact")
    return (Upscale(), Upscale(scale=4, steady=True), *others)
