"""What Wan 2.2 makes of a request: size, frames and settings. No torch is needed for that."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filmgate.device.diagnosis import has_gpu
from filmgate.device.placement import Dtype, Placement
from filmgate.errors import BadSetting
from filmgate.media.pixels.planes import Planes
from filmgate.media.settings import check_settings
from filmgate.models.contracts import GeneratedVideo, GenerationPrediction, GenerationRequest
from filmgate.models.families.wan22.published import (
    REPOSITORIES,
    TI2V_5B,
    VARIANTS,
    Name,
    Variant,
)
from filmgate.weights.store import WeightsStore

if TYPE_CHECKING:
    from filmgate.models.families.wan22.loading import PartFiles
    from filmgate.models.families.wan22.placement import Prediction, WeightPlacement

OVERLAP = 5  # frames that a window shares with the one before; 1 more than a multiple of 4
# Pixels of a frame that the models were trained for.
_AREAS = {"ti2v-5b": 1280 * 704, "i2v-a14b": 832 * 480}
_MOST_FRAMES = 100_000
_MOST_STRENGTH = 10.0
_SMALL_PART = 0.005  # of a side; it is not worth a notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Wan22Options:
    """Options of the family `wan22`."""

    variant: Name | None = None
    """The model: ti2v-5b, or i2v-a14b with an expert for high noise and one for low. Default: that
    of the folder of weights, or ti2v-5b."""

    weights: Path | None = None
    """A folder of weights, as diffusers writes it. Default: in the models folder."""

    high: Path | None = None
    """The transformer, or the one of high noise: a file, safetensors or GGUF. Default: in the
    folder."""

    low: Path | None = None
    """The transformer of low noise: a file. Default: in the folder."""

    vae: Path | None = None
    """The autoencoder: a safetensors file. Default: in the folder."""

    text_encoder: Path | None = None
    """The encoder of prompts, UMT5-XXL: a file, safetensors or GGUF. Default: in the folder."""

    lora: Path | None = None
    """A LoRA; of i2v-a14b, that of the expert of high noise."""

    low_lora: Path | None = None
    """A LoRA of the expert of low noise."""

    lora_strength: float = 1.0
    """How strong LoRAs are."""

    keep: Literal["auto", "resident", "stream", "disk"] = "auto"
    """Where the transformer's weights are: on the device, in RAM and streamed block by block, or on
    disk. auto: by the memory that is free."""

    float8: bool = False
    """Keep large weights in 8 bits: half the memory; results change."""

    dtype: Dtype | None = None
    """The model's dtype. Default: bfloat16 on a GPU, float32 on the CPU."""

    def __post_init__(self) -> None:
        check_settings(self)
        if not -_MOST_STRENGTH <= self.lora_strength <= _MOST_STRENGTH:
            raise BadSetting(f"lora_strength is {self.lora_strength}: pass -{_MOST_STRENGTH:.0f} "
                             f"to {_MOST_STRENGTH:.0f}")  # fmt: skip

    @property
    def folder(self) -> Path:
        """The folder of weights."""
        repository = REPOSITORIES[self.variant or TI2V_5B.name]
        return self.weights or WeightsStore.open_default().get_folder(repository)

    @property
    def files(self) -> PartFiles:
        """Where the parts of the model are."""
        from filmgate.models.families.wan22.loading import PartFiles

        return PartFiles(folder=self.folder, high=self.high, low=self.low, vae=self.vae,
                         text_encoder=self.text_encoder, lora=self.lora, low_lora=self.low_lora,
                         lora_strength=self.lora_strength)  # fmt: skip

    def find_variant(self) -> Variant:
        """Return the model as the folder says, as published where it is missing.

        Raises BadWeights, and BadSetting for a folder of the other model.
        """
        from filmgate.models.families.wan22.loading import INDEX, find_variant

        if (self.folder / INDEX).exists():
            return find_variant(self.files, self.variant)
        return VARIANTS[self.variant or TI2V_5B.name]


@dataclass(frozen=True, slots=True)
class Window:
    """`frames` of a video from frame `start` on; all but the first window begin with OVERLAP
    frames of the one before."""

    start: int
    frames: int


