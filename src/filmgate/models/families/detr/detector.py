"""People in images by a network for object detection of transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from filmgate.errors import BadWeights
from filmgate.media.pixels.planes import Planes
from filmgate.media.pixels.rgb import to_rgb
from filmgate.models.people.association import PersonDetection

_LOWEST = 0.05  # score


@dataclass(frozen=True)
class DetrNetwork:
    """A network, what prepares images for it, and the number of its class of people."""

    network: Any
    processor: Any
    person: int


@dataclass(frozen=True)
class DetrDetector:
    """Finds people by a network of transformers."""

    model: DetrNetwork
    device: str = "cpu"
    dtype: torch.dtype = torch.float32

    def detect(self, images: Sequence[Planes]) -> list[list[PersonDetection]]:
        """See `PersonDetector`."""
        pixels = [to_rgb(image, torch.float32, self.device) for image in images]
        sizes = [(image.size[1], image.size[0]) for image in images]
        inputs = self.model.processor(
            images=[(one * 255 + 0.5).byte() for one in pixels], return_tensors="pt"
        )
        inputs = {name: value.to(self.device) for name, value in inputs.items()}
        inputs["pixel_values"] = inputs["pixel_values"].to(self.dtype)
        with torch.inference_mode():
            outputs = self.model.network(**inputs)
        results = self.model.processor.post_process_object_detection(
            outputs, threshold=_LOWEST, target_sizes=sizes
        )
        pairs = zip(results, images, strict=True)
        return [_list_people(result, self.model.person, image.size) for result, image in pairs]


def open_network(folder: Path, dtype: torch.dtype, device: str) -> DetrNetwork:
    """Return the network of a folder. Raises BadWeights if it is none for objects with people."""
    from transformers import AutoImageProcessor, AutoModelForObjectDetection
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        network = AutoModelForObjectDetection.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
        processor = AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # untrusted files may raise anything in the readers
        raise BadWeights(
            f"{folder} is no network for object detection that transformers can open "
            f"({error!s:.200}): pass a folder such as that of RT-DETR"
        ) from error
    names: Mapping[int, str] = network.config.id2label
    people = [number for number, name in names.items() if str(name).lower() == "person"]
    if not people:
        raise BadWeights(f"{folder} has no class called person among {len(names)}: pass a network "
                         "that was trained on COCO")  # fmt: skip
    return DetrNetwork(network.eval().requires_grad_(False).to(device, dtype), processor, people[0])


def _list_people(
    result: Mapping[str, Any], person: int, size: tuple[int, int]
) -> list[PersonDetection]:
    """Return the people in one result, best first, their boxes inside the image."""
    people = []
    corners, scores, labels = (result[name].cpu() for name in ("boxes", "scores", "labels"))
    high = torch.tensor([*size, *size])
    for corner, score, label in zip(corners.float(), scores.tolist(), labels, strict=True):
        left, top, right, bottom = torch.minimum(corner.clamp(min=0), high).tolist()
        if label == person and right > left and bottom > top:
            people.append(PersonDetection((left, top, right - left, bottom - top), score))
    return sorted(people, key=lambda found: -found.score)
