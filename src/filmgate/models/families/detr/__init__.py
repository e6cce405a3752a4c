"""The family `detr`: people by transformers' DETR, RT-DETR and D-FINE; weights are a download.

Zhao et al., "DETRs Beat YOLOs on Real-time Object Detection", CVPR 2024 (RT-DETR); Peng et al.,
"D-FINE", ICLR 2025. UNPROVEN with published weights: they could not be downloaded where this was
written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filmgate.device.placement import Dtype, Placement
from filmgate.media.settings import check_settings
from filmgate.models.contracts import Family
from filmgate.models.people.transformers_folder import (
    FILES,
    list_files,
    require_transformers,
)
from filmgate.weights.definitions import WeightsRepository
from filmgate.weights.store import WeightsStore

if TYPE_CHECKING:
    from filmgate.models.families.detr.detector import DetrDetector

REPOSITORY = WeightsRepository(
    name="rtdetr_r18vd",
    family="detr",
    hub="PekingU/rtdetr_r18vd",
    licence="Apache-2.0",
    commercial=True,
    wanted=FILES,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetrOptions:
    """Options of the family `detr`."""

    weights: Path | None = None
    """A folder as transformers writes it, of any network for object detection. Default: RT-DETR in
    the models folder."""

    dtype: Dtype | None = None
    """The network's dtype. Default: float32."""

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def folder(self) -> Path:
        """The folder of weights."""
        return self.weights or WeightsStore.open_default().get_folder(REPOSITORY)


def build_detector(options: DetrOptions, placement: Placement) -> DetrDetector:
    """See `Family.build_detector`. Raises BadSetting without transformers, BadWeights."""
    require_transformers("the detector detr")
    from filmgate.models.families.detr.detector import DetrDetector, open_network
    from filmgate.weights.repository import verify_folder

    files = list(list_weight_files(options))
    folder = verify_folder(REPOSITORY, WeightsStore.open_default(), options.folder)
    dtype = placement.choose_dtype(options.dtype, half=False)
    network = placement.load(open_network, folder, dtype, files=files)
    return DetrDetector(network, placement.device, dtype)


def list_weight_files(options: DetrOptions) -> Iterator[Path]:
    """See `Family.weight_files`."""
    return list_files(options.folder, REPOSITORY, "detr", "--weights")


FAMILY = Family(
    name="detr",
    summary="People by DETR, RT-DETR or D-FINE. Unproven with published weights.",
    options=DetrOptions,
    build_detector=build_detector,
    repositories=(REPOSITORY,),
    weight_files=list_weight_files,
)
