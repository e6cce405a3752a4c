"""Torchvision's detectors: results become people, weights are checked. Networks are slow tests."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from filmgate.errors import BadSetting, BadWeights
from filmgate.media.pixels.planes import Planes
from filmgate.models import registry
from filmgate.models.families.torchvision import WEIGHTS, TorchvisionOptions
from filmgate.models.families.torchvision.detector import (
    TorchvisionDetector,
    build_network,
)
from filmgate.weights.state_dict import list_shapes
from tests.models.people.figures import COLOUR


@dataclass
class Fake:
    """A network whose results are given."""

    results: list[dict[str, Any]]

    def __call__(self, images: list[Any]) -> list[dict[str, Any]]:
        assert [tuple(image.shape) for image in images] == [(3, 8, 6)] * len(self.results)
        assert all(image.min() >= 0 and image.max() <= 1 for image in images)
        return self.results


def make_image(side: int = 0) -> Planes:
    luma = np.random.default_rng(1).integers(16, 235, (side or 8, side or 6), np.uint8)
    chroma = np.full((-(-luma.shape[0] // 2), -(-luma.shape[1] // 2)), 128, np.uint8)
    return Planes((luma, chroma, chroma), "yuv420p", COLOUR)


def test_people_are_kept_best_first_and_other_classes_are_not() -> None:
    result = {
        "boxes": torch.tensor([[0, 0, 2, 4], [1, 1, 5, 7], [1, 1, 5, 7], [3, 3, 3, 7],
                               [0, 0, 1, 1]]),
        "labels": torch.tensor([1, 1, 2, 1, 1]),
        "scores": torch.tensor([0.5, 0.75, 0.9, 0.9, 0.01]),
    }  # fmt: skip
    empty = {name: values[:0] for name, values in result.items()}
    first, second = TorchvisionDetector(Fake([result, empty])).detect([make_image()] * 2)  # type: ignore[arg-type]
    assert [(one.box, one.score) for one in first] == [((1, 1, 4, 6), 0.75), ((0, 0, 2, 4), 0.5)]
    assert second == []


def test_key_points_are_fields_of_their_person() -> None:
    points = torch.arange(2 * 17 * 3).reshape(2, 17, 3).float()
    result = {
        "boxes": torch.tensor([[0.0, 0, 2, 4], [1, 1, 5, 7]]),
        "labels": torch.tensor([1, 1]),
        "scores": torch.tensor([0.5, 0.75]),
        "keypoints": points,
        "keypoints_scores": torch.tensor([[1.0] * 17, [2.0] * 17]),
    }
    ((first, second),) = TorchvisionDetector(Fake([result])).detect([make_image()])  # type: ignore[arg-type]
    assert (first.fields["points"] == points[1, :, :2].numpy()).all()
    assert set(first.fields["point_scores"].tolist()) == {2.0}
    assert second.fields["skeleton"] == "coco"


def test_weights_that_are_missing_or_of_another_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="fasterrcnn_resnet50_fpn_v2"):
        registry.build_detector(
            "torchvision",
            TorchvisionOptions(weights=tmp_path, network="fasterrcnn_resnet50_fpn_v2"),
        )
    with pytest.raises(BadSetting, match="network is 'yolo'"):
        TorchvisionOptions(network="yolo")  # type: ignore[arg-type]


def test_without_torchvision_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadSetting, match=r"needs torchvision.*\[detection\]"):
        registry.build_detector("torchvision")


@pytest.mark.slow
@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda weights: weights.name)
def test_a_network_with_tensors_of_the_published_shapes_finds_boxes(
    weights: Any, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    network = build_network(weights.name)
    shapes = dict(registry.get_tensor_shapes(weights))
    assert shapes == list_shapes(network)
    bytes_total = sum(4 * int(np.prod(shape)) for shape in shapes.values())
    assert bytes_total == pytest.approx(weights.size_bytes, rel=0.01)
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    options = TorchvisionOptions(weights=tmp_path / "mine.safetensors", network=weights.name)
    detector = registry.build_detector("torchvision", options)
    people, again = detector.detect([make_image(64)] * 2)
    assert len(people) == len(again)
    for one, other in zip(people, again, strict=True):
        assert one.box == pytest.approx(other.box, abs=1e-3)
    state = dict(network.state_dict())
    state.popitem()
    save_file(state, tmp_path / "mine.safetensors")
    with pytest.raises(BadWeights, match="of another model or another version"):
        registry.build_detector("torchvision", options)
