"""The task `generate`: an image and words become a video."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, ClassVar, Literal

from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.core.job import SourceFile, Task
from filmgate.core.model_cache import ModelCache
from filmgate.core.stage import AnyStage
from filmgate.core.wrappers.model_stage import ModelStage
from filmgate.device.placement import Placement
from filmgate.errors import BadSetting, BadWeights, DoesNotFit
from filmgate.media.frame_counter import EMPTY, FrameCounter
from filmgate.media.images.image_file import ImageFile
from filmgate.media.rates import check_fraction
from filmgate.models.contracts import (
    Family,
    GeneratedVideo,
    GenerationPrediction,
    GenerationRequest,
)
from filmgate.models.registry import check_options, find_family
from filmgate.tasks.model_task import ModelTask
from filmgate.tasks.settings import FLAT
from filmgate.units import format_duration

_SIZE = re.compile(r"(\d{2,5})[xX×](\d{2,5})")
_MOST_STEPS, _MOST_TEXT, _MOST_SIDE = 1000, 10_000, 8192
_GUIDANCE = Fraction(1, 100), Fraction(100)
PIXELS = "yuv420p"
COLOUR = ColorTags(matrix="bt709", primaries="bt709", transfer="bt709", range="tv", siting="left")


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate(ModelTask):
    """Make a video of an image and words."""

    image: ImageFile | None = None
    """The image that the video begins with."""

    prompt: str = ""
    """What the video shows."""

    negative: str | None = None
    """What it must not show. Default: the text that was published with the model."""

    last: ImageFile | None = None
    """The image that the video ends with, for models that can (i2v-a14b)."""

    size: str | None = None
    """Width and height, such as 832x480. Default: the shape of the image, with as many pixels as
    the model was trained for. Sizes are rounded to what the model can do."""

    image_fit: Literal["crop", "pad"] = "crop"
    """How an image of another shape gets the size: crop its edges, or pad them with black."""

    steps: int | None = None
    """Steps of denoising. Default: as published with the model."""

    guidance: Fraction | int | None = None
    """How much the prompt counts; 1 takes half the time, for models that were distilled. Default:
    as published with the model."""

    low_guidance: Fraction | int | None = None
    """The same at low noise, for models with an expert for that. Default: that of guidance."""

    model: str = "wan22"
    """The model: a family (filmgate models lists all)."""

    options: Any = field(default=None, metadata=FLAT)
    """Options of the model's family. Default: the family's defaults."""

    device: str = "auto"
    """Where the model runs: auto (the GPU if there is one), cpu, cuda, cuda:1 or mps."""

    inputs: ClassVar[tuple[str, ...]] = ("image",)

    def __post_init__(self) -> None:
        self.check_model()
        parse_size(self.size)
        for name in ("prompt", "negative"):
            text = getattr(self, name) or ""
            if len(text) > _MOST_TEXT:
                raise BadSetting(f"{name} has {len(text)} characters: pass at most {_MOST_TEXT}")
        if self.steps is not None and not 1 <= self.steps <= _MOST_STEPS:
            raise BadSetting(f"steps is {self.steps}: pass 1 to {_MOST_STEPS}")
        for name in ("guidance", "low_guidance"):
            if (value := getattr(self, name)) is not None:
                exact = check_fraction(name, value, *_GUIDANCE)
                if exact != value:  # it was text
                    object.__setattr__(self, name, exact)

    @property
    def time_scale(self) -> Fraction:
        return Fraction(1)

    @classmethod
    def supports(cls, family: Family) -> bool:
        """Return whether the family generates video."""
        return family.build_generator is not None

    def make_source(
        self, frames: int | None = None, fps: Fraction | int | None = None
    ) -> FrameCounter:
        """Return the input of a job: how many frames, and how many a second; None: as published."""
        get_length = find_family(self.model).generated_length
        assert get_length is not None
        count, rate = get_length(self._get_options())
        return FrameCounter(frames=count if frames is None else frames,
                            fps=rate if fps is None else fps)  # fmt: skip

    def describe_video(
        self, frames: int | None = None, fps: Fraction | None = None
    ) -> GeneratedVideo:
        """Return what the model makes. Raises BadSetting, BadInput."""
        describe = find_family(self.model).describe_generation
        assert describe is not None
        return describe(self._make_request(frames, fps), self._get_options())

    def check_request(self) -> None:
        """Raise BadSetting if there is no image or no prompt."""
        if self.image is None:
            raise BadSetting("there is no image: pass the path of one that the video begins with")
        if not self.prompt.strip():
            raise BadSetting("there is no prompt: pass --prompt with what the video shows")

    def check_weights(self) -> None:
        """See `ModelTask.check_weights`."""
        self.check_request()
        list(self.find_weight_files())

    def check_job_weights(self, source: SourceFile) -> None:
        """Raise BadWeights if weights are missing, with the time that the job would take here."""
        try:
            self.check_weights()
        except BadWeights as error:
            if not isinstance(source, FrameCounter):
                raise
            try:
                took = describe_time(self.predict(source.frames, Fraction(source.fps)))
            except DoesNotFit as refusal:
                took = f"On this machine {refusal}"
            raise BadWeights(f"{error}. {took}") from error

    def predict(
        self, frames: int, fps: Fraction, placement: Placement | None = None
    ) -> GenerationPrediction:
        """Predict what generating takes, without weights. Default: on this machine.

        Raises BadSetting, and DoesNotFit if it does not fit the placement's budget.
        """
        predict = find_family(self.model).predict_generation
        assert predict is not None
        return predict(
            self._make_request(frames, fps), self._get_options(), placement or self.place(None)
        )

    def list_warnings(self, spec: StreamSpec) -> tuple[str, ...]:
        """Return what is not as it was asked for, for the stream `spec`."""
        return self.describe_video(spec.frames, spec.rate).notices

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[AnyStage, ...]:
        """Generate all frames, and convert each to planes as it is decoded."""
        from filmgate.media.pixels.rgb import convert_to_planes

        self.check_request()
        require_counter(spec)
        placement = self.place(models)
        build = find_family(self.model).build_generator
        assert build is not None
        request = self._make_request(spec.frames, spec.rate)
        model = ModelStage(
            build(request, spec.seed, self._get_options(), placement),
            settings=f"{self.describe_settings(placement)} {spec.seed}",
            checks=("finite",),
            label="generate",
            stores=False,
        )
        return (model, convert_to_planes(PIXELS, COLOUR))

    def describe_output(self, spec: StreamSpec) -> StreamSpec:
        """Return the stream that comes out."""
        require_counter(spec)
        video = self.describe_video(spec.frames, spec.rate)
        return replace(spec, width=video.width, height=video.height, frames=video.frames,
                       pixels=PIXELS, colour=COLOUR)  # fmt: skip

    def timeline(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the frames, and those that are made besides: their number is rounded up."""
        last = None
        for last in frames:
            yield last
        count = 0 if last is None else self.describe_video(last.index + 1).frames
        while last is not None and last.index + 1 < count:
            last = Frame(last.index + 1, last.end, last.duration, last.image)
            yield last

    def _get_options(self) -> Any:
        return check_options(self.model, self.options)

    def _make_request(self, frames: int | None, fps: Fraction | None) -> GenerationRequest:
        if self.image is None:
            raise BadSetting("there is no image: pass the path of one that the video begins with")
        guidance = [None if one is None else float(one)
                    for one in (self.guidance, self.low_guidance)]  # fmt: skip
        return GenerationRequest(
            image=self.image.read(),
            last=self.last.read() if self.last else None,
            prompt=self.prompt,
            negative=self.negative,
            frames=frames,
            fps=fps,
            steps=self.steps,
            guidance=(guidance[0], guidance[1]),
            size=parse_size(self.size),
            fit=self.image_fit,
        )


