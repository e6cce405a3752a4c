"""The family `latentsync`: lips that follow speech, by LatentSync 1.5 and 1.6.

Li et al., "LatentSync: Taming Audio-Conditioned Latent Diffusion Models for Lip Sync", arXiv
2412.09262. UNPROVEN with published weights: they could not be downloaded where this was written. On
weights made by rule, the results match those recorded from the published code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filmgate.core.frame import StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.device.placement import Dtype, Placement
from filmgate.errors import BadSetting
from filmgate.media.settings import check_settings
from filmgate.models.compiling.shapes import FixedShapes
from filmgate.models.contracts import Family, LipSyncRequest, LipSyncTiming, MemoryPrediction
from filmgate.models.families.latentsync.published import (
    SIDES,
    UNETS,
    VAE,
    WHISPER,
)
from filmgate.weights.definitions import Weights
from filmgate.weights.store import WeightsStore

if TYPE_CHECKING:
    import torch

    from filmgate.models.compiling.packages import CompiledNetwork
    from filmgate.models.diffusion.autoencoder import Autoencoder
    from filmgate.models.families.latentsync.compiled import CompiledDecoder, CompiledUNet
    from filmgate.models.families.latentsync.stages import Prepare
    from filmgate.models.families.latentsync.unet import UNet
    from filmgate.models.families.latentsync.whisper import WhisperEncoder

_CELL = 64  # sides of faces are multiples: three halvings of the latents, of 8 pixels each
_OVERLAP = 4  # see bench/lipsync_seams.py
_MOST_OVERLAP = 12  # of the 16 frames of a clip
_SETTLING = 25  # frames before the first one, in which the place of the face settles


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentSyncOptions:
    """Options of the family `latentsync`."""

    version: Literal["1.5", "1.6"] = "1.5"
    """Which weights: 1.5 for faces of 256 pixels, 1.6 for 512."""

    side: int | None = None
    """Width and height of a face to the network, in pixels. Default: 256 for 1.5, 512 for 1.6."""

    steps: int = 20
    """Denoising steps, 1 to 1000. Its authors use 20 to 50."""

    guidance: Fraction = Fraction(3, 2)
    """How closely lips follow the audio, 1 to 20. Its authors use 1 to 3; 1 takes half the time."""

    refresh: int = 3
    """Steps from one that runs the complete network to the next; between them only its outermost
    layers run (DeepCache). 1: the complete network on all steps."""

    overlap: int | None = None
    """Frames that a clip of 16 shares with the one before: 0 to 12. 8 take twice the time of 0.
    Default: 4; 0 with --as-upstream."""

    as_upstream: bool = False
    """As the published code does: hear audio in blocks that do not overlap, end with a short clip,
    and paste all of the crop around a face."""

    weights: Path | None = None
    """The file of weights, or a folder with all of them. Default: the models folder."""

    whisper: Path | None = None
    """The file of Whisper tiny. Default: in the folder of the weights."""

    vae: Path | None = None
    """The file of the autoencoder. Default: in the folder of the weights."""

    dtype: Dtype | None = None
    """The networks' dtype. Default: float16 on a GPU, float32 on the CPU."""

    compile: bool = False
    """Run UNet and decoder compiled for the size of a face: meant for GPUs. They are compiled once
    and kept; filmgate models build does that beforehand."""

    def __post_init__(self) -> None:
        check_settings(self)
        if not 1 <= self.steps <= 1000:
            raise BadSetting(f"steps is {self.steps}: pass 1 to 1000, such as 20")
        if not 1 <= self.guidance <= 20:
            raise BadSetting(f"guidance is {float(self.guidance):g}: pass 1 to 20, such as 1.5")
        if self.overlap is not None and not 0 <= self.overlap <= _MOST_OVERLAP:
            raise BadSetting(f"overlap is {self.overlap}: pass 0 to {_MOST_OVERLAP} frames")
        if self.refresh < 1:
            raise BadSetting(f"refresh is {self.refresh}: pass 1 or more steps")
        if self.side is not None and (self.side < _CELL or self.side % _CELL or self.side > 1024):
            raise BadSetting(f"side is {self.side}: pass a multiple of {_CELL}, at most 1024, such "
                             "as 256")  # fmt: skip

    @property
    def chosen_side(self) -> int:
        """Width and height of a face to the network, in pixels."""
        return self.side or SIDES[self.version]

    @property
    def chosen_overlap(self) -> int:
        """Frames that a clip shares with the one before."""
        return (0 if self.as_upstream else _OVERLAP) if self.overlap is None else self.overlap

    @property
    def files(self) -> tuple[tuple[Weights, Path | None], ...]:
        """The published files of UNet, Whisper and autoencoder, each with another place of it."""
        folder = self.weights if self.weights and not self.weights.is_file() else None
        return ((UNETS[self.version], self.weights), (WHISPER, self.whisper or folder),
                (VAE, self.vae or folder))  # fmt: skip


