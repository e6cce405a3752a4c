"""Transformers' detectors, by tiny networks with random weights: folders, classes, boxes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from filmgate.errors import BadWeights
from filmgate.media.pixels.planes import Planes
from filmgate.models import registry
from filmgate.models.families.detr import REPOSITORY, DetrOptions
from filmgate.models.families.detr.detector import DetrDetector, DetrNetwork
from tests.models.people.figures import COLOUR


def make_image(seed: int = 1) -> Planes:
    luma = np.random.default_rng(seed).integers(16, 235, (48, 64), np.uint8)
    chroma = np.full((24, 32), 128, np.uint8)
    return Planes((luma, chroma, chroma), "yuv420p", COLOUR)


def write_network(folder: Path, person: str = "person") -> Path:
    """Write a tiny RT-DETR with random weights, as transformers does."""
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrImageProcessor

    torch.manual_seed(1)
    config = RTDetrConfig(
        backbone_config={
            "model_type": "rt_detr_resnet", "embedding_size": 8, "hidden_sizes": [8, 8, 16, 16],
            "depths": [1, 1, 1, 1], "layer_type": "basic", "out_features": ["stage2", "stage3",
            "stage4"]},
        encoder_in_channels=[8, 16, 16], encoder_hidden_dim=16, encoder_ffn_dim=16, d_model=16,
        num_queries=12, decoder_in_channels=[16, 16, 16], decoder_ffn_dim=16, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, num_denoising=0,
        id2label={0: person, 1: "cat"}, label2id={person: 0, "cat": 1},
    )  # fmt: skip
    RTDetrForObjectDetection(config).save_pretrained(folder)
    RTDetrImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_network_of_a_folder_finds_boxes_that_depend_on_their_image_only(tmp_path: Path) -> None:
    options = DetrOptions(weights=write_network(tmp_path))
    detector = registry.build_detector("detr", options)
    first, second = detector.detect([make_image(1), make_image(2)])
    (alone,) = detector.detect([make_image(1)])
    assert first
    assert [one.box for one in first] != [one.box for one in second]
    assert len(alone) == len(first)
    for one, other in zip(alone, first, strict=True):
        assert one.box == pytest.approx(other.box, abs=1e-2)
        left, top, width, height = one.box
        assert 0 <= left < left + width <= 64 + 1e-3
        assert 0 <= top < top + height <= 48 + 1e-3
    scores = [one.score for one in first]
    assert scores == sorted(scores, reverse=True)
    assert len(list(registry.find_weight_files("detr", options))) == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_folders_that_are_no_network_of_people_are_refused(tmp_path: Path) -> None:
    folder = write_network(tmp_path / "cats", person="dog")
    with pytest.raises(BadWeights, match="has no class called person among 2"):
        registry.build_detector("detr", DetrOptions(weights=folder))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(BadWeights, match="is no network for object detection"):
        registry.build_detector("detr", DetrOptions(weights=folder))


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match=r"config\.json does not exist.*pull rtdetr_r18vd"):
        registry.build_detector("detr", DetrOptions(weights=tmp_path))
    assert not REPOSITORY.proven


def test_people_are_kept_best_first_inside_the_image() -> None:
    class Processor:
        def __call__(self, images: Any, return_tensors: str) -> dict[str, Any]:
            assert all(image.dtype == torch.uint8 for image in images)
            return {"pixel_values": torch.stack(images)}

        def post_process_object_detection(self, outputs: Any, **settings: Any) -> list[Any]:
            assert settings["target_sizes"] == [(48, 64)]
            return [{
                "boxes": torch.tensor([[-3.0, 2, 20, 40], [1, 1, 90, 30], [5, 5, 9, 9],
                                       [70, 1, 80, 9]]),
                "labels": torch.tensor([7, 7, 1, 7]),
                "scores": torch.tensor([0.25, 0.5, 0.9, 0.9]),
            }]  # fmt: skip

    def network(pixel_values: Any) -> Any:
        assert pixel_values.dtype == torch.float32
        return pixel_values

    detector = DetrDetector(DetrNetwork(network, Processor(), 7))
    (people,) = detector.detect([make_image()])
    assert [(one.box, one.score) for one in people] == [
        ((1, 1, 63, 29), 0.5), ((0, 2, 20, 38), 0.25)
    ]  # fmt: skip