def require_counter(spec: StreamSpec) -> None:
    """Raise BadSetting unless the stream is of frames without images, of a known number."""
    if spec.pixels != EMPTY or not spec.frames or not spec.rate:
        raise BadSetting(f"generate makes its own frames, and its input is a video of {spec.width}x"
                         f"{spec.height}: pass FrameCounter(frames=81, fps=16), and put it first "
                         "of all tasks")  # fmt: skip


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Return the width and height that a text such as 832x480 means. Raises BadSetting."""
    if text is None:
        return None
    found = _SIZE.fullmatch(text)
    size = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(16 <= side <= _MOST_SIDE for side in size):
        raise BadSetting(f"size is {text!r:.60}, wanted width x height of 16 to {_MOST_SIDE} "
                         "pixels, such as 832x480")  # fmt: skip
    return size


def describe_time(prediction: GenerationPrediction) -> str:
    """Return a sentence about the time that generating would take."""
    if prediction.total_s is None or prediction.step_s is None:
        return "How long it would take here is not known: the speed of this device is unknown"
    hours, minutes = prediction.total_s / 3600, prediction.total_s / 60
    total = f"{hours:.1f} hours" if hours >= 1 else f"{minutes:.0f} minutes"
    return (f"Generating would take about {total} on this machine, "
            f"{format_duration(prediction.step_s)} a step (predicted)")  # fmt: skip


TASK: type[Task] = Generate