def build_lip_sync(
    spec: StreamSpec, request: LipSyncRequest, options: LatentSyncOptions, placement: Placement
) -> tuple[AnyStage, ...]:
    """See `Family.build_lip_sync`."""
    from filmgate.core.wrappers.model_stage import ModelStage
    from filmgate.flow.constant_rate import SkipFrames
    from filmgate.models.diffusion import weights_files
    from filmgate.models.families.latentsync import stages
    from filmgate.models.families.latentsync.alignment import Crop
    from filmgate.models.families.latentsync.covered import LeaveCovered
    from filmgate.models.families.latentsync.sampler import Sampler
    from filmgate.models.families.latentsync.speech import Listen, measure_speech

    stages.require_planes(spec)
    speech = measure_speech(request.audio) if request.audio else None
    store, dtype = WeightsStore.open_default(), placement.choose_dtype(options.dtype)
    paths = [store.verify(weights, place) for weights, place in options.files]
    crop = Crop(options.chosen_side)
    vae = placement.load(weights_files.open_autoencoder, paths[2], dtype)
    early = max(0, request.skip - _SETTLING) if request.finds_each else 0
    late = request.skip - early
    prepare = stages.Prepare(vae, crop, late)
    prepared = _build_prepare(request, options, placement, prepare)
    if speech is None:
        return (prepared,)
    unet, encoder, vae = _open_networks(paths, dtype, placement)
    compiled = _compile(unet, encoder, vae, options, placement)
    net, decoder = compiled if compiled else (unet, vae)
    sampler = Sampler(net, options.steps, float(options.guidance), options.refresh)
    sync = stages.SyncLips(
        sampler, decoder, crop, options.chosen_overlap, spec.seed, as_upstream=options.as_upstream
    )
    model = ModelStage(sync, settings="", checks=("finite", "black"), stores=False)
    before = (SkipFrames(early),) if early else ()
    after: tuple[AnyStage, ...] = (SkipFrames(late),) if late else ()
    if _finds_covered(request):
        after = (*after, LeaveCovered())
    return (*before, prepared, *after, Listen(encoder, speech, options.as_upstream), model)


def _finds_covered(request: LipSyncRequest) -> bool:
    """Return whether the finder tells where a mouth is covered, and that is asked for."""
    from filmgate.models.registry import find_family

    found = request.boxes is None and request.box is None and request.leave_covered
    return found and find_family(request.finder).covered_options is not None


def _compile(
    unet: UNet,
    encoder: WhisperEncoder,
    vae: Autoencoder,
    options: LatentSyncOptions,
    placement: Placement,
) -> tuple[CompiledUNet, CompiledDecoder] | None:
    """Return the networks with all packages that a run uses; None: as they are.

    With little memory the UNet has other shapes, and runs as it is.
    """
    if not options.compile:
        return None
    from filmgate.models.families.latentsync.compiled import CompiledDecoder, CompiledUNet
    from filmgate.models.families.latentsync.speech import AFTER, BEFORE
    from filmgate.models.families.latentsync.stages import LENGTH

    cell, tokens = options.chosen_side // 8, (BEFORE + AFTER) * (encoder.shape.layers + 1)
    net = CompiledUNet(unet, LENGTH, cell, tokens, placement.models)
    for complete in (True, False)[: 2 if min(options.refresh, options.steps) > 1 else 1]:
        net.open(complete=complete, silent=options.guidance > 1)
    return net, CompiledDecoder.open(vae, cell, placement.models)


def open_compiled(
    shapes: FixedShapes, options: LatentSyncOptions, placement: Placement
) -> Iterator[CompiledNetwork]:
    """See `Family.open_compiled`: all of the UNet, its outermost layers, the decoder."""
    from dataclasses import replace

    store, dtype = WeightsStore.open_default(), placement.choose_dtype(options.dtype)
    paths = [store.verify(weights, place) for weights, place in options.files]
    nets = _open_networks(paths, dtype, placement)
    compiled = _compile(*nets, replace(options, compile=True), placement)
    assert compiled is not None
    yield from (*compiled[0].opened.values(), compiled[1].network)


