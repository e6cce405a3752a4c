"""The family `dis`: frames between frames by optical flow on the CPU, without weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from filmgate.core.frame import StreamSpec
from filmgate.device.placement import Placement
from filmgate.models.contracts import Family, FrameInterpolator, NoOptions

if TYPE_CHECKING:
    from filmgate.flow.estimator import Estimator


def build_interpolator(
    spec: StreamSpec, options: NoOptions, placement: Placement
) -> FrameInterpolator:
    """See `Family.build_interpolator`."""
    from filmgate.models.families.dis.interpolator import DisInterpolator

    return DisInterpolator().interpolate


def build_flow(model: str, options: NoOptions, placement: Placement) -> Estimator:
    """See `Family.build_flow`."""
    from filmgate.flow.estimator import DisEstimator

    return DisEstimator()


FAMILY = Family(
    name="dis",
    summary="Optical flow on the CPU (dense inverse search). Needs no download.",
    uses_device=False,
    build_interpolator=build_interpolator,
    flow_models=("dis",),
    build_flow=build_flow,
)
