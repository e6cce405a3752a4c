"""The family `phalp`: who is who by predicted location, pose and appearance, as in 4D-Humans.

Rajasegaran et al., "Tracking People by Predicting 3D Appearance, Location and Pose", CVPR 2022, and
Goel et al., "Humans in 4D", ICCV 2023. UNPROVEN with published weights: they could not be
downloaded where this was written. On weights made by rule, the results match those recorded from
the published code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filmgate.device.placement import Placement
from filmgate.errors import BadSetting
from filmgate.media.settings import check_settings
from filmgate.models.contracts import ByHand, Family, PersonPoses
from filmgate.models.families.hmr2 import Hmr2Options

if TYPE_CHECKING:
    from filmgate.models.families.phalp.looks import Looks
    from filmgate.models.families.phalp.tracker import PhalpTracker

BY_HAND = ByHand(
    "track --tracker-weights FOLDER with hmar_v2_weights.pth, texture.npz, fmap_256.npy and "
    "bmap_256.npy (looks), or pose_predictor_40006.ckpt and mean_std.npy (poses), or all, from "
    "cs.utexas.edu/~pavlakos/phalp/; without it people are followed by location",
    "code MIT, weights without a stated licence; SMPL, the body, is non-commercial",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhalpOptions:
    """Options of the family `phalp`."""

    weights: Path | None = None
    """A folder with hmar_v2_weights.pth, texture.npz, fmap_256.npy and bmap_256.npy (how people
    look, which needs --pose hmr2 and --pose-body too), or with pose_predictor_40006.ckpt and
    mean_std.npy, or all. Default: none; people are followed by location, and by pose if known."""

    min_score: float = 0.6
    """Score, 0 to 1, below which a detection is ignored. The published code takes 0.8."""

    n_init: int = 5
    """Detections in a row after which someone counts; these are filled in."""

    max_age: int = 50
    """Frames without the person after which the number ends."""

    threshold: float = 100.0
    """Cost above which a detection is not given to a track; 1 is a perfect match."""

    batch: int = 8
    """Pairs of textures to compare at a time."""

    head_size: int = 64
    """Numbers of an attention head of the pose predictor: dim_head in its configuration."""

    as_upstream: bool = False
    """Reproduce the published code, its defects included."""

    def __post_init__(self) -> None:
        check_settings(self)
        for name, most in (("n_init", 100), ("batch", 1024), ("head_size", 4096)):
            if not 1 <= getattr(self, name) <= most:
                raise BadSetting(f"{name} is {getattr(self, name)}: pass 1 to {most}")
        if not 0 <= self.min_score <= 1:
            raise BadSetting(f"min_score is {self.min_score}: pass a number from 0 to 1")
        if not 0 <= self.max_age <= 100_000:
            raise BadSetting(f"max_age is {self.max_age}: pass 0 to 100000 frames")
        if not 1 <= self.threshold <= 1e6:
            raise BadSetting(f"threshold is {self.threshold}: pass 1 to 1000000")


def build_person_tracker(options: PhalpOptions, placement: Placement) -> PhalpTracker:
    """See `Family.build_person_tracker`."""
    from filmgate.models.families.phalp import files, loading
    from filmgate.models.families.phalp.appearance import TextureComparison
    from filmgate.models.families.phalp.predictor import PosePredictor
    from filmgate.models.families.phalp.tracker import PhalpTracker

    predictor, comparison = None, None
    if options.weights is not None:
        encoder, poses = files.find_networks(options.weights)
        if encoder is not None:
            net = placement.load(loading.open_encoder, encoder)
            comparison = TextureComparison(net, placement.device, options.batch)
        if poses is not None:
            both = (poses, poses.with_name(files.STATISTICS))
            opened = placement.load(loading.open_predictor, poses, options.head_size, files=both)
            predictor = PosePredictor(*opened, as_upstream=options.as_upstream)
    return PhalpTracker(predictor, comparison, options.min_score, options.n_init, options.max_age,
                        options.threshold, options.as_upstream)  # fmt: skip


def build_looks(
    options: PhalpOptions, poses: PersonPoses | None, placement: Placement
) -> Looks | None:
    """See `Family.build_looks`: it needs the encoder, the atlas, and poses with a body."""
    from filmgate.models.families.hmr2.pose import PoseEstimator
    from filmgate.models.families.phalp.files import find_networks, list_missing
    from filmgate.models.families.phalp.looks import Looks
    from filmgate.models.families.phalp.texture import open_atlas

    if not isinstance(poses, PoseEstimator) or poses.body is None or options.weights is None:
        return None
    encoder, _ = find_networks(options.weights)
    if encoder is None or list_missing(options.weights):
        return None
    return Looks(open_atlas(options.weights), poses)


def explain_looks(options: PhalpOptions, pose_options: Any) -> str:
    """See `Family.explain_looks`."""
    from filmgate.models.families.phalp.files import ENCODER, find_networks, list_missing

    if options.weights is None or find_networks(options.weights)[0] is None:
        return ""
    if missing := list_missing(options.weights):
        why = f"the folder holds no {', '.join(missing)}: put those of PHALP there"
    elif not isinstance(pose_options, Hmr2Options) or pose_options.body is None:
        why = "no body is known: pass --pose hmr2 with --pose-weights and --pose-body"
    else:
        return ""
    return f"{ENCODER} in {options.weights} is not used, people are followed without looks: {why}"


def list_weight_files(options: PhalpOptions) -> Iterator[Path]:
    """See `Family.weight_files`."""
    if options.weights is not None:
        from filmgate.models.families.phalp.files import list_files

        yield from list_files(options.weights)


def claims(shapes: Mapping[str, Sequence[int]]) -> bool:
    """Return whether these are the tensors of HMAR or of the pose predictor."""
    names = (name.removeprefix("encoder.") for name in shapes)
    return any(name == "pos_embedding_learned2" or name.endswith("encoding_head.conv1x.weight")
               for name in names)  # fmt: skip


FAMILY = Family(
    name="phalp",
    summary="Follows people by location, pose and appearance. Unproven with published weights.",
    options=PhalpOptions,
    build_person_tracker=build_person_tracker,
    build_looks=build_looks,
    explain_looks=explain_looks,
    claims=claims,
    by_hand=BY_HAND,
    weight_files=list_weight_files,
)
