"""The family `personalive`: a portrait moved by a video of a driver, of any length.

Li et al., "PersonaLive! Expressive Portrait Image Animation for Live Streaming", CVPR 2026, arXiv
2512.11253. UNPROVEN with published weights: they could not be downloaded where this was written. On
weights made by rule, the results match those recorded from the published code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from filmgate.core.frame import StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.device.placement import Dtype, Placement
from filmgate.errors import BadSetting
from filmgate.media.settings import check_settings
from filmgate.models.compiling.shapes import FixedShapes
from filmgate.models.contracts import AnimationRequest, Family, MemoryPrediction
from filmgate.models.families.personalive.published import (
    REPOSITORIES,
    explain_missing,
    find_files,
)
from filmgate.weights.store import WeightsStore

if TYPE_CHECKING:
    from filmgate.models.compiling.packages import CompiledNetwork
    from filmgate.models.families.personalive.networks import Networks


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonaLiveOptions:
    """Options of the family `personalive`."""

    weights: Path | None = None
    """A folder of weights in the published layout. Default: personalive in the models folder."""

    dtype: Dtype | None = None
    """The model's dtype. Default: float16 on a GPU, float32 on the CPU."""

    compile: bool = False
    """Run UNet and decoder compiled for the size of the result: meant for GPUs. They are compiled
    once, the UNet for each number of keyframes, and kept; filmgate models build does that
    beforehand."""

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def folder(self) -> Path:
        """The folder of weights."""
        return self.weights or WeightsStore.open_default().path / "personalive"


def build_animator(
    spec: StreamSpec, request: AnimationRequest, options: PersonaLiveOptions, placement: Placement
) -> AnyStage:
    """See `Family.build_animator`: a stage of planes to planes."""
    from filmgate.models.families.personalive.stage import build_stage

    nets = _open_networks(options, placement)
    if options.compile:
        nets = _compile(nets, request.size, request.keyframes, placement)
    return build_stage(nets, spec, request)


def open_compiled(
    shapes: FixedShapes, options: PersonaLiveOptions, placement: Placement
) -> Iterator[CompiledNetwork]:
    """See `Family.open_compiled`: the UNet for each number of keyframes, and the decoder."""
    nets = _open_networks(options, placement)
    compiled = _compile(nets, shapes.size, shapes.keyframes, placement).compiled
    assert compiled is not None
    yield from (*compiled.denoisers, compiled.decoder)


def _open_networks(options: PersonaLiveOptions, placement: Placement) -> Networks:
    from filmgate.models.families.personalive.loading import open_networks
    from filmgate.weights.repository import verify_folder

    if find_spec("transformers") is None:
        raise BadSetting(f"the model personalive needs transformers: {explain_missing()}")
    files, store = tuple(list_weight_files(options)), WeightsStore.open_default()
    for repository in REPOSITORIES:
        verify_folder(repository, store, options.folder / repository.folder)
    dtype = placement.choose_dtype(options.dtype)
    return placement.load(open_networks, options.folder, dtype, files=files)


def _compile(nets: Networks, size: int, keyframes: int, placement: Placement) -> Networks:
    """Return the networks with their compiled form. Raises BadSetting."""
    from filmgate.models.families.personalive.animator import MOST_KEYFRAMES, WINDOW
    from filmgate.models.families.personalive.compiled import CompiledNetworks
    from filmgate.models.families.personalive.schedule import LEVELS

    stack, most = WINDOW * len(LEVELS), min(keyframes, MOST_KEYFRAMES)
    compiled = CompiledNetworks.open(nets.unet, nets.decoder, stack, size, most, placement.models)
    return replace(nets, compiled=compiled)


def predict_animation(
    spec: StreamSpec, size: int, keyframes: int, options: PersonaLiveOptions
) -> Iterator[MemoryPrediction]:
    """See `Family.predict_animation`: without keyframes and with them."""
    import torch

    from filmgate.models.families.personalive import memory

    dtype = getattr(torch, options.dtype or "float16")
    for count in sorted({0, keyframes}):
        yield memory.predict_ours(size, dtype, count)


def list_weight_files(options: PersonaLiveOptions) -> Iterator[Path]:
    """See `Family.weight_files`."""
    yield from find_files(options.folder)


FAMILY = Family(
    name="personalive",
    summary="A portrait moved by a video. Unproven with published weights.",
    options=PersonaLiveOptions,
    build_animator=build_animator,
    predict_animation=predict_animation,
    open_compiled=open_compiled,
    repositories=REPOSITORIES,
    needs_all_weights=True,
    weight_files=list_weight_files,
)
