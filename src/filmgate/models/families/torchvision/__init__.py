"""The family `torchvision`: people by torchvision's detection networks; weights are a download.

Ren et al., "Faster R-CNN", NeurIPS 2015; He et al., "Mask R-CNN", ICCV 2017 (its key points).
UNPROVEN with published weights: they could not be downloaded where this was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filmgate.device.placement import Placement
from filmgate.errors import BadSetting
from filmgate.installation import advise_install
from filmgate.media.settings import check_settings
from filmgate.models.contracts import Family
from filmgate.weights.definitions import Weights
from filmgate.weights.store import WeightsStore

if TYPE_CHECKING:
    from filmgate.models.families.torchvision.detector import TorchvisionDetector

Network = Literal[
    "fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_resnet50_fpn_v2", "keypointrcnn_resnet50_fpn"
]


def _describe(name: Network, file: str, size_mib: float) -> Weights:
    """The size is known to a thousandth of a MiB; the file name ends with digits of the sha256."""
    return Weights(
        name=name,
        family="torchvision",
        file=file,
        size_bytes=round(size_mib * (1 << 20)),
        size_tolerance=(1 << 20) // 1000,
        sha256=file.removesuffix(".pth").rpartition("-")[2],
        licence="BSD-3-Clause",
        commercial=True,
        url=f"https://download.pytorch.org/models/{file}",
    )


WEIGHTS = (
    _describe(
        "fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth",
        74.239,
    ),
    _describe(
        "fasterrcnn_resnet50_fpn_v2", "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth", 167.104
    ),
    _describe("keypointrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn_coco-fc266e95.pth", 226.054),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchvisionOptions:
    """Options of the family `torchvision`."""

    weights: Path | None = None
    """A file of weights, or a folder with it. Default: the models folder."""

    network: Network = "fasterrcnn_mobilenet_v3_large_fpn"
    """The network: mobilenet is the smallest, resnet50 finds more, and keypointrcnn adds 17 key
    points of each person."""

    def __post_init__(self) -> None:
        check_settings(self)


def build_detector(options: TorchvisionOptions, placement: Placement) -> TorchvisionDetector:
    """See `Family.build_detector`. Raises BadSetting without torchvision, BadWeights."""
    from importlib.util import find_spec

    if find_spec("torchvision") is None:
        raise BadSetting("the detector torchvision needs torchvision, which is not installed: run "
                         f"{advise_install('detection')}")  # fmt: skip
    from filmgate.models.families.torchvision.detector import TorchvisionDetector, open_network

    file = WeightsStore.open_default().verify(_find_weights(options.network), options.weights)
    network = placement.load(open_network, file, options.network)
    return TorchvisionDetector(network, placement.device)


def list_weight_files(options: TorchvisionOptions) -> Iterator[Path]:
    """See `Family.weight_files`."""
    yield WeightsStore.open_default().find(_find_weights(options.network), options.weights)


def tensor_shapes(weights: Weights) -> Mapping[str, tuple[int, ...]]:
    """Return the tensors of the published network."""
    import torch

    from filmgate.models.families.torchvision.detector import build_network
    from filmgate.weights.state_dict import list_shapes

    with torch.device("meta"):
        return list_shapes(build_network(weights.name))


def _find_weights(network: str) -> Weights:
    return next(weights for weights in WEIGHTS if weights.name == network)


FAMILY = Family(
    name="torchvision",
    summary="People by Faster R-CNN and key points. Unproven with published weights.",
    options=TorchvisionOptions,
    build_detector=build_detector,
    weights=WEIGHTS,
    weight_files=list_weight_files,
    tensor_shapes=tensor_shapes,
)
