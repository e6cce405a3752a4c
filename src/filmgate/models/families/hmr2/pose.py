"""HMR 2.0 as a function: people in boxes to their poses, shapes, cameras and joints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from filmgate.core.instrumentation.torch_settings import fix_torch_settings
from filmgate.errors import BadInput, BadWeights
from filmgate.media.pixels.planes import Planes
from filmgate.models.families.hmr2.body import Body
from filmgate.models.families.hmr2.net import (
    MEAN,
    STD,
    Estimate,
    Hmr2,
    Shape,
    select_names,
)
from filmgate.models.people.regions import Region, crop
from filmgate.weights.state_dict import check_tensors, list_shapes, load_tensors

Box = tuple[float, float, float, float]  # left, top, right and bottom in pixels
Array = npt.NDArray[np.float32]
FOCAL = 5000.0  # focal length of training, in pixels of a crop or an image of this side:
SQUARE = 256
ASPECT = 3 / 4  # width to height of the box around someone
MOST_PIXELS = 1e6  # of a coordinate of a box


@dataclass(frozen=True)
class PoseEstimator:
    """Estimates the poses of people in boxes; see `PersonPoses`.

    `batch`: crops at a time. `body`: for joints and vertices.
    """

    network: Hmr2
    device: str
    batch: int
    body: Body | None = None

    def __call__(self, image: Planes, boxes: Sequence[Box]) -> list[dict[str, Any]]:
        """Return of each person, as arrays of float32:

        `global_orient` (3, 3) and `body_pose` (23, 3, 3): rotations of the root in the camera's
        space, and of the other joints relative to their parents. `betas` (10): shape. `camera`
        (3): scale, x and y of the weak perspective in the crop, and `camera_crop` (3) its
        translation. `translation` (3): of the person in the camera's space, in metres by the
        body's size, for the complete image: `focal` is its focal length in pixels, and its centre
        that of the image. `root` (2): where the origin of the body is, in pixels.

        With a body also `joints_3d` (45, 3), without translation, and `joints_2d` (45, 2) in
        pixels: 25 in OpenPose's order, 19 more, and the origin.
        """
        for box in boxes:
            _check_box(box)
        people = list[dict[str, Any]]()
        for first in range(0, len(boxes), self.batch):
            some = boxes[first : first + self.batch]
            estimate = self._estimate(image, some)
            people += [
                self._describe(image.size, box, *(values[n] for values in estimate))
                for n, box in enumerate(some)
            ]
        return people

    def find_vertices(self, person: Mapping[str, Any]) -> Array:
        """Return the body's vertices (V, 3) of someone whom this has described.

        They are in the space of the camera of the crop, in metres. A body must be known.
        """
        assert self.body is not None
        turns = np.concatenate([person["global_orient"][None], person["body_pose"]])
        vertices, _ = self.body.skin(person["betas"], turns)
        placed: Array = vertices + person["camera_crop"]
        return placed

    @cached_property
    def _skeleton(self) -> Body | None:
        return self.body.reduce() if self.body else None

    def _estimate(self, image: Planes, boxes: Sequence[Box]) -> list[Array]:
        """Return the fields of an Estimate as arrays."""
        side = self.network.shape.side
        crops = np.stack([read_crop(image, box, side) for box in boxes]).transpose(0, 3, 1, 2)
        with torch.inference_mode(), fix_torch_settings():
            estimate: Estimate = self.network(torch.from_numpy(crops).to(self.device))
            return [_to_array(name, values) for name, values in estimate._asdict().items()]

    def _describe(
        self, size: tuple[int, int], box: Box, orient: Array, pose: Array, betas: Array,
        camera: Array,
    ) -> dict[str, Any]:  # fmt: skip
        """Return the record of one person."""
        focal = FOCAL * max(size) / SQUARE
        translation = find_translation(camera, find_square(box), size)
        record: dict[str, Any] = {
            "global_orient": orient, "body_pose": pose, "betas": betas, "camera": camera,
            "camera_crop": find_crop_translation(camera), "translation": translation,
            "focal": focal,
        }  # fmt: skip
        centre = np.array(size, np.float32) / 2
        origin = np.zeros((1, 3), np.float32)
        record["root"] = (project(origin, translation, focal) + centre)[0]
        if self._skeleton is not None:
            joints = self._skeleton.find_joints(betas, np.concatenate([orient[None], pose]))
            record["joints_3d"] = joints
            record["joints_2d"] = project(joints, translation, focal) + centre
        for name, values in record.items():
            if not np.isfinite(values).all():
                raise FloatingPointError(f"hmr2 returned {name} that is NaN or infinite")
        return record


# --- crops ----------------------------------------------------------------------------------------


def find_square(box: Box) -> tuple[float, float, float]:
    """Return centre and side of the square around a box that was widened to 3 : 4."""
    left, top, right, bottom = box
    side = max(bottom - top, (right - left) / ASPECT)
    return (left + right) / 2, (top + bottom) / 2, side


def read_crop(image: Planes, box: Box, side: int) -> Array:
    """Return the normalised crop (side, side, 3) of a box, as the network was trained on it.

    Pixels are sampled without averaging, and the centre of the box is at the centre of the pixel
    `side` / 2 in both directions.
    """
    x, y, length = find_square(box)
    shift = 0.5 - 0.5 * length / side  # from that pixel's centre to the middle of the region
    rgb = crop(image, Region(x + shift, y + shift, length), side, average=False)
    rgb -= np.array(MEAN, np.float32)
    rgb /= np.array(STD, np.float32)
    return rgb


def _check_box(box: Box) -> None:
    left, top, right, bottom = box
    far = not all(isfinite(value) and abs(value) <= MOST_PIXELS for value in box)
    if far or right <= left or bottom <= top:
        raise BadInput(f"a box is {', '.join(f'{value:g}' for value in box)}, wanted left, top, "
                       "right and bottom in pixels: the last two are the larger ones")  # fmt: skip


# --- cameras --------------------------------------------------------------------------------------


def find_crop_translation(camera: Array) -> Array:
    """Return the translation of the body in the space of the crop's camera.

    `camera`: scale, x and y. The focal length is 5000 pixels of a crop of 256.
    """
    scale, x, y = camera.tolist()
    return np.array([x, y, 2 * FOCAL / (SQUARE * scale + 1e-9)], np.float32)


def find_translation(
    camera: Array, square: tuple[float, float, float], size: tuple[int, int]
) -> Array:
    """Return the translation in the space of the complete image's camera.

    `square` are centre and side of the crop, `size` width and height of the image, in pixels. The
    focal length is 5000 pixels of the image padded to a square and resized to 256.
    """
    scale, x, y = camera.tolist()
    centre_x, centre_y, side = square
    ratio = SQUARE / max(size)
    depth = 2 * FOCAL / (scale * side * ratio + 1e-9)
    x += (centre_x - size[0] / 2) * ratio * depth / FOCAL
    y += (centre_y - size[1] / 2) * ratio * depth / FOCAL
    return np.array([x, y, depth], np.float32)


def project(points: Array, translation: Array, focal: float) -> Array:
    """Return points (N, 3) in perspective (N, 2), in the unit of `focal`, from the centre."""
    moved = points + translation
    with np.errstate(divide="ignore", invalid="ignore"):  # the caller refuses what is not finite
        flat: Array = np.float32(focal) * moved[:, :2] / moved[:, 2:]
    return flat


# --- network --------------------------------------------------------------------------------------


def open_network(path: Path, dtype: torch.dtype, device: str) -> Hmr2:
    """Return the network that a file holds; its transformers compute in `dtype`. Raises BadWeights.

    Its sizes are read from the tensors, so a smaller network of the same kind opens too. Tensors of
    a checkpoint that only training or the body needs are left out.
    """
    stored = load_tensors(path)
    tensors = {name: stored[name] for name in select_names(list(stored))}
    shape = Shape.of({name: tensor.shape for name, tensor in tensors.items()})
    try:
        net = Hmr2(shape, "meta")
    except (RuntimeError, ValueError, TypeError) as error:
        raise BadWeights(f"{path} is a network of impossible sizes ({shape}): pass the published "
                         "checkpoint") from error  # fmt: skip
    wanted = list_shapes(net)
    checked = check_tensors(tensors, wanted, path)
    floats = {name: tensor.float() for name, tensor in checked.items()}
    net.load_state_dict(floats, assign=True)
    return net.convert(device, dtype).eval().requires_grad_(False)


def _to_array(name: str, values: Tensor) -> Array:
    array: Array = values.float().cpu().numpy()
    if not np.isfinite(array).all():
        raise FloatingPointError(f"hmr2 returned {name} that is NaN or infinite")
    return array
