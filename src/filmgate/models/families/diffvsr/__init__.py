"""The family `diffvsr`: videos made four times as large by Stream-DiffVSR, frame after frame.

Shiu et al., "Stream-DiffVSR: Low-Latency Streamable Video Super-Resolution via Auto-Regressive
Diffusion", arXiv 2512.23709. UNPROVEN with published weights: they could not be downloaded where
this was written. On weights made by rule, the results match those recorded from the published code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from filmgate.core.frame import StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.device.placement import Dtype, Placement
from filmgate.errors import BadSetting
from filmgate.media.settings import check_settings
from filmgate.models.contracts import Family, MemoryPrediction
from filmgate.models.families.diffvsr.published import REPOSITORY, explain_missing
from filmgate.models.families.raft import RaftOptions
from filmgate.models.registry import find_flow_files
from filmgate.weights.store import WeightsStore

SCALE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffVsrOptions:
    """Options of the family `diffvsr`."""

    weights: Path | None = None
    """A folder of weights in the published layout. Default: the models folder."""

    dtype: Dtype | None = None
    """The model's dtype. Default: float16 on a GPU, float32 on the CPU."""

    steps: int = 4
    """Denoising steps per frame."""

    flow: Literal["raft_large", "raft_small", "dis"] = "raft_large"
    """Optical flow model; dis runs on the CPU and needs no download."""

    flow_weights: Path | None = None
    """The flow model's weights: a file, or a folder with it. Default: the models folder."""

    flow_scale: Fraction | int = 1
    """Size of the images on which flow is estimated, relative to the result: 1, 1/2 ... 1/16."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.flow == "dis" and self.flow_weights is not None:
            raise BadSetting(f"flow_weights is {self.flow_weights}, and dis has none: omit it")
        if not Fraction(1, 16) <= self.flow_scale <= 1:
            raise BadSetting(f"flow_scale is {self.flow_scale}: pass 1 to 1/16")

    @property
    def flow_options(self) -> RaftOptions | None:
        """The options of the flow model."""
        return None if self.flow == "dis" else RaftOptions(weights=self.flow_weights)

    @property
    def folder(self) -> Path:
        """The folder of weights."""
        return self.weights or WeightsStore.open_default().get_folder(REPOSITORY)


def build_upscaler(
    spec: StreamSpec, scale: int, options: DiffVsrOptions, placement: Placement
) -> AnyStage:
    """See `Family.build_upscaler`: a stage.

    By default flow is estimated as in training, by RAFT on images of the result's size.
    """
    from filmgate.core.chain import Chain
    from filmgate.media.pixels import rgb
    from filmgate.models.families.diffvsr.loading import list_files, open_networks
    from filmgate.models.families.diffvsr.schedule import Schedule
    from filmgate.models.families.diffvsr.stage import DiffVsr
    from filmgate.models.flow_model import Guide

    _check_stream(spec, scale)
    guide = Guide(
        model=options.flow,
        scale=SCALE * Fraction(options.flow_scale),
        occlusion=False,
        options=options.flow_options,
    )
    # errors that are quick to find are raised before gigabytes are read
    Schedule().list_levels(options.steps)
    if find_spec("diffusers") is None:
        raise BadSetting(f"the model diffvsr needs diffusers: {explain_missing()}")
    flow = guide.build(spec, placement)
    dtype = placement.choose_dtype(options.dtype)
    folder = options.folder
    nets, schedule = placement.load(open_networks, folder, dtype, files=list_files(folder))
    stage = DiffVsr(nets, schedule, options.steps, spec.seed)
    to_rgb = rgb.convert_to_rgb(device=placement.device)
    return Chain((*flow, to_rgb, stage, rgb.convert_to_planes(spec.pixels, spec.colour)))


def predict_memory(
    spec: StreamSpec, scale: int, options: DiffVsrOptions
) -> Iterator[MemoryPrediction]:
    """See `Family.predict_memory`: ours and the usual loop, by dtype, flow scale and batch."""
    import torch

    from filmgate.models.families.diffvsr import memory

    _check_stream(spec, scale)
    scales = {Fraction(options.flow_scale), *(Fraction(1, 1 << k) for k in range(4))}
    ordered = sorted(scales, reverse=True)
    for name in (options.dtype,) if options.dtype else ("float16", "float32"):
        dtype, size = getattr(torch, name), (spec.height, spec.width)
        yield from memory.predict_ours(size, dtype, options.flow, ordered)
        yield from memory.predict_plain(size, dtype, ordered, (1, 2, 4))


def list_weight_files(options: DiffVsrOptions) -> Iterator[Path]:
    """See `Family.weight_files`: the model's, then the flow model's."""
    from filmgate.models.families.diffvsr.loading import find_files

    yield from find_files(options.folder)
    yield from find_flow_files(options.flow, options.flow_options)


def _check_stream(spec: StreamSpec, scale: int) -> None:
    from filmgate.media.pixels import rgb

    if scale != SCALE:
        raise BadSetting(f"scale is {scale}, and the model diffvsr has {SCALE} only: pass "
                         f"--scale {SCALE}")  # fmt: skip
    rgb.convert_to_rgb().output(spec)  # raises for alpha and HDR before the first frame


FAMILY = Family(
    name="diffvsr",
    summary="Stream-DiffVSR, four times by diffusion. Unproven with published weights.",
    options=DiffVsrOptions,
    build_upscaler=build_upscaler,
    scales=(SCALE,),
    sample_options=DiffVsrOptions(steps=1, flow="dis", flow_scale=Fraction(1, 4)),
    predict_memory=predict_memory,
    repositories=(REPOSITORY,),
    weight_files=list_weight_files,
)
