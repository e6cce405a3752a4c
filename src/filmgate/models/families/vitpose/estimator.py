"""ViTPose as a function: people in boxes to their 17 points.

The network and the reading of its heatmaps are those of transformers. The crops are the same, but
made of the image's planes, so that a large image is never converted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from filmgate.core.instrumentation.torch_settings import fix_torch_settings
from filmgate.errors import BadInput, BadWeights
from filmgate.media.pixels.planes import Planes
from filmgate.models.people.regions import warp

Box = tuple[float, float, float, float]  # left, top, right and bottom in pixels
_POINTS = 17  # of COCO
_PADDING = 1.25  # of boxes
_COCO = 0  # which of the experts of a ViTPose+ is for COCO
_CENTRE = 0.5  # transformers counts from the centre of the first pixel, records from its corner
_MOST_PIXELS = 1e6  # of a coordinate of a box
_MOST_SIDE = 4096  # of a crop


@dataclass(frozen=True)
class VitPoseNetwork:
    """A network, and the processor that reads its heatmaps.

    `size`: width and height of crops. `mean` and `std` of RGB in [0, 1].
    """

    network: Any
    processor: Any
    size: tuple[int, int]
    mean: npt.NDArray[np.float32]
    std: npt.NDArray[np.float32]


@dataclass(frozen=True)
class VitPoseEstimator:
    """Finds the points of people in boxes; see `PersonPoses`. `batch`: crops at a time."""

    model: VitPoseNetwork
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    batch: int = 16

    def __call__(self, image: Planes, boxes: Sequence[Box]) -> list[dict[str, Any]]:
        """Return of each person `skeleton`: "coco", `points` (17, 2) in pixels, and `point_scores`
        (17): the heights of the heatmaps, about 0 to 1."""
        for box in boxes:
            _check_box(box)
        parts = [boxes[k : k + self.batch] for k in range(0, len(boxes), self.batch)]
        return list(chain.from_iterable(self._estimate(image, part) for part in parts))

    def _estimate(self, image: Planes, boxes: Sequence[Box]) -> list[dict[str, Any]]:
        crops = np.stack([read_crop(image, box, self.model) for box in boxes])
        inputs = {"pixel_values": torch.from_numpy(crops).to(self.device, self.dtype)}
        if self.model.network.config.backbone_config.num_experts > 1:
            inputs["dataset_index"] = torch.full((len(boxes),), _COCO, device=self.device)
        with torch.inference_mode(), fix_torch_settings():
            outputs = self.model.network(**inputs)
        outputs.heatmaps = outputs.heatmaps.float().cpu()
        if not outputs.heatmaps.isfinite().all():
            raise FloatingPointError("vitpose returned heatmaps that are NaN or infinite")
        (results,) = self.model.processor.post_process_pose_estimation(
            outputs, boxes=[[(x, y, right - x, bottom - y) for x, y, right, bottom in boxes]]
        )
        return [_describe(result) for result in results]


def read_crop(image: Planes, box: Box, model: VitPoseNetwork) -> npt.NDArray[np.float32]:
    """Return the normalised crop (3, H, W) of a box, as the network was trained on it.

    The box is widened to the shape of the crop and enlarged by a quarter. The centre of its first
    pixel is that of the crop's, and so of its last; pixels are sampled without averaging.
    """
    left, top, right, bottom = box
    width, height = model.size
    tall = max(bottom - top, (right - left) * height / width) * _PADDING
    steps = tall * width / height / (width - 1), tall / (height - 1)
    x = (left + right) / 2 - steps[0] * (width - 1) / 2 + _CENTRE
    y = (top + bottom) / 2 - steps[1] * (height - 1) / 2 + _CENTRE
    corners = np.array([(x, y), (x + steps[0], y), (x, y + steps[1])])
    rgb = warp(image, corners, model.size, average=False)
    return np.ascontiguousarray(((rgb - model.mean) / model.std).transpose(2, 0, 1))


def _describe(result: dict[str, Any]) -> dict[str, Any]:
    points = result["keypoints"].double().numpy() + _CENTRE
    scores = result["scores"].double().numpy()
    if not np.isfinite(points).all():
        raise FloatingPointError("vitpose returned points that are NaN or infinite")
    return {"skeleton": "coco", "points": points.round(3), "point_scores": scores.round(4)}


def _check_box(box: Box) -> None:
    left, top, right, bottom = box
    far = not all(isfinite(value) and abs(value) <= _MOST_PIXELS for value in box)
    if far or right <= left or bottom <= top:
        raise BadInput(f"a box is {', '.join(f'{value:g}' for value in box)}, wanted left, top, "
                       "right and bottom in pixels: the last two are the larger ones")  # fmt: skip


def open_network(folder: Path, dtype: torch.dtype, device: str) -> VitPoseNetwork:
    """Return the network of a folder. Raises BadWeights if it is no ViTPose for COCO's points."""
    from transformers import VitPoseForPoseEstimation, VitPoseImageProcessor
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        network, loaded = VitPoseForPoseEstimation.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        processor = VitPoseImageProcessor.from_pretrained(folder, local_files_only=True)
        size = int(processor.size["width"]), int(processor.size["height"])
        wanted = tuple(network.config.backbone_config.image_size)
        values = [np.array(value, np.float32) for value in
                  (processor.image_mean, processor.image_std)]  # fmt: skip
    except Exception as error:  # untrusted files may raise anything in the readers
        raise BadWeights(
            f"{folder} is no ViTPose that transformers can open ({error!s:.200}): "
            "pass a folder such as that of vitpose-base-simple"
        ) from error
    if missing := sorted(loaded["missing_keys"]):
        raise BadWeights(f"{folder} is no ViTPose: {len(missing)} tensors are missing, such as "
                         f"{missing[0]}; pass a folder such as that of "
                         "vitpose-base-simple")  # fmt: skip
    if network.config.num_labels != _POINTS:
        raise BadWeights(f"{folder} is a ViTPose for {network.config.num_labels} points, wanted "
                         f"{_POINTS}: pass one that was trained on COCO")  # fmt: skip
    if size[::-1] != wanted or not 2 <= min(size) <= max(size) <= _MOST_SIDE:
        raise BadWeights(f"{folder} has crops of {size[0]}x{size[1]} for a network of "
                         f"{wanted[1]}x{wanted[0]}: pass the published folder")  # fmt: skip
    if (
        any(value.shape != (3,) or not np.isfinite(value).all() for value in values)
        or not (values[1] > 0).all()
    ):
        raise BadWeights(f"{folder} has a mean of {processor.image_mean} and a deviation of "
                         f"{processor.image_std}: pass the published folder")  # fmt: skip
    network = network.eval().requires_grad_(False).to(device, dtype)
    return VitPoseNetwork(network, processor, size, *values)
