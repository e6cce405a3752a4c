"""LoRAs: what they change, by exact linear algebra, under all names that their authors use."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from filmgate.errors import BadSetting, BadWeights
from filmgate.weights.lora import load_lora

SHAPES = {"blocks.0.attn1.to_q.weight": (6, 4), "blocks.0.attn1.to_q.bias": (6,),
          "blocks.0.norm2.weight": (4,), "scale_shift_table": (1, 2, 4),
          "patch_embedding.weight": (6, 2, 1, 2, 2)}  # fmt: skip
ORIGINALS = {"blocks.0.attn1.to_q.weight": "blocks.0.self_attn.q.weight",
             "blocks.0.attn1.to_q.bias": "blocks.0.self_attn.q.bias",
             "blocks.0.norm2.weight": "blocks.0.norm3.weight",
             "scale_shift_table": "head.modulation",
             "patch_embedding.weight": "patch_embedding.weight"}  # fmt: skip
QUERY = "blocks.0.attn1.to_q.weight"
CHANCE = torch.Generator().manual_seed(0)
DOWN, UP = torch.randn(3, 4, generator=CHANCE), torch.randn(6, 3, generator=CHANCE)
WEIGHT = torch.randn(6, 4, generator=CHANCE)


def load(path: Path, tensors: dict[str, Tensor], strength: float = 1.0) -> dict[str, Tensor]:
    """Return the changed tensors, all 0 before, but the query's."""
    save_file(tensors, path)
    made = {}
    for name, changes in load_lora(path, SHAPES, ORIGINALS, strength).items():
        tensor = WEIGHT if name == QUERY else torch.zeros(SHAPES[name])
        for change in changes:
            tensor = change.add_to(tensor)
        made[name] = tensor
    return made


@pytest.mark.parametrize("layer", [
    "transformer.blocks.0.attn1.to_q", "blocks.0.attn1.to_q",
    "base_model.model.blocks.0.attn1.to_q",
    "diffusion_model.blocks.0.self_attn.q", "model.diffusion_model.blocks.0.self_attn.q",
    "lora_unet_blocks_0_self_attn_q",
])  # fmt: skip
@pytest.mark.parametrize("ends", [("lora_A.weight", "lora_B.weight"),
                                  ("lora_down.weight", "lora_up.weight"),
                                  ("lora_A.default.weight", "lora_B.default.weight")])  # fmt: skip
def test_weight_is_changed_by_the_product(
    layer: str, ends: tuple[str, str], tmp_path: Path
) -> None:
    tensors = {f"{layer}.{ends[0]}": DOWN, f"{layer}.{ends[1]}": UP}
    made = load(tmp_path / "a.safetensors", tensors)
    assert made.keys() == {QUERY}
    torch.testing.assert_close(made[QUERY], WEIGHT + UP @ DOWN)


def test_alpha_and_strength_scale_the_change(tmp_path: Path) -> None:
    layer = "diffusion_model.blocks.0.self_attn.q"
    tensors = {f"{layer}.lora_down.weight": DOWN, f"{layer}.lora_up.weight": UP,
               f"{layer}.alpha": torch.tensor(1.5)}  # fmt: skip
    made = load(tmp_path / "a.safetensors", tensors, strength=0.5)
    torch.testing.assert_close(made[QUERY], WEIGHT + 0.5 * (1.5 / 3) * UP @ DOWN)


def test_differences_of_weights_and_biases_are_added(tmp_path: Path) -> None:
    difference = torch.randn(6, 4, generator=CHANCE)
    layer = "diffusion_model.blocks.0.self_attn.q"
    tensors = {
        f"{layer}.lora_down.weight": DOWN, f"{layer}.lora_up.weight": UP,
        f"{layer}.diff": difference, f"{layer}.diff_b": torch.ones(6),
        "diffusion_model.blocks.0.norm3.diff": torch.ones(4),
        "diffusion_model.head.modulation.diff": torch.ones(1, 2, 4),
    }  # fmt: skip
    made = load(tmp_path / "a.safetensors", tensors, strength=2)
    torch.testing.assert_close(made[QUERY], WEIGHT + 2 * UP @ DOWN + 2 * difference)
    assert made["blocks.0.attn1.to_q.bias"].tolist() == [2] * 6
    assert made["blocks.0.norm2.weight"].tolist() == [2] * 4
    assert made["scale_shift_table"].flatten().tolist() == [2] * 8


def test_convolution_is_changed_too(tmp_path: Path) -> None:
    down, up = torch.randn(3, 2, 1, 2, 2), torch.randn(6, 3, 1, 1, 1)
    tensors = {"patch_embedding.lora_A.weight": down, "patch_embedding.lora_B.weight": up}
    made = load(tmp_path / "a.safetensors", tensors)["patch_embedding.weight"]
    torch.testing.assert_close(made, torch.einsum("or,ritab->oitab", up[..., 0, 0, 0], down))


BAD = {
    "layer that is not there": ({"blocks.9.attn1.to_q.lora_A.weight": DOWN,
                                 "blocks.9.attn1.to_q.lora_B.weight": UP}, "does not have"),
    "half": ({"blocks.0.attn1.to_q.lora_A.weight": DOWN}, "nothing"),
    "other half": ({"blocks.0.attn1.to_q.lora_B.weight": UP}, "no LoRA of this model"),
    "other sizes": ({"blocks.0.attn1.to_q.lora_A.weight": DOWN[:, :2],
                     "blocks.0.attn1.to_q.lora_B.weight": UP}, "another model"),
    "other ranks": ({"blocks.0.attn1.to_q.lora_A.weight": DOWN[:2],
                     "blocks.0.attn1.to_q.lora_B.weight": UP}, "another model"),
    "two alphas": ({"blocks.0.attn1.to_q.lora_A.weight": DOWN,
                    "blocks.0.attn1.to_q.lora_B.weight": UP,
                    "blocks.0.attn1.to_q.alpha": torch.ones(2)}, "2 numbers"),
    "other bias": ({"blocks.0.attn1.to_q.diff_b": torch.ones(5)}, "another model"),
    "no LoRA": ({"blocks.0.attn1.to_q.weight": WEIGHT}, "no LoRA"),
    "more than a LoRA": ({"blocks.0.attn1.to_q.lora_A.weight": DOWN,
                          "blocks.0.attn1.to_q.lora_B.weight": UP,
                          "blocks.0.attn2.k_img.lora_C": UP}, "no LoRA of this model"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_file_of_another_model_is_refused(kind: str, tmp_path: Path) -> None:
    tensors, why = BAD[kind]
    with pytest.raises(BadWeights, match=why):
        load(tmp_path / "a.safetensors", {name: one.clone() for name, one in tensors.items()})


def test_strength_has_bounds(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="lora_strength is nan"):
        load_lora(tmp_path / "a.safetensors", SHAPES, ORIGINALS, float("nan"))