def split_windows(frames: int, longest: int, multiple: int) -> tuple[Window, ...]:
    """Return windows of about equal length, `longest` at most, which are together the video.

    `frames` and `longest` are 1 more than a multiple of `multiple`, and so are all windows.
    """
    if frames <= longest:
        return (Window(0, frames),)
    count = -(-(frames - OVERLAP) // (longest - OVERLAP))
    stride = multiple * -(-(frames - OVERLAP) // (multiple * count))
    starts = range(0, frames - OVERLAP, stride)
    return tuple(Window(start, min(stride + OVERLAP, frames - start)) for start in starts)


def describe_video(request: GenerationRequest, variant: Variant) -> GeneratedVideo:
    """Return the video that the model makes. Raises BadSetting."""
    if request.last is not None and variant.replaces_first:
        raise BadSetting(f"there is a last image and the model is {variant.name}, which takes "
                         "none: omit it, or pass --variant i2v-a14b")  # fmt: skip
    if request.guidance[1] is not None and variant.experts == 1:
        raise BadSetting(f"low_guidance is {request.guidance[1]:g} and {variant.name} has one "
                         "transformer: omit it, or pass --variant i2v-a14b")  # fmt: skip
    width, height = size = choose_size(request, variant)
    wanted = variant.window if request.frames is None else request.frames
    if not 1 <= wanted <= _MOST_FRAMES:
        raise BadSetting(f"frames is {wanted}: pass 1 to {_MOST_FRAMES}")
    frames = round_frames(wanted, variant.temporal)
    if request.last is not None and frames == 1:
        raise BadSetting("frames is 1 and there is a last image: pass 5 frames or more")
    notices = [f"size is {request.size[0]}x{request.size[1]}, and the model takes multiples of "
               f"{variant.multiple}: the video is {width}x{height}"
               if request.size and request.size != size else ""]  # fmt: skip
    if frames != wanted:
        notices.append(f"frames is {wanted}, and the model makes 1 more than a multiple of "
                       f"{variant.temporal}: the video has {frames}")  # fmt: skip
    notices.append(explain_fit("the image", request.image, size, request.fit))
    if request.last is not None:
        notices.append(explain_fit("the last image", request.last, size, request.fit))
    windows = split_windows(frames, variant.window, variant.temporal)
    if len(windows) > 1:
        notices.append(
            f"{frames} frames are more than the {variant.window} that the model was trained on: "
            f"they are made in {len(windows)} windows, each begins with the last {OVERLAP} frames "
            "of the one before, and colours may drift"
        )
    return GeneratedVideo(
        width=width,
        height=height,
        frames=frames,
        fps=request.fps or variant.fps,
        steps=request.steps or variant.steps,
        notices=tuple(filter(None, notices)),
    )


def round_frames(frames: int, temporal: int) -> int:
    """Return the number of frames, rounded up to 1 more than a multiple of `temporal`."""
    return 1 + temporal * -(-(frames - 1) // temporal)


def choose_size(request: GenerationRequest, variant: Variant) -> tuple[int, int]:
    """Return width and height in multiples that the model takes.

    Without a size: in the shape of the image, with about as many pixels as it was trained for.
    """
    width: float
    height: float
    if request.size is not None:
        width, height = request.size
    else:
        across, down = request.image.size
        shape = min(max(across / down, 0.2), 5.0)
        width, height = sqrt(_AREAS[variant.name] * shape), sqrt(_AREAS[variant.name] / shape)
    multiple = variant.multiple
    return (max(1, round(width / multiple)) * multiple, max(1, round(height / multiple)) * multiple)


def choose_guidance(request: GenerationRequest, variant: Variant) -> tuple[float, float]:
    """Return the guidance at high noise and at low."""
    high, low = request.guidance
    published = variant.guidance[1] if high is None else high
    return (variant.guidance[0] if high is None else high, published if low is None else low)


def count_passes(guidance: tuple[float, float]) -> int:
    """Return the passes of a step: two with guidance, for the prompt and the negative one."""
    return 2 if guidance[0] > 1 else 1


def explain_fit(what: str, image: Planes, size: tuple[int, int], fit: str) -> str:
    """Return what is cut off an image, or added to it, to get the size; "" if that is nothing."""
    across, down = image.size
    width, height = size
    shapes = width / across, height / down
    part = 1 - min(shapes) / max(shapes)
    if part < _SMALL_PART:
        return ""
    is_wide = shapes[0] < shapes[1]  # the image is wider than the video
    if fit == "pad":
        done = f"{part:.0%} of the video's {'height' if is_wide else 'width'} is black"
    else:
        done = f"{part:.0%} of its {'width' if is_wide else 'height'} is cut off"
    return f"{what} is {across}x{down} and the video {width}x{height}: {done}"


def predict(request: GenerationRequest, options: Wan22Options, placement: Placement) -> Prediction:
    """Return where weights are kept, and what generating takes: see `placement.predict`."""
    from filmgate.models.families.wan22 import placement as weights
    from filmgate.models.families.wan22.loading import count_stored

    is_here = placement.device == "cpu" or has_gpu()
    variant = options.find_variant()
    video = describe_video(request, variant)
    windows = split_windows(video.frames, variant.window, variant.temporal)
    return weights.predict(
        variant,
        size=(video.width, video.height),
        frames=max(window.frames for window in windows),
        steps=video.steps * len(windows),
        passes=count_passes(choose_guidance(request, variant)),
        budget=None if placement.device == "cpu" else placement.budget_bytes,
        device=placement.device,
        dtype=options.dtype,
        speed=weights.measure_speed(placement.device) if is_here else None,
        stored=count_stored(options.files),
        ram=placement.memory_bytes,
        float8=options.float8,
        keep=options.keep,
    )


def predict_generation(
    request: GenerationRequest, options: Wan22Options, placement: Placement
) -> GenerationPrediction:
    """See `Family.predict_generation`."""
    made = predict(request, options, placement)
    return GenerationPrediction(
        budget=placement.budget_bytes,
        parts=made.parts,
        placement=describe_placement(made.placement),
        reason=made.reason,
        step_s=made.step_s,
        total_s=made.total_s,
    )


def describe_placement(placement: WeightPlacement) -> str:
    """Return where the weights of transformers are, in a few words."""
    bits = ", in 8 bits" if placement.float8 else ""
    if placement.keep == "resident":
        return f"resident{' together' if placement.together else ''}{bits}"
    home = "RAM" if placement.keep == "stream" else "disk"
    return f"{placement.resident_blocks} blocks resident, others from {home}{bits}"
