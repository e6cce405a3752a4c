"""Read how people look: the part of an image that shows someone, laid on the surface of the body.

Rajasegaran et al., "Tracking People by Predicting 3D Appearance, Location and Pose", CVPR 2022,
section 3.1, with the bodies of HMR 2.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from filmgate.errors import BadWeights
from filmgate.media.pixels.planes import Planes
from filmgate.models.families.hmr2.pose import PoseEstimator, find_square, read_crop
from filmgate.models.families.phalp.appearance import Texture
from filmgate.models.families.phalp.texture import SIDE, Atlas, read_texture
from filmgate.models.people.association import PersonDetection

_FIELDS = ("global_orient", "body_pose", "betas", "camera_crop")  # of a pose
Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class Looks:
    """Adds the texture (4, 256, 256) of each person whose pose is known; see `PersonLooks`.

    The published code takes the outline of a person from its detector. Here it is the box: what
    else is in the box, someone in front included, is taken for the person where the body is
    supposed to be. Raises BadWeights if the atlas is of another body than that of `poses`.
    """

    atlas: Atlas
    poses: PoseEstimator

    def __post_init__(self) -> None:
        count = 0 if self.poses.body is None else len(self.poses.body.vertices)
        if self.atlas.faces.max() >= count:
            raise BadWeights(
                f"the body has {count} vertices, and the faces of texture.npz name "
                f"number {self.atlas.faces.max()}: pass files of the same body, SMPL's"
            )

    def __call__(
        self, image: Planes, detections: Sequence[PersonDetection]
    ) -> list[PersonDetection]:
        return [self._add_texture(image, one) for one in detections]

    def _add_texture(self, image: Planes, one: PersonDetection) -> PersonDetection:
        if any(name not in one.fields for name in _FIELDS):
            return one
        texture = self.read(image, one)
        return replace(one, features={**one.features, "texture": texture})

    def read(self, image: Planes, one: PersonDetection) -> Texture:
        """Return the texture of someone whose fields are those of a pose."""
        left, top, width, height = one.box
        corners = (left, top, left + width, top + height)
        pixels = read_crop(image, corners, SIDE).transpose(2, 0, 1)
        outline = find_outline(corners, image.size)
        crop = np.concatenate([pixels, outline[None]])
        return read_texture(self.atlas, self.poses.find_vertices(one.fields), crop)


def find_outline(box: Corners, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Return 1 for each pixel of the crop (256, 256) whose centre is in the box and the image."""
    x, y, side = find_square(box)
    offsets = (np.arange(SIDE) - SIDE / 2) * (side / SIDE)  # of the centres of pixels
    columns = _is_inside(x + offsets, box[0], box[2], size[0])
    rows = _is_inside(y + offsets, box[1], box[3], size[1])
    outline: npt.NDArray[np.float32] = (rows[:, None] & columns).astype(np.float32)
    return outline


def _is_inside(places: Any, low: float, high: float, most: int) -> Any:
    return (places >= max(low, 0)) & (places <= min(high, most))
