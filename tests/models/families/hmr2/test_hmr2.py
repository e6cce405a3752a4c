"""HMR 2.0: the recorded values of its network and cameras, crops, batches, files of weights."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from filmgate.device.placement import Placement
from filmgate.errors import BadInput, BadSetting, BadWeights
from filmgate.media.pixels.planes import Planes
from filmgate.models import registry
from filmgate.models.families.hmr2 import Hmr2Options, memory
from filmgate.models.families.hmr2.net import MEAN, STD, Hmr2, Shape, to_rotations
from filmgate.models.families.hmr2.pose import (
    FOCAL,
    PoseEstimator,
    find_square,
    find_translation,
    open_network,
    project,
    read_crop,
)
from filmgate.testing.fake_cuda import fake_cuda
from filmgate.weights.state_dict import list_shapes
from tests.models.families.hmr2.tiny import BOXES, HMR2, draw, hmr2_tensors, make_image, weights

pytestmark = pytest.mark.usefixtures("one_thread")


def estimate(image: Planes, boxes: Any = BOXES, **options: Any) -> list[dict[str, Any]]:
    return registry.build_pose("hmr2", Hmr2Options(**{"weights": weights(), **options}))(
        image, boxes
    )


# --- recorded values ------------------------------------------------------------------------------


def test_six_numbers_become_a_rotation() -> None:
    wanted = [
        [0.267261, -0.872872, 0.408248],
        [0.534522, -0.218218, -0.816497],
        [0.801784, 0.436436, 0.408248],
    ]
    found = to_rotations(torch.tensor([1, 2, 3, -1, 0.5, 2]))
    torch.testing.assert_close(found, torch.tensor(wanted), atol=1e-6, rtol=0)


def test_a_point_is_projected() -> None:
    point, moved = np.array([[0.1, -0.2, 0.3]], np.float32), np.array([0.05, 0.1, 40], np.float32)
    assert project(point, moved, FOCAL / 256)[0] == pytest.approx([0.072697, -0.048465], abs=1e-6)


@torch.inference_mode()
def test_the_network_gives_the_recorded_values() -> None:
    net = open_network(weights(), torch.float32, "cpu")
    crops = draw(41, (2, 3, 64, 64))
    features = net.backbone(crops[..., 8:-8])
    assert features.shape == (2, 32, 4, 3)
    said = [features.mean(), features.std(), features.abs().max()]
    assert list(map(float, said)) == pytest.approx([0.018474, 0.989862, 2.919463], abs=1e-4)
    flat = features.flatten()
    ends = torch.tensor([-0.437765, -0.977741, 0.770892, 1.559643, 1.144356, 0.099293])
    torch.testing.assert_close(torch.cat([flat[:4], flat[-2:]]), ends, atol=1e-4, rtol=0)

    orient, pose, betas, camera = net(crops)
    wanted = {
        "orient": (orient, [-0.744538, -0.512359, -0.427963, 0.653682]),
        "pose": (pose, [0.494236, 0.451653, -0.742792, 0.702198]),
        "betas": (betas, [2.938, 1.70292, 0.380981, 1.023841]),
        "camera": (camera, [1.607181, 0.337715, -0.247814, 2.179435, 0.382193, 2.370001]),
    }
    for name, (found, first) in wanted.items():
        assert found.flatten()[: len(first)].tolist() == pytest.approx(first, abs=1e-4), name
    assert pose.numel() == 414
    assert [float(pose.mean()), float(pose.std())] == pytest.approx([0.051722, 0.575725], abs=1e-4)


def test_the_published_network_has_its_tensors() -> None:
    shapes = list_shapes(Hmr2(device="meta"))
    counts = dict.fromkeys(("backbone", "smpl_head"), 0)
    for name in shapes:
        counts[name.partition(".")[0]] += 1
    assert counts == {"backbone": 389, "smpl_head": 114}
    sizes = {part: sum(int(np.prod(shape)) for name, shape in shapes.items()
                       if name.startswith(part) and ".init_" not in name)
             for part in counts}  # fmt: skip
    assert sizes == {"backbone": 630_912_000, "smpl_head": 39_547_037}
    assert shapes["backbone.pos_embed"] == (1, 193, 1280)
    assert shapes["smpl_head.transformer.transformer.layers.5.1.fn.to_kv.weight"] == (1024, 1280)
    assert "smpl_head.transformer.transformer.layers.0.2.fn.net.3.bias" in shapes
    assert registry.find_claims(shapes) == ["hmr2"]
    assert Shape.of(shapes) == Shape()


def test_fused_attention_is_the_plain_one() -> None:
    q, k, v = (draw(seed, (2, 4, 192, 80)) for seed in range(3))
    plain = (q @ k.mT / 80**0.5).softmax(-1) @ v
    assert float((scaled_dot_product_attention(q, k, v) - plain).abs().max()) < 1e-5


# --- crops and cameras ----------------------------------------------------------------------------


@pytest.mark.parametrize("box", [(20, 10, 60, 95), (-30, 40, 150, 80), (100, 20, 300, 650)])
def test_a_crop_is_that_of_the_published_code(box: tuple[float, ...]) -> None:
    left, top, right, bottom = box
    image, size = make_image(400, 600), 256  # the last box is sampled, not averaged
    found = read_crop(image, (left, top, right, bottom), size) * STD + MEAN
    x, y, side = find_square((left, top, right, bottom))
    scale = size / side
    matrix = np.array([[scale, 0, size / 2 - scale * x], [0, scale, size / 2 - scale * y]])
    green, blue, red = image.arrays
    wanted = cv2.warpAffine(np.dstack([red, green, blue]), matrix, (size, size))
    assert wanted.std() > 20
    assert np.abs(found * 255 - wanted).max() < 1


def test_a_box_is_widened_to_a_person() -> None:
    assert find_square((0, 0, 30, 80)) == (15, 40, 80)
    assert find_square((0, 0, 90, 80)) == (45, 40, 120)


def test_the_camera_of_the_image_sees_what_that_of_the_crop_sees() -> None:
    """The padded square of 256 pixels of the published code, and the pixels of the image."""
    camera = np.array([0.8, 0.1, -0.2], np.float32)
    for size in ((320, 180), (180, 320)):
        square = (100.0, 120.0, 90.0)
        moved = find_translation(camera, square, size)
        ratio = 256 / max(size)
        depth = 2 * 5000 / (0.8 * 90 * ratio)
        padded = [100 * ratio + 128 - size[0] * ratio / 2, 120 * ratio + 128 - size[1] * ratio / 2]
        shifted = [place + (c - 128) * depth / 5000
                   for place, c in zip((0.1, -0.2), padded, strict=True)]  # fmt: skip
        assert moved == pytest.approx([*shifted, depth], rel=1e-5)
        # the origin of the body is where the weak perspective of the crop puts it
        pixels = project(np.zeros((1, 3), np.float32), moved, 5000 / ratio)[0] + np.array(size) / 2
        weak = [c + side * 90 / 2 * 0.8 for c, side in zip(square, (0.1, -0.2), strict=False)]
        assert pixels == pytest.approx(weak, abs=1e-3)


# --- estimates ------------------------------------------------------------------------------------


def test_a_person_is_described() -> None:
    people = estimate(make_image())
    assert len(people) == 3
    for person in people:
        shapes = {name: np.shape(value) for name, value in person.items()}
        assert shapes == {
            "global_orient": (3, 3), "body_pose": (23, 3, 3), "betas": (10,), "camera": (3,),
            "camera_crop": (3,), "translation": (3,), "focal": (), "root": (2,),
        }  # fmt: skip
        turns = np.concatenate([person["global_orient"][None], person["body_pose"]])
        np.testing.assert_allclose(turns @ turns.swapaxes(1, 2), np.eye(3)[None].repeat(24, 0),
                                   atol=1e-5)  # fmt: skip
        np.testing.assert_allclose(np.linalg.det(turns), 1, atol=1e-5)
        assert person["focal"] == 5000 * 160 / 256
    assert np.abs(people[0]["betas"] - people[1]["betas"]).max() > 1e-3
    assert estimate(make_image(), ()) == []


def test_the_batch_does_not_change_results() -> None:
    image = make_image()
    wanted = estimate(image, batch=32)
    for batch in (1, 2):
        found = estimate(image, batch=batch)
        for one, other in zip(found, wanted, strict=True):
            for name, value in one.items():
                np.testing.assert_allclose(value, other[name], rtol=1e-4, atol=1e-4)
    moved = estimate(image, BOXES[::-1])[::-1]
    np.testing.assert_allclose(moved[0]["body_pose"], wanted[0]["body_pose"], atol=1e-4)


@pytest.mark.parametrize("box", [(10, 10, 10, 50), (10, 50, 30, 20), (0, 0, float("nan"), 5),
                                 (0, 0, 1e9, 5)])  # fmt: skip
def test_a_box_without_area_is_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(BadInput, match="wanted left, top, right and bottom"):
        estimate(make_image(), [BOXES[0], box])


def test_rotations_are_float32_in_half_precision() -> None:
    net = open_network(weights(), torch.bfloat16, "cpu")
    assert net.dtype == torch.bfloat16
    assert net.smpl_head.init_body_pose.dtype == net.smpl_head.decpose.weight.dtype == torch.float32
    with torch.inference_mode():
        assert {values.dtype for values in net(draw(41, (1, 3, 64, 64)))} == {torch.float32}


def test_it_runs_on_cuda_in_half_precision() -> None:
    image, options = make_image(), Hmr2Options(weights=weights(), batch=2)
    with fake_cuda():
        found = registry.build_pose("hmr2", options, Placement("cuda"))(image, BOXES[:1])
    error = np.abs(found[0]["body_pose"] - estimate(image)[0]["body_pose"]).max()
    assert 1e-6 < error < 0.05


def test_results_that_are_not_finite_are_refused() -> None:
    net = open_network(weights(), torch.float32, "cpu")
    net.smpl_head.deccam.bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="camera that is NaN"):
        PoseEstimator(net, "cpu", 1)(make_image(), BOXES)


# --- files ----------------------------------------------------------------------------------------


class CfgNode(dict[str, Any]):
    """What the published checkpoint holds its settings in, next to the tensors."""


CfgNode.__module__ = "yacs.config"


def write_checkpoint(path: Path, tensors: dict[str, Tensor], monkeypatch: Any) -> None:
    """Write a checkpoint of Lightning, with what only training needs."""
    import sys
    from types import ModuleType

    module = ModuleType("yacs.config")
    module.CfgNode = CfgNode  # type: ignore[attr-defined]
    for name, one in (("yacs", ModuleType("yacs")), ("yacs.config", module)):
        monkeypatch.setitem(sys.modules, name, one)
    more = {"smpl.faces": torch.zeros(2, 3, dtype=torch.int64), "initialized": torch.tensor(True),
            "discriminator.D_conv1.weight": torch.zeros(2)}  # fmt: skip
    settings = CfgNode(MODEL=CfgNode(IMAGE_SIZE=256, BBOX_SHAPE=[192, 256]))
    torch.save({"epoch": 35, "state_dict": {**tensors, **more}, "hyper_parameters": settings}, path)


def test_the_checkpoint_of_training_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "epoch=35-step=1000000.ckpt"
    write_checkpoint(file, hmr2_tensors(), monkeypatch)
    assert registry.identify_weights(file) == "hmr2"
    found, wanted = (estimate(make_image(), weights=path) for path in (file, weights()))
    np.testing.assert_array_equal(found[0]["body_pose"], wanted[0]["body_pose"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"backbone.pos_embed": None}, "pos_embed"),
        ({"backbone.pos_embed": torch.zeros(1, 15, 32)}, "15 positions"),
        ({"backbone.pos_embed": torch.zeros(13)}, "another shape"),
        ({"backbone.blocks.1.attn.qkv.bias": None}, "1 of 75 are missing"),
        ({"smpl_head.decpose.weight": torch.zeros(144, 16)}, "have another shape"),
        ({"smpl_head.decface.weight": torch.zeros(4)}, "1 are unknown"),
    ],
)
def test_weights_of_another_network_are_refused(
    tmp_path: Path, change: dict[str, Tensor | None], said: str
) -> None:
    tensors = {name: tensor for name, tensor in {**hmr2_tensors(), **change}.items()
               if tensor is not None}  # fmt: skip
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(BadWeights, match=said):
        open_network(tmp_path / "other.safetensors", torch.float32, "cpu")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert "hmr2" not in registry.find_claims(shapes)


def test_without_weights_it_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"hmr2_data\.tar\.gz"):
        registry.build_pose("hmr2")
    with pytest.raises(BadWeights, match="does not exist"):
        registry.build_pose("hmr2", Hmr2Options(weights=tmp_path / "no.ckpt"))
    with pytest.raises(BadSetting, match="pass 1 to 32"):
        Hmr2Options(batch=0)
    with pytest.raises(BadSetting, match=r"pass one of .*hmr2"):
        registry.build_pose("film")


# --- memory ---------------------------------------------------------------------------------------


def test_memory_is_predicted_from_shapes() -> None:
    """Weights dominate: 670 million numbers, and megabytes for each crop."""
    assert memory.choose_batch(1 << 30, torch.float16, 32) == 0
    assert memory.choose_batch(4 << 30, torch.float16, 32) == 32
    one, two = (memory.predict(count, torch.float16) for count in (1, 2))
    assert one.parts["weights"] == pytest.approx(1.341e9, rel=0.01)
    assert 2e6 < two.peak - one.peak < 20e6


def test_the_batch_fits_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    low = memory.predict(1, torch.float32, HMR2).peak / memory.SHARE
    budgets = [int(low) + more for more in range(-1024, 8 << 20, 1 << 20)]
    sizes = [memory.choose_batch(budget, torch.float32, 32, HMR2) for budget in budgets]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (0, 32)
    for budget, size in zip(budgets, sizes, strict=True):
        peak = memory.predict(max(1, size), torch.float32, HMR2).peak
        assert not size or peak <= budget
    assert len(set(sizes)) > 3
    net = open_network(weights(), torch.float32, "cpu")
    assert memory.fit_batch(net, "cpu", 8) == 8
    for free, wanted in ((0, 1), (1 << 30, 8)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, free))
        assert memory.fit_batch(net, "cuda", 8) == wanted
