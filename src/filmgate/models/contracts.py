"""What a model family is: one typed value, and the types that it is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.device.placement import Placement
from filmgate.weights.definitions import Weights, WeightsRepository

if TYPE_CHECKING:
    from filmgate.flow.estimator import Estimator
    from filmgate.media.pixels.planes import Planes
    from filmgate.models.compiling.packages import CompiledNetwork
    from filmgate.models.compiling.shapes import FixedShapes
    from filmgate.models.people.association import PersonDetection, PersonDetector, PersonTracker


class FrameInterpolator(Protocol):
    """Return the images at `positions` (0 to 1, both excluded) of the way from `a` to `b`.

    Raises FloatingPointError for images that are not finite.
    """

    def __call__(
        self, a: object, b: object, positions: Sequence[Fraction], /
    ) -> Sequence[object]: ...


@runtime_checkable
class LowMemoryInterpolator(Protocol):
    """A FrameInterpolator that has a slower form with lower memory use."""

    def low_memory(self) -> FrameInterpolator:
        """Return that form, or itself if there is none; its last bits may differ."""
        ...


class ImageUpscaler(Protocol):
    """Return the image enlarged: planes to planes of the same format.

    Raises FloatingPointError for images that are not finite.
    """

    def __call__(self, image: object, /) -> object: ...


@runtime_checkable
class BatchUpscaler(Protocol):
    """An ImageUpscaler that takes several images at once."""

    def upscale_batch(self, images: Sequence[object]) -> Sequence[object]:
        """Return the images enlarged: planes to planes of the same format.

        Raises FloatingPointError for images that are not finite.
        """
        ...


class PersonPoses(Protocol):
    """Return the pose of the person in each box (left, top, right, bottom, in pixels), in order.

    Each is a dict of plain numbers and arrays of numpy, ready for a record. It depends on the image
    and its own box; the other boxes change the last digits at most (1e-4 in float32). Raises
    Unsupported for planes that cannot become RGB, BadInput for a box without area,
    FloatingPointError for results that are not finite.
    """

    def __call__(
        self, image: Planes, boxes: Sequence[tuple[float, float, float, float]], /
    ) -> list[dict[str, Any]]: ...


class PersonLooks(Protocol):
    """Return the detections of an image, with how each of them looks among its features.

    Raises Unsupported for planes that cannot become RGB, BadInput for values that do not fit.
    """

    def __call__(
        self, image: Planes, detections: Sequence[PersonDetection], /
    ) -> list[PersonDetection]: ...


@dataclass(frozen=True, slots=True)
class MemoryPrediction:
    """What a model would hold on a GPU: predicted from shapes, not measured.

    `way`: "ours", or "plain" for the usual loop. `batch`: frames at a time, None for any.
    `parts`: peak bytes while each part runs; each includes the weights. `option`: the option of
    the family that was varied, and its value.
    """

    way: str
    dtype: str
    batch: int | None
    parts: Mapping[str, int]
    option: tuple[str, Fraction] = ("", Fraction(1))

    @property
    def peak(self) -> int:
        """Bytes at most."""
        return max(self.parts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class LipSyncTiming:
    """What a model of lips makes of a speech: `frames` at `fps`, None without a speech.

    Each frame must have the extra `key`: the seconds of speech from its time on, `ahead` of them.
    """

    fps: Fraction
    frames: int | None
    key: str
    ahead: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class LipSyncRequest:
    """What a model of lips is asked for.

    `audio`: the file of speech, None to prepare the faces alone. The face is found by the family
    `finder`, whose weights have the hash `hash`, unless `boxes` is a file of boxes or `box` the one
    in the first frame: left, top, width and height in pixels. `face`: its number; None: the
    largest. The first `skip` frames are read to follow the face, and dropped. `leave_covered`:
    frames in which the mouth is covered stay as they are, if the finder can tell.
    """

    audio: Path | None
    finder: str
    boxes: Path | None = None
    box: tuple[float, float, float, float] | None = None
    face: int | None = None
    hash: str = ""
    skip: int = 0
    leave_covered: bool = True

    @property
    def settings(self) -> str:
        """All that affects which face is found where, without the content of files."""
        leave = " leave covered" if self.leave_covered else ""
        return f"{self.finder if self.boxes is None else ''} {self.box} {self.face}{leave}"

    @property
    def finds_each(self) -> bool:
        """Whether the face in a frame is found without those before it: neither followed, nor by a
        number that the finder counts."""
        return self.box is None and (self.boxes is not None or self.face is None)


Face = tuple[float, float, float, float]  # left, top, width and height of a box, in pixels
FindFace = Callable[[Frame], Face | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnimationRequest:
    """What a model that animates portraits is asked for.

    `portrait`: the image. `size`: pixels of a side of the result. `keyframes`: how many frames at
    most are remembered by their looks. `region`: left, top and side of the square of the portrait
    that moves, in pixels; None: the largest one in the middle. `paste_back`: the result is the
    complete portrait. `find_face` returns the driver's face in a frame, None if there is none. No
    `find_face`: the model finds it itself.
    """

    portrait: Planes
    size: int
    keyframes: int
    region: tuple[int, int, int] | None = None
    paste_back: bool = False
    find_face: FindFace | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """What a model that generates video is asked for; None: as it was published.

    `image`: what the video begins with, `last`: what it ends with. `guidance`: how much the prompt
    counts, at high noise and at low. `size`: width and height in pixels, `fit`: how images get it.
    """

    image: Planes
    last: Planes | None = None
    prompt: str = ""
    negative: str | None = None
    frames: int | None = None
    fps: Fraction | None = None
    steps: int | None = None
    guidance: tuple[float | None, float | None] = (None, None)
    size: tuple[int, int] | None = None
    fit: Literal["crop", "pad"] = "crop"


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedVideo:
    """The video that a model makes of a request. `notices`: what is not as it was asked for."""

    width: int
    height: int
    frames: int
    fps: Fraction
    steps: int
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationPrediction:
    """What generating takes under a budget, from shapes: predicted, not measured.

    `parts`: peak bytes on the device while each part runs. `placement`: where weights are, `reason`
    why. `step_s`, `total_s`: seconds of a step and of all, None if the speed is unknown.
    """

    budget: int | None
    parts: Mapping[str, int]
    placement: str
    reason: str
    step_s: float | None
    total_s: float | None


@runtime_checkable
class PredictsMemory(Protocol):
    """A task that can predict its memory on a GPU without weights."""

    def predict_memory(self, spec: StreamSpec) -> Sequence[MemoryPrediction]:
        """Return predictions for the stream `spec`, none if unknown. Raises UserError."""
        ...


@runtime_checkable
class DescribesOutput(Protocol):
    """A task that knows which stream it makes without its weights."""

    def describe_output(self, spec: StreamSpec) -> StreamSpec:
        """Return what the task makes of the stream `spec`, as its stages would."""
        ...


@dataclass(frozen=True, slots=True)
class ByHand:
    """Weights that the user gets and names with --weights: how, and under which licence."""

    how: str
    licence: str


@dataclass(frozen=True, slots=True)
class NoOptions:
    """The options of a family that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A model family: its name, what it can do, its options and its weights.

    A module of `filmgate.models.families`, or one that an entry point of the group
    `filmgate.models` names, holds it as FAMILY. Importing that module must be cheap: the
    functions import torch and the like when they are called.
    """

    name: str
    """What --model takes."""

    summary: str
    """One line for the help and `filmgate models`."""

    options: type[Any] = NoOptions
    """A frozen dataclass, every field with a default; its fields are the family's flags, and the
    text below each is its help. `weights: Path | None` is another place of the weights."""

    uses_device: bool = True
    """False: it runs on the CPU without torch, whatever --device says."""

    build_interpolator: Callable[[StreamSpec, Any, Placement], FrameInterpolator] | None = None
    """Given the stream and the options, return the function that makes frames between frames."""

    build_upscaler: Callable[[StreamSpec, int, Any, Placement], ImageUpscaler | AnyStage] | None = (
        None
    )
    """Given the stream, scale and options, return a function of one image, or a stage of planes
    to planes if the model has memory."""

    scales: tuple[int, ...] = ()
    """The scales that `build_upscaler` takes; empty if they depend on the weights. Tests use the
    first, or 2."""

    sample_options: Any = None
    """Options with which tests build the model."""

    predict_memory: Callable[[StreamSpec, int, Any], Iterable[MemoryPrediction]] | None = None
    """Given the stream, scale and options, predict the upscaler's memory on a GPU."""

    flow_models: tuple[str, ...] = ()
    """Names of the optical flow models that `build_flow` knows."""

    build_flow: Callable[[str, Any, Placement], Estimator] | None = None
    """Given one of `flow_models` and the options, return what estimates flow."""

    build_tracker: Callable[[Any, Placement], AnyStage] | None = None
    """Given the options, return a stage that adds records of people or faces to frames."""

    covered_options: Any = None
    """Options with which the records of that stage have `lip_spread`: how far apart the lips of a
    face are in several readings, in parts of the distance between its eyes. None: it cannot."""

    build_pose: Callable[[Any, Placement], PersonPoses] | None = None
    """Given the options, return the function that estimates the poses of people in boxes."""

    build_detector: Callable[[Any, Placement], PersonDetector] | None = None
    """Given the options, return what finds people in images."""

    tracker_only: tuple[str, ...] = ()
    """Names of the options that `build_tracker` takes and `build_detector` refuses."""

    build_person_tracker: Callable[[Any, Placement], PersonTracker[Any]] | None = None
    """Given the options, return what decides which detections are of the same person."""

    build_looks: Callable[[Any, PersonPoses | None, Placement], PersonLooks | None] | None = None
    """Given the tracker's options and what estimates poses, return what reads how people look;
    None if the tracker does not compare that, or something that it needs is not there."""

    explain_looks: Callable[[Any, Any], str] | None = None
    """Given the tracker's options and those of the pose model, return what is missing to compare
    how people look: "" if nothing is, or the options do not ask for it."""

    build_lip_sync: (
        Callable[[StreamSpec, LipSyncRequest, Any, Placement], tuple[AnyStage, ...]] | None
    ) = None
    """Given a stream of the right rate, what is asked for and the options, return its stages."""

    time_lip_sync: Callable[[Path | None], LipSyncTiming] | None = None
    """Given a file of speech, return how many frames it becomes, and what they need."""

    measure_chin: Callable[[Any, Sequence[Sequence[float]]], float] | None = None
    """Given the options and the points of a face, return how far down its chin is: 1 where what is
    generated ends, 0 if the points do not tell."""

    predict_lip_sync: Callable[[StreamSpec, Any], Iterable[MemoryPrediction]] | None = None
    """Given the stream and the options, predict the memory of those stages on a GPU."""

    build_animator: Callable[[StreamSpec, AnimationRequest, Any, Placement], AnyStage] | None = None
    """Given the stream of a driver, what is asked for and the options, return a stage of planes to
    planes that shows the portrait, moved like the driver."""

    predict_animation: Callable[[StreamSpec, int, int, Any], Iterable[MemoryPrediction]] | None = (
        None
    )
    """Given the stream, size, keyframes and options, predict the memory of that stage on a GPU."""

    generated_length: Callable[[Any], tuple[int, Fraction]] | None = None
    """Given the options, return how many frames, and how many a second, a generator makes unless
    it is asked for others."""

    describe_generation: Callable[[GenerationRequest, Any], GeneratedVideo] | None = None
    """Given what is asked for and the options, return the video that a generator makes of it."""

    build_generator: Callable[[GenerationRequest, int, Any, Placement], AnyStage] | None = None
    """Given what is asked for, the seed and the options, return a stage from frames without images
    to RGB tensors. It makes the frames that `describe_generation` says."""

    predict_generation: (
        Callable[[GenerationRequest, Any, Placement], GenerationPrediction] | None
    ) = None
    """Given what is asked for and the options, predict what that takes on the placement's device
    within its budget. No weights are needed."""

    open_compiled: Callable[[FixedShapes, Any, Placement], Iterable[CompiledNetwork]] | None = None
    """Given shapes and options, open the networks that the option `compile` has compiled."""

    weights: tuple[Weights, ...] = ()
    """Published files of weights."""

    needs_all_weights: bool = False
    """The model opens all of `weights`: they are downloaded together, by the family's name."""

    repositories: tuple[WeightsRepository, ...] = ()
    """Published folders of weights."""

    tensor_shapes: Callable[[Weights], Mapping[str, tuple[int, ...]]] | None = None
    """Return name and shape of the tensors that a published file must hold."""

    claims: Callable[[Mapping[str, Sequence[int]]], bool] | None = None
    """Return whether tensors of these names and shapes are this family's."""

    last_resort: bool = False
    """`claims` is asked only if no other family claims the tensors."""

    by_hand: ByHand | None = None
    """For weights that cannot be downloaded: how the user gets them."""

    weight_files: Callable[[Any], Iterable[Path]] | None = None
    """Given the options, return the files that affect results. Default: the published ones, and
    all safetensors at the option `weights`. Raises BadWeights if one is missing."""
