"""The family `vitpose`: 17 points of people in boxes, by transformers' ViTPose; a download.

Xu et al., "ViTPose: Simple Vision Transformer Baselines for Human Pose Estimation", NeurIPS 2022.
UNPROVEN with published weights: they could not be downloaded where this was written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filmgate.device.placement import Dtype, Placement
from filmgate.errors import BadSetting
from filmgate.media.settings import check_settings
from filmgate.models.contracts import Family, PersonPoses
from filmgate.models.people.transformers_folder import (
    FILES,
    list_files,
    require_transformers,
)
from filmgate.weights.definitions import WeightsRepository
from filmgate.weights.store import WeightsStore

MOST = 256  # people at a time
REPOSITORY = WeightsRepository(
    name="vitpose_base_simple",
    family="vitpose",
    hub="usyd-community/vitpose-base-simple",
    licence="Apache-2.0",
    commercial=True,
    wanted=FILES,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VitPoseOptions:
    """Options of the family `vitpose`."""

    weights: Path | None = None
    """A folder as transformers writes it, of any ViTPose for COCO's 17 points. Default: the base
    network in the models folder."""

    dtype: Dtype | None = None
    """The network's dtype. Default: float32."""

    batch: int = 16
    """People of a frame at a time, 1 to 256."""

    def __post_init__(self) -> None:
        check_settings(self)
        if not 1 <= self.batch <= MOST:
            raise BadSetting(f"batch is {self.batch}: pass 1 to {MOST}")

    @property
    def folder(self) -> Path:
        """The folder of weights."""
        return self.weights or WeightsStore.open_default().get_folder(REPOSITORY)


def build_pose(options: VitPoseOptions, placement: Placement) -> PersonPoses:
    """See `Family.build_pose`. Raises BadSetting without transformers, BadWeights."""
    require_transformers("the pose vitpose")
    files = list(list_weight_files(options))
    from filmgate.models.families.vitpose.estimator import VitPoseEstimator, open_network
    from filmgate.weights.repository import verify_folder

    folder = verify_folder(REPOSITORY, WeightsStore.open_default(), options.folder)
    dtype = placement.choose_dtype(options.dtype, half=False)
    network = placement.load(open_network, folder, dtype, files=files)
    return VitPoseEstimator(network, placement.device, dtype, options.batch)


def list_weight_files(options: VitPoseOptions) -> Iterator[Path]:
    """See `Family.weight_files`."""
    return list_files(options.folder, REPOSITORY, "vitpose", "--pose-weights")


FAMILY = Family(
    name="vitpose",
    summary="People in boxes: 17 points of COCO. Unproven with published weights.",
    options=VitPoseOptions,
    build_pose=build_pose,
    repositories=(REPOSITORY,),
    weight_files=list_weight_files,
)
