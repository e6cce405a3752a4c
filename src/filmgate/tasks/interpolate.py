"""Interpolate: the frames between the frames, at exact times; or motion slowed down."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

from filmgate.core.adapters import UntilNext, Window, windowed
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.core.wrappers.model_stage import CHECKS, ModelStage
from filmgate.errors import BadOutput, BadSetting
from filmgate.models.contracts import Dtype, FrameInterpolator, Knobs
from filmgate.models.registry import interpolator, interpolators, weights_hash
from filmgate.tasks.output_times import Grid

PAUSE = 120  # more frames than this between two is a pause, held: they are all in memory at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpolate:
    """Makes the frames between the frames: a smoother film, or slower motion."""

    factor: Fraction | int | None = None
    """Frames out for one in, any fraction (2, 5/2, 1/2): output k stands at input k/factor.
    2 where neither factor nor fps nor slow is given."""

    fps: Fraction | int | None = None
    """Frames per second out, any fraction (60, 60000/1001): output k stands at time k/fps."""

    slow: Fraction | int = 1
    """How many times as long the film gets; without factor or fps its rate stays."""

    sound: Literal["stretch", "drop"] = "stretch"
    """With slow: stretch the sound without changing its pitch, or leave it out."""

    ends: Literal["hold", "drop"] = "hold"
    """The last frame has no next: hold it for its whole time, or drop what only repeats it."""

    model: str = "dis"
    """Who draws the frames. dis is optical flow on the CPU and needs no download. For flags and
    job files a file of weights, which tells by its tensors whose it is, will do."""

    weights: Path | None = None
    """Where the model's weights lie: a file, or a folder with it. Without: the models folder."""

    dtype: Dtype | None = None
    """The model's numbers. Without: float16 on a GPU, float32 elsewhere."""

    tile: int | None = None
    """Rows of the picture that the model looks at at a time: 64, 128 ... Without: by its size."""

    def __post_init__(self) -> None:
        for name in ("factor", "fps", "slow"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise BadSetting(f"{name} is {value}: wanted more than 0, such as 2 or 5/2")
        if self.factor is not None and self.fps is not None:
            raise BadSetting(f"factor is {self.factor} and fps is {self.fps}: both say how many "
                             "frames to make, so give one of them")  # fmt: skip
        assert self.knobs  # refuses what no network takes

    @property
    def stretch(self) -> Fraction | None:
        return None if self.slow != 1 and self.sound == "drop" else Fraction(self.slow)

    @property
    def grid(self) -> "Grid":
        """Where the frames of the result stand."""
        if self.fps is not None:
            return Grid(fps=Fraction(self.fps), slow=Fraction(self.slow))
        factor = self.factor or (self.slow if self.slow != 1 else 2)
        return Grid(factor=Fraction(factor), slow=Fraction(self.slow))

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """Cuts are looked for, frames drawn between, and each made to last until the next."""
        from filmgate.flow.shot_detection import cuts

        draw = Draw(self.grid, self.ends == "drop", interpolator(self.model, spec, self.knobs))
        between = windowed(
            draw, 0, 1, name="interpolate", output=self.grid.output, first=self.grid.first
        )
        learned = weights_hash(self.model, self.knobs)
        costly = ModelStage(
            between,
            settings=repr(replace(self, weights=None)),
            weights=learned,
            checks=CHECKS if learned else (),
            stretch=Fraction(self.slow),
        )
        return (cuts(), costly, UntilNext())

    @property
    def knobs(self) -> Knobs:
        """What it says of the network."""
        return Knobs(self.weights, self.dtype, self.tile)

    def timeline(self, shown: Iterable[Frame]) -> Iterator[Frame]:
        """Numbers and times of the result; pictures are those of the frames they come from."""
        number, waiting, frames = 0, list[Frame](), iter(shown)
        frame = next(frames, None)
        while frame is not None:
            following = next(frames, None)
            ended = following is None
            for place in self.grid.places(frame, ended, self.ends == "drop"):
                yield from (replace(f, duration=place.time - f.time) for f in waiting)
                waiting = [Frame(number, place.time, place.lasts, frame.image)]
                number += 1
            frame = following
        yield from (f for f in waiting if f.duration)


@dataclass(frozen=True, slots=True)
class Draw:
    """The function of a frame and its next: what stands between them."""

    grid: Grid
    drop: bool
    between: FrameInterpolator

    def __call__(self, windows: Sequence[Window]) -> list[list[Frame]]:
        return [self._one(window) for window in windows]

    def _one(self, window: Window) -> list[Frame]:
        frame, following = window.centre, window.frames[1]
        places = self.grid.places(frame, window.last, self.drop)
        parts = [place.part for place in places if place.part]
        if following is None or not parts or len(parts) > PAUSE:
            images = [frame.image] * len(places)
        else:
            try:
                drawn = iter(self.between(frame.image, following.image, parts))
            except FloatingPointError as error:
                raise BadOutput(f"interpolate, behind {float(frame.time):.3f} s: {error}; another "
                                 "--dtype may do", "not finite", frame.time) from error  # fmt: skip
            images = [next(drawn) if place.part else frame.image for place in places]
        return [
            frame.made(image, time=place.time, duration=place.lasts)
            for place, image in zip(places, images, strict=True)
        ]


def samples() -> tuple[Interpolate, ...]:
    """One of each kind and of each family, for trials."""
    kinds = (
        Interpolate(factor=2),
        Interpolate(factor=Fraction(5, 2), ends="drop"),
        Interpolate(factor=Fraction(2, 3)),
        Interpolate(fps=60),
        Interpolate(slow=3),
        Interpolate(fps=30, slow=Fraction(3, 2)),
    )
    return kinds + tuple(Interpolate(model=name) for name in interpolators())