def _open_networks(
    paths: Sequence[Path], dtype: torch.dtype, placement: Placement
) -> tuple[UNet, WhisperEncoder, Autoencoder]:
    from filmgate.models.diffusion.weights_files import open_autoencoder
    from filmgate.models.families.latentsync.loading import open_unet, open_whisper

    unet = placement.load(open_unet, paths[0], dtype)
    encoder = placement.load(open_whisper, paths[1], dtype)
    if unet.shape.audio != encoder.shape.width:
        raise BadSetting(f"{paths[0]} hears {unet.shape.audio} numbers at a time, {paths[1]} makes "
                         f"{encoder.shape.width}: pass files that belong together")  # fmt: skip
    return unet, encoder, placement.load(open_autoencoder, paths[2], dtype)


def _build_prepare(
    request: LipSyncRequest, options: LatentSyncOptions, placement: Placement, prepare: Prepare
) -> AnyStage:
    """Return the stage that finds and encodes faces; stored results fit any speech."""
    from filmgate.core.chain import Chain
    from filmgate.core.join import SOURCE
    from filmgate.core.wrappers.attached import AttachedStage
    from filmgate.core.wrappers.model_stage import ModelStage
    from filmgate.models.families.latentsync.stages import FACE

    store = WeightsStore.open_default()
    weights, place = options.files[2]
    hashes = [store.sha256(store.find(weights, place)), request.hash]
    dtype = placement.choose_dtype(options.dtype)
    model = ModelStage(
        Chain((*_build_faces(request, placement), prepare)),
        settings=f"{request.settings} {options.chosen_side} {dtype} on {placement.device}"
        f"{f' from {prepare.first}' if prepare.first else ''}",
        weights=" ".join(hashes),
        label="faces",
    )
    return AttachedStage(model, attaches=(FACE,), sees=("cut", SOURCE))


def _build_faces(request: LipSyncRequest, placement: Placement) -> Iterator[AnyStage]:
    """Yield the stages that find the landmarks of the face."""
    from filmgate.core.adapters import each
    from filmgate.models.families.latentsync import faces
    from filmgate.models.registry import build_tracker, find_family

    if request.box is not None:
        yield faces.FollowBox(request.box)
    elif request.boxes is not None:
        from filmgate.media.records.box_reader import read_boxes

        yield each(faces.ReadFaces(read_boxes(request.boxes), request.face), name="boxes")
    else:
        finder = find_family(request.finder).covered_options if request.leave_covered else None
        yield build_tracker(request.finder, finder, placement)
        yield each(faces.ChooseFace(request.face), name="choose")


def time_lip_sync(audio: Path | None) -> LipSyncTiming:
    """See `Family.time_lip_sync`."""
    from filmgate.models.families.latentsync import speech

    frames = speech.measure_speech(audio).frames if audio else None
    return LipSyncTiming(fps=speech.FPS, frames=frames, key=speech.SECONDS, ahead=speech.AHEAD)


def measure_chin(options: LatentSyncOptions, points: Sequence[Sequence[float]]) -> float:
    """See `Family.measure_chin`."""
    from filmgate.models.families.latentsync import alignment, faces, mask

    landmarks, crop = faces.find_in_points(points), alignment.Crop(options.chosen_side)
    if landmarks is None or landmarks.chin is None:
        return 0.0
    matrix, _ = alignment.align(landmarks, (), crop)
    return alignment.find_height(landmarks.chin, matrix, crop) / mask.LOWEST


def predict_lip_sync(spec: StreamSpec, options: LatentSyncOptions) -> Iterator[MemoryPrediction]:
    """See `Family.predict_lip_sync`."""
    from filmgate.models.families.latentsync import memory

    for side in sorted({*SIDES.values(), options.chosen_side}):
        yield from memory.predict(side, options.dtype, float(options.guidance))


def list_weight_files(options: LatentSyncOptions) -> Iterator[Path]:
    """See `Family.weight_files`: of UNet, Whisper and autoencoder."""
    store = WeightsStore.open_default()
    for weights, place in options.files:
        yield store.find(weights, place)


def describe_tensors(weights: Weights) -> Mapping[str, tuple[int, ...]]:
    """See `Family.tensor_shapes`; of the UNet alone, since the other files hold more."""
    if weights not in UNETS.values():
        return {}
    import torch

    from filmgate.models.families.latentsync.unet import UNet
    from filmgate.weights.state_dict import list_shapes

    with torch.device("meta"):
        return list_shapes(UNet())


FAMILY = Family(
    name="latentsync",
    summary="Lips that follow speech, by diffusion. Unproven with published weights.",
    options=LatentSyncOptions,
    build_lip_sync=build_lip_sync,
    time_lip_sync=time_lip_sync,
    measure_chin=measure_chin,
    predict_lip_sync=predict_lip_sync,
    open_compiled=open_compiled,
    weights=(*UNETS.values(), WHISPER, VAE),
    tensor_shapes=describe_tensors,
    weight_files=list_weight_files,
)
