"""The family `raft`: dense optical flow by a network; its weights are a download.

Teed & Deng, ECCV 2020. Takes torchvision's published files. UNPROVEN with them: they could not be
downloaded where this was written. On equal weights the flow is torchvision's within 1e-4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filmgate.device.placement import Placement
from filmgate.errors import BadSetting
from filmgate.media.settings import check_settings
from filmgate.models.contracts import Family
from filmgate.weights.definitions import Weights
from filmgate.weights.store import WeightsStore

if TYPE_CHECKING:
    from filmgate.models.families.raft.estimator import RaftEstimator


def _describe(name: str, file: str, size_mib: float) -> Weights:
    """The size is known to a thousandth of a MiB; the file name ends with digits of the sha256."""
    return Weights(
        name=name,
        family="raft",
        file=file,
        size_bytes=round(size_mib * (1 << 20)),
        size_tolerance=(1 << 20) // 1000,
        sha256=file.removesuffix(".pth").rpartition("-")[2],
        licence="BSD-3-Clause",
        commercial=True,
        flag="--flow-weights",
        url=f"https://download.pytorch.org/models/{file}",
    )


# Torchvision's own files, its defaults: trained from scratch by its authors.
WEIGHTS = (
    _describe("raft_large", "raft_large_C_T_SKHT_V2-ff5fadd5.pth", 20.129),
    _describe("raft_small", "raft_small_C_T_V2-01064c6d.pth", 3.821),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftOptions:
    """Options of the family `raft`."""

    weights: Path | None = None
    """A file of weights, or a folder with it. Default: the models folder."""

    updates: int = 12
    """Steps of refinement; the published evaluations use 12."""

    volume: bool | None = None
    """Correlate all pairs of positions in advance, or look up what is needed, in less memory and
    more time. Default: by their size."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.updates < 1:
            raise BadSetting(f"updates is {self.updates}: pass 1 or more")


def build_flow(model: str, options: RaftOptions, placement: Placement) -> RaftEstimator:
    """See `Family.build_flow`: float16 on a GPU, float32 on the CPU; flow is float32."""
    from filmgate.models.families.raft.estimator import RaftEstimator, open_network

    file = WeightsStore.open_default().verify(_find_weights(model), options.weights)
    network = placement.load(open_network, file, placement.choose_dtype())
    return RaftEstimator(network, options.updates, options.volume)


def tensor_shapes(weights: Weights) -> Mapping[str, tuple[int, ...]]:
    """Return the tensors of the published network: 169 in the large one, 106 in the small."""
    from filmgate.models.families.raft.net import LARGE, SMALL, Raft
    from filmgate.weights.state_dict import list_shapes

    return list_shapes(Raft(LARGE if weights.name == "raft_large" else SMALL, "meta"))


def _find_weights(model: str) -> Weights:
    known = {weights.name: weights for weights in WEIGHTS}
    if model not in known:
        raise BadSetting(f"flow is {model!r}: pass one of {', '.join(known)}")
    return known[model]


FAMILY = Family(
    name="raft",
    summary="RAFT, optical flow for models that need it. Unproven with published weights.",
    options=RaftOptions,
    sample_options=RaftOptions(updates=1),
    flow_models=tuple(weights.name for weights in WEIGHTS),
    build_flow=build_flow,
    weights=WEIGHTS,
    tensor_shapes=tensor_shapes,
)
