"""The task `interpolate`: frames between frames at exact times, or slow motion."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal

from filmgate.core.adapters import UntilNext, Window, windowed
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.job import Task
from filmgate.core.model_cache import ModelCache
from filmgate.core.stage import AnyStage, StageWrapper
from filmgate.core.wrappers.model_stage import CHECKS, ModelStage
from filmgate.errors import BadOutput, BadSetting
from filmgate.media.rates import check_fraction, check_rate
from filmgate.models.contracts import Family, FrameInterpolator, LowMemoryInterpolator
from filmgate.models.registry import build_interpolator, find_family, list_interpolators
from filmgate.tasks.model_task import ModelTask
from filmgate.tasks.output_times import Grid
from filmgate.tasks.settings import FLAT

# More outputs than this between two frames hold the first: they are all in memory at once.
MAX_OUTPUTS_BETWEEN = 120
_MIN_FACTOR, _MAX_FACTOR = Fraction(1, 10_000), Fraction(MAX_OUTPUTS_BETWEEN)
_MIN_SLOW, _MAX_SLOW = Fraction(1, 1000), Fraction(1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpolate(ModelTask):
    """Make frames between the frames: smoother video, or slow motion."""

    factor: Fraction | int | None = None
    """Output frames per input frame, any fraction (2, 5/2, 1/2): output k is at input k/factor.
    Default: 2, if neither fps nor slow is given."""

    fps: Fraction | int | None = None
    """Output frames per second, any fraction (60, 60000/1001): output k is at time k/fps. 59.94 is
    taken as 60000/1001, and so are other rates of NTSC."""

    slow: Fraction | int = 1
    """Slow motion: how many times as long the result is. The frame rate stays that of the input,
    unless factor or fps is given."""

    sound: Literal["stretch", "drop"] = "stretch"
    """With slow: stretch the audio without changing its pitch, or drop it."""

    ends: Literal["hold", "drop"] = "hold"
    """The last frame has no next one: hold it for its full duration, or drop the repeats."""

    model: str = "dis"
    """The model: a family (dis is optical flow on the CPU, without a download; filmgate models
    lists all), or, in job files and on the command line, a file of weights, whose tensors tell the
    family."""

    options: Any = field(default=None, metadata=FLAT)
    """Options of the model's family. Default: the family's defaults."""

    device: str = "auto"
    """Where the model runs: auto (the GPU if there is one), cpu, cuda, cuda:1 or mps."""

    def __post_init__(self) -> None:
        values: dict[str, Fraction] = {}
        if self.factor is not None:
            values["factor"] = check_fraction("factor", self.factor, _MIN_FACTOR, _MAX_FACTOR)
        if self.fps is not None:
            values["fps"] = check_rate("fps", self.fps)
        values["slow"] = check_fraction("slow", self.slow, _MIN_SLOW, _MAX_SLOW)
        for name, value in values.items():
            if getattr(self, name) != value:  # it was text, or the decimal form of a rate
                object.__setattr__(self, name, value)
        if self.factor is None and self.fps is None and self.slow > _MAX_FACTOR:
            raise BadSetting(
                f"slow is {self.slow}, which makes as many frames of each: wanted at most "
                f"{MAX_OUTPUTS_BETWEEN}, or pass --fps with it"
            )
        if self.factor is not None and self.fps is not None:
            raise BadSetting(f"factor is {self.factor} and fps is {self.fps}: both set the "
                             "number of frames, so pass one of them")  # fmt: skip
        self.check_model()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the settings do that is hardly wanted."""
        if self.factor == 1 and self.slow == 1:
            return ("factor is 1: the result has the frames of the input and no new ones",)
        return ()

    @property
    def time_scale(self) -> Fraction | None:
        return None if self.slow != 1 and self.sound == "drop" else Fraction(self.slow)

    @property
    def grid(self) -> "Grid":
        """The times of the output frames."""
        if self.fps is not None:
            return Grid(fps=Fraction(self.fps), slow=Fraction(self.slow))
        factor = self.factor or (self.slow if self.slow != 1 else 2)
        return Grid(factor=Fraction(factor), slow=Fraction(self.slow))

    @classmethod
    def supports(cls, family: Family) -> bool:
        """Return whether the family interpolates."""
        return family.build_interpolator is not None

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[AnyStage, ...]:
        """Detect shot boundaries, make frames between, and let each last until the next."""
        from filmgate.flow.shot_detection import detect_shots

        placement = self.place(models)
        model = build_interpolator(self.model, spec, self.options, placement)
        stage = build_stage(FillGap(self.grid, self.ends == "drop", model))
        weights = self.hash_weights()
        model_stage = ModelStage(
            stage,
            settings=self.describe_settings(placement),
            weights=weights,
            checks=CHECKS if weights else (),
            time_scale=Fraction(self.slow),
        )
        return (detect_shots(), model_stage, UntilNext())

    def describe_output(self, spec: StreamSpec) -> StreamSpec:
        """Return the stream that comes out: of the other rate."""
        return self.grid.describe_output(spec)

    def timeline(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield indexes and times of the result; each image is that of the frame before."""
        index, last, inputs = 0, list[Frame](), iter(frames)
        frame = next(inputs, None)
        while frame is not None:
            following = next(inputs, None)
            for output in self.grid.list_times(frame, following is None, self.ends == "drop"):
                yield from (replace(f, duration=output.time - f.time) for f in last)
                last = [Frame(index, output.time, output.duration, frame.image)]
                index += 1
            frame = following
        yield from (f for f in last if f.duration)


@dataclass(frozen=True, slots=True)
class FillGap:
    """The function of a frame and the next one: the outputs from one to the other."""

    grid: Grid
    drop: bool
    interpolate: FrameInterpolator

    def __call__(self, windows: Sequence[Window]) -> list[list[Frame]]:
        return [self._fill(window) for window in windows]

    def _fill(self, window: Window) -> list[Frame]:
        frame, following = window.centre, window.frames[1]
        outputs = self.grid.list_times(frame, window.last, self.drop)
        parts = [output.part for output in outputs if output.part]
        if following is None or not parts or len(parts) > MAX_OUTPUTS_BETWEEN:
            images = [frame.image] * len(outputs)
        else:
            try:
                new = iter(self.interpolate(frame.image, following.image, parts))
            except FloatingPointError as error:
                raise BadOutput(f"interpolate, after {float(frame.time):.3f} s: {error}; try "
                                "another --dtype", "not finite", frame.time) from error  # fmt: skip
            images = [next(new) if output.part else frame.image for output in outputs]
        return [  # a remark stays on the first of them
            frame.with_image(image, time=output.time, duration=output.duration,
                             keep=() if k else ("remark",))
            for k, (output, image) in enumerate(zip(outputs, images, strict=True))
        ]  # fmt: skip


@dataclass(frozen=True)
class FillGaps(StageWrapper):
    """The stage that makes the outputs between frames; `gap` is what it does between two."""

    gap: FillGap

    def low_memory(self) -> AnyStage:
        """Return the stage with the model's form of lower memory use, or itself."""
        model = self.gap.interpolate
        small = model.low_memory() if isinstance(model, LowMemoryInterpolator) else model
        return self if small is model else build_stage(replace(self.gap, interpolate=small))


def build_stage(gap: FillGap) -> FillGaps:
    """Return the stage that applies `gap` to each frame and the next one."""
    grid = gap.grid
    stage = windowed(gap, 0, 1, name="interpolate", output=grid.describe_output,
                     first_index=grid.first_index)  # fmt: skip
    return FillGaps(stage, gap)


def samples() -> tuple[Interpolate, ...]:
    """Return one of each kind and of each family, for tests."""
    kinds = (
        Interpolate(factor=2),
        Interpolate(factor=Fraction(5, 2), ends="drop"),
        Interpolate(factor=Fraction(2, 3)),
        Interpolate(fps=60),
        Interpolate(slow=3),
        Interpolate(fps=30, slow=Fraction(3, 2)),
    )
    families = map(find_family, list_interpolators())
    return kinds + tuple(
        Interpolate(model=family.name, options=family.sample_options) for family in families
    )


TASK: type[Task] = Interpolate
