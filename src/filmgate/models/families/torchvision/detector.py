"""People in images by a detection network of torchvision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from filmgate.media.pixels.planes import Planes
from filmgate.media.pixels.rgb import to_rgb
from filmgate.models.people.association import PersonDetection
from filmgate.weights.state_dict import check_tensors, list_shapes, load_tensors

_PERSON = 1  # of COCO's classes
_LOWEST = 0.05  # score


@dataclass(frozen=True)
class TorchvisionDetector:
    """Finds people by a network that takes images (3, H, W) of RGB in [0, 1]."""

    network: nn.Module
    device: str = "cpu"

    def detect(self, images: Sequence[Planes]) -> list[list[PersonDetection]]:
        """See `PersonDetector`."""
        pixels = [to_rgb(image, torch.float32, self.device) for image in images]
        with torch.inference_mode():
            results = self.network(pixels)
        return [_list_people(result) for result in results]


def build_network(name: str) -> nn.Module:
    """Return the network of that name, with random weights."""
    from torchvision.models import detection

    build = getattr(detection, name)
    network: nn.Module = build(weights=None, weights_backbone=None)
    return network.eval().requires_grad_(False)


def open_network(path: Path, name: str, device: str) -> nn.Module:
    """Return the network with the tensors of a file. Raises BadWeights."""
    network = build_network(name)
    network.load_state_dict(check_tensors(load_tensors(path), list_shapes(network), path))
    return network.to(device)


def _list_people(result: Mapping[str, Any]) -> list[PersonDetection]:
    """Return the people in one result, best first; boxes without area are left out."""
    people = []
    found = {name: values.cpu() for name, values in result.items()}
    corners, scores = found["boxes"].tolist(), found["scores"].tolist()
    for k, ((left, top, right, bottom), score) in enumerate(zip(corners, scores, strict=True)):
        if found["labels"][k] != _PERSON or score < _LOWEST or right <= left or bottom <= top:
            continue
        fields: dict[str, Any] = {}
        if "keypoints" in found:
            fields["skeleton"] = "coco"
            fields["points"] = found["keypoints"][k, :, :2].double().numpy().round(3)
            fields["point_scores"] = found["keypoints_scores"][k].double().numpy().round(3)
        people.append(PersonDetection((left, top, right - left, bottom - top), score, fields))
    return sorted(people, key=lambda person: -person.score)
