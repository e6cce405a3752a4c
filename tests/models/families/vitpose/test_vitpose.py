"""ViTPose by a tiny network with random weights, compared with transformers' own way."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from filmgate.cli.main import main
from filmgate.device.placement import Placement
from filmgate.errors import BadInput, BadSetting, BadWeights, Exit
from filmgate.media.pixels.planes import Planes
from filmgate.models import registry
from filmgate.models.families.vitpose import REPOSITORY, VitPoseOptions
from filmgate.models.families.vitpose.estimator import VitPoseEstimator, VitPoseNetwork, read_crop
from filmgate.testing.fake_cuda import fake_cuda
from tests.models.people.fakes import RED, STANDING, find_discs, make_planes
from tests.models.people.figures import Figure, walk, write_sidecar, write_video

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
BOXES = ((10.0, 5.0, 50.0, 90.0), (60.0, 20.0, 140.0, 70.0), (-20.0, -10.0, 30.0, 99.0))
# Its libraries take seconds to import.
pytestmark = pytest.mark.filterwarnings("ignore")


def make_image(width: int = 160, height: int = 100) -> Planes:
    """Return noise that is smooth enough to be sampled between pixels."""
    noise = np.random.RandomState(3).randint(0, 256, (3, height, width)).astype(np.uint8)
    return Planes(tuple(cv2.blur(plane, (5, 5)) for plane in noise), "gbrp")


def write_network(folder: Path, labels: int = 17, experts: int = 1, simple: bool = True) -> Path:
    """Write a tiny ViTPose with random weights, as transformers does."""
    from transformers import VitPoseConfig, VitPoseForPoseEstimation, VitPoseImageProcessor

    torch.manual_seed(1)
    backbone = {"model_type": "vitpose_backbone", "image_size": [64, 48], "hidden_size": 32,
                "num_hidden_layers": 2, "num_attention_heads": 4, "out_indices": [2],
                "num_experts": experts, "part_features": 8}  # fmt: skip
    config = VitPoseConfig(
        backbone_config=backbone, use_simple_decoder=simple,
        id2label={k: str(k) for k in range(labels)}, label2id={str(k): k for k in range(labels)},
    )  # fmt: skip
    network = VitPoseForPoseEstimation(config)
    with torch.no_grad():  # or nothing stands out of a heatmap
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    network.save_pretrained(folder)
    VitPoseImageProcessor(size={"height": 64, "width": 48}).save_pretrained(folder)
    return folder


def open_estimator(folder: Path, **options: Any) -> VitPoseEstimator:
    estimator = registry.build_pose("vitpose", VitPoseOptions(weights=folder, **options))
    assert isinstance(estimator, VitPoseEstimator)
    return estimator


def estimate_as_transformers(folder: Path, image: Planes, experts: int) -> Any:
    """Return the library's own results for the same boxes, and its crops."""
    from transformers import VitPoseForPoseEstimation, VitPoseImageProcessor

    network = VitPoseForPoseEstimation.from_pretrained(folder).eval()
    processor = VitPoseImageProcessor.from_pretrained(folder)
    boxes = [[[x, y, right - x, bottom - y] for x, y, right, bottom in BOXES]]
    green, blue, red = image.arrays
    pixels = np.stack([red, green, blue], 2)
    inputs = processor(pixels, boxes=boxes, return_tensors="pt")
    crops = inputs["pixel_values"].numpy()
    if experts > 1:
        inputs["dataset_index"] = torch.zeros(len(BOXES), dtype=torch.long)
    with torch.no_grad():
        outputs = network(**inputs)
    (results,) = processor.post_process_pose_estimation(outputs, boxes=boxes)
    return results, crops


@pytest.mark.slow
@pytest.mark.parametrize(("experts", "simple"), [(1, True), (3, False)])
def test_crops_and_heights_of_heatmaps_are_those_of_transformers(
    experts: int, simple: bool, tmp_path: Path
) -> None:
    folder, image = write_network(tmp_path, experts=experts, simple=simple), make_image()
    results, crops = estimate_as_transformers(folder, image, experts)
    estimator = open_estimator(folder)
    for box, crop in zip(BOXES, crops, strict=True):
        # at the image's edge OpenCV mixes pixels with the black around it, and SciPy does not
        same = np.abs(read_crop(image, box, estimator.model) - crop) < 1e-3
        assert same.mean() > 0.9
    people = estimator(image, BOXES)
    for person, result in zip(people, results, strict=True):
        assert person["skeleton"] == "coco"
        assert person["points"].shape == (17, 2)
        scores = result["scores"].numpy()
        assert person["point_scores"] == pytest.approx(
            scores, abs=0.1 * float(np.abs(scores).max())
        )


