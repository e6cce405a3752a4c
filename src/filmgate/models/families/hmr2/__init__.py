"""The family `hmr2`: the pose and shape of people in boxes, by HMR 2.0 of 4D-Humans.

Goel et al., "Humans in 4D: Reconstructing and Tracking Humans with Transformers", ICCV 2023.
UNPROVEN with published weights: they could not be downloaded where this was written. On weights
made by rule, the results match those recorded from the published code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filmgate.device.placement import Dtype, Placement
from filmgate.errors import BadSetting, BadWeights
from filmgate.media.settings import check_settings
from filmgate.models.contracts import ByHand, Family, PersonPoses

MOST = 32  # people at a time: more are not faster
BY_HAND = ByHand(
    "--pose-weights FILE, the checkpoint of 4D-Humans (epoch=35-step=1000000.ckpt in "
    "hmr2_data.tar.gz of its authors) or its tensors as .safetensors",
    "code MIT, weights without a stated licence; SMPL, the body, is non-commercial",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hmr2Options:
    """Options of the family `hmr2`."""

    weights: Path | None = None
    """The file of weights, the published checkpoint."""

    body: Path | None = None
    """A body of SMPL's kind as .npz, for joints. SMPL is licensed for non-commercial use only."""

    dtype: Dtype | None = None
    """The model's dtype. Default: float16 on a GPU, float32 on the CPU."""

    batch: int | None = None
    """People of a frame at a time, 1 to 32. Default: as many as fit on the GPU."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.batch is not None and not 1 <= self.batch <= MOST:
            raise BadSetting(f"batch is {self.batch}: pass 1 to {MOST}")


def build_pose(options: Hmr2Options, placement: Placement) -> PersonPoses:
    """See `Family.build_pose`."""
    from filmgate.models.families.hmr2.body import open_body
    from filmgate.models.families.hmr2.memory import fit_batch
    from filmgate.models.families.hmr2.pose import PoseEstimator, open_network

    weights, *_ = list_weight_files(options)
    body = placement.load(open_body, options.body) if options.body else None
    network = placement.load(open_network, weights, placement.choose_dtype(options.dtype))
    batch = options.batch or fit_batch(network, placement.device, MOST)
    return PoseEstimator(network, placement.device, batch, body)


def claims(shapes: Mapping[str, Sequence[int]]) -> bool:
    """Return whether these are the tensors of an HMR 2.0 of any size."""
    from filmgate.models.families.hmr2.net import has_hmr2_shapes

    return has_hmr2_shapes(shapes)


def list_weight_files(options: Hmr2Options) -> Iterator[Path]:
    """See `Family.weight_files`: the network's, then the body's."""
    if options.weights is None:
        raise BadSetting(f"the model hmr2 has no weights to download: pass {BY_HAND.how}")
    for path in (options.weights, options.body):
        if path is not None and not path.is_file():
            raise BadWeights(f"{path} does not exist, or is no file: pass the name of one")
        if path is not None:
            yield path


FAMILY = Family(
    name="hmr2",
    summary="People in boxes: pose, shape and camera. Unproven with published weights.",
    options=Hmr2Options,
    build_pose=build_pose,
    claims=claims,
    by_hand=BY_HAND,
    weight_files=list_weight_files,
)