@pytest.mark.slow
def test_heatmaps_are_read_as_transformers_reads_them(tmp_path: Path) -> None:
    """The same heatmaps give the same points to the last digit that is kept, in any batch."""
    estimator = open_estimator(write_network(tmp_path), batch=2)
    maps = torch.rand(3, 17, 16, 12, generator=torch.Generator().manual_seed(2))
    given = iter((maps[:2], maps[2:]))

    def network(**inputs: torch.Tensor) -> Any:
        from transformers.models.vitpose.modeling_vitpose import VitPoseEstimatorOutput

        assert inputs["pixel_values"].shape[1:] == (3, 64, 48)
        return VitPoseEstimatorOutput(heatmaps=next(given))

    network.config = estimator.model.network.config  # type: ignore[attr-defined]
    model = VitPoseNetwork(network, *(getattr(estimator.model, name) for name in
                                      ("processor", "size", "mean", "std")))  # fmt: skip
    people = VitPoseEstimator(model, batch=2)(make_image(), BOXES)
    centers = np.array([[(a + c) / 2, (b + d) / 2] for a, b, c, d in BOXES], np.float32)
    heights = np.array([max(d - b, (c - a) * 4 / 3) * 1.25 for a, b, c, d in BOXES], np.float32)
    scales = np.stack([heights * 0.75, heights], 1) / 200
    points, scores = estimator.model.processor.keypoints_from_heatmaps(
        maps.numpy(), centers, scales
    )
    for k, person in enumerate(people):
        assert person["points"] == pytest.approx(points[k] + 0.5, abs=1e-3)
        assert person["point_scores"] == pytest.approx(scores[k, :, 0], abs=1e-4)


@pytest.mark.slow
def test_it_runs_on_cuda(tmp_path: Path) -> None:
    options = VitPoseOptions(weights=write_network(tmp_path, experts=3), batch=2)
    here = registry.build_pose("vitpose", options)(make_image(), BOXES)
    with fake_cuda():
        there = registry.build_pose("vitpose", options, Placement("cuda"))(make_image(), BOXES)
    for one, other in zip(here, there, strict=True):
        assert one["point_scores"] == pytest.approx(other["point_scores"], abs=2e-3)


@pytest.mark.slow
def test_the_command_writes_the_points_as_coco(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    figures = (Figure(walk(20, 30, 2)), Figure(walk(130, 50, -2)))
    write_video(figures, 8, tmp_path / "in.mkv")
    write_sidecar(figures, 8, tmp_path / "boxes.jsonl")
    write_network(tmp_path / "vitpose")
    words = ["track", "in.mkv", "out.json", "--boxes", "boxes.jsonl", "--pose", "vitpose",
             "--pose-weights", "vitpose", "--device", "cpu", "--in-process", "--quiet"]  # fmt: skip
    assert main(words) == Exit.DONE
    people = json.loads((tmp_path / "out.json").read_text())["annotations"]
    assert len(people) == 16
    assert all(one["num_keypoints"] == 17 and len(one["keypoints"]) == 51 for one in people)
    assert {one["track_id"] for one in people} == {1, 2}


@pytest.mark.slow
def test_folders_of_other_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="is a ViTPose for 133 points, wanted 17"):
        open_estimator(write_network(tmp_path / "body", labels=133))
    folder = write_network(tmp_path / "small")
    config = json.loads((folder / "preprocessor_config.json").read_text())
    for change, match in (
        ({"size": {"height": 64, "width": 64}}, "crops of 64x64 for a network of 48x64"),
        ({"image_std": [0.2, 0.0, 0.2]}, r"a deviation of .*0\.0"),
        ({"image_mean": [0.2]}, "has a mean of"),
    ):
        (folder / "preprocessor_config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(BadWeights, match=match):
            open_estimator(folder)
    (folder / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(BadWeights, match="that transformers can open"):
        open_estimator(folder)


# --- without transformers -------------------------------------------------------------------------


@pytest.mark.parametrize("pixels", ["gbrp", "yuv420p"])
def test_a_crop_has_the_box_in_its_middle_and_a_quarter_around_it(pixels: str) -> None:
    mean, std = (np.array(values, np.float32) for values in IMAGENET)
    model = VitPoseNetwork(None, None, (192, 256), mean, std)
    image, (x, y) = make_planes([STANDING], pixels), STANDING.hips
    box = (x - 20.0, y - 50.0, x + 30.0, y + 30.0)  # 50 wide, 80 high: widened to 60 by 80
    shown = read_crop(image, box, model).transpose(1, 2, 0) * std + mean
    assert shown.shape == (256, 192, 3)
    scale = 255 / (80 * 1.25)
    # from the centre of the first pixel to that of the disc, in pixels of the crop
    wanted = 191 / 2 - (5 + 0.5) * 191 / 75, 255 / 2 + (10 - 0.5) * scale
    assert find_discs(shown, RED) == pytest.approx(np.array([wanted]) + 0.5, abs=0.8)


def test_boxes_without_area_and_settings_out_of_range_are_refused() -> None:
    with pytest.raises(BadInput, match="wanted left, top, right and bottom"):
        VitPoseEstimator(None)(make_image(), [(5.0, 5.0, 5.0, 9.0)])  # type: ignore[arg-type]
    with pytest.raises(BadSetting, match="batch is 0: pass 1 to 256"):
        VitPoseOptions(batch=0)
    with pytest.raises(BadWeights, match=rf"models pull {REPOSITORY.name}, or pass --pose-weights"):
        registry.build_pose("vitpose", VitPoseOptions(weights=Path("nowhere")))
