"""The transformers of Wan 2.2: equal to diffusers' own wherever their weights are."""

from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from filmgate.device.placement import Placement
from filmgate.errors import BadWeights
from filmgate.models.families.wan22 import transformer
from filmgate.models.families.wan22.loading import PartFiles, Parts, open_parts
from filmgate.models.families.wan22.names import list_original_names
from filmgate.models.families.wan22.placement import WeightPlacement
from filmgate.models.families.wan22.published import Name
from tests.cases import mark_slow_cases
from tests.models import tiny_wan22

NAMES: tuple[Name, ...] = ("ti2v-5b", "i2v-a14b")
PLACEMENTS = (
    WeightPlacement(), WeightPlacement(together=True), WeightPlacement(keep="stream"),
    WeightPlacement(keep="stream", resident_blocks=1), WeightPlacement(keep="disk"),
    WeightPlacement(keep="disk", resident_blocks=2),
)  # fmt: skip
TOKENS, FIRST = 3 * 2 * 3, 2 * 3  # of the latents below, and of their first frame


def make_inputs(name: Name, timestep: float = 500.0) -> tuple[Tensor, Tensor, Tensor]:
    chance = torch.Generator().manual_seed(0)
    channels = tiny_wan22.shrink(name).transformer["in_channels"]
    latents = torch.randn(1, channels, 3, 4, 6, generator=chance)
    prompt = torch.randn(1, 512, tiny_wan22.TEXT, generator=chance)
    times = torch.tensor([timestep])
    if name == "ti2v-5b":  # the image's tokens have timestep 0
        times = torch.full((1, TOKENS), timestep)
        times[:, :FIRST] = 0
    return latents, times, prompt


def open_files(name: Name, placement: WeightPlacement, **files: Any) -> Parts:
    folder = tiny_wan22.folder(name)
    return open_parts(PartFiles(folder=folder, **files), Placement("cpu"), placement)


def run_library(net: Any, inputs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    with torch.inference_mode():
        made: Tensor = net(hidden_states=inputs[0], timestep=inputs[1],
                           encoder_hidden_states=inputs[2], return_dict=False)[0]  # fmt: skip
    return made


@pytest.mark.parametrize("name", mark_slow_cases(["i2v-a14b"], NAMES))
def test_every_placement_is_equal_to_the_library(name: Name) -> None:
    inputs = make_inputs(name)
    high = run_library(tiny_wan22.build_transformer(name), inputs)
    low = high
    if name == "i2v-a14b":
        low = run_library(tiny_wan22.build_transformer(name, "low/"), inputs)
        assert not torch.equal(low, high)
    for placement in PLACEMENTS:
        experts = open_files(name, placement).experts
        for _ in range(2):
            assert torch.equal(experts.predict(*inputs, high_noise=True), high), placement
        assert torch.equal(experts.predict(*inputs, high_noise=False), low), placement
        assert len(experts._loaded) == (2 if placement.together and name == "i2v-a14b" else 1)
        experts.release()
        assert torch.equal(experts.predict(*inputs, high_noise=True), high)  # loaded again
        experts.release()


@pytest.mark.parametrize("name", mark_slow_cases(["ti2v-5b"], NAMES))
def test_slices_of_tokens_are_close_and_equal_in_every_placement(
    name: Name, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = make_inputs(name)
    expected = run_library(tiny_wan22.build_transformer(name), inputs)
    for size in (4096, 5):
        monkeypatch.setattr(transformer, "_SLICE", size)
        made = [open_files(name, WeightPlacement(sliced=True, keep=keep)).experts.predict(
            *inputs, high_noise=True) for keep in ("resident", "disk")]  # fmt: skip
        torch.testing.assert_close(made[0], expected, rtol=1e-5, atol=2e-5)
        assert torch.equal(*made)
    one_time = (inputs[0], torch.full_like(inputs[1], 9.0), inputs[2])
    made = [open_files(name, WeightPlacement(sliced=sliced)).experts.predict(
        *one_time, high_noise=True) for sliced in (True, False)]  # fmt: skip
    torch.testing.assert_close(*made, rtol=1e-5, atol=2e-5)


def test_half_precision_keeps_the_parts_in_float32_that_the_library_keeps() -> None:
    files = PartFiles(folder=tiny_wan22.folder("ti2v-5b"))
    inputs = make_inputs("ti2v-5b")
    net = tiny_wan22.build_transformer("ti2v-5b")
    kept = type(net)._keep_in_fp32_modules
    for part, parameter in net.named_parameters():
        if not set(kept) & set(part.split(".")):
            parameter.data = parameter.data.bfloat16()
    expected = run_library(net, (inputs[0].bfloat16(), inputs[1], inputs[2].bfloat16()))
    for placement in (WeightPlacement(), WeightPlacement(keep="disk")):
        parts = open_parts(files, Placement("cpu"), placement, torch.bfloat16)
        made = parts.experts.predict(*inputs, high_noise=True)
        assert made.dtype == torch.bfloat16
        assert torch.equal(made, expected)


@pytest.mark.parametrize("name", mark_slow_cases(["ti2v-5b"], NAMES))
def test_8_bits_lose_little_and_the_same_in_every_placement(name: Name) -> None:
    inputs = make_inputs(name)
    expected = run_library(tiny_wan22.build_transformer(name), inputs)
    made = [open_files(name, WeightPlacement(float8=True, keep=keep)).experts.predict(
        *inputs, high_noise=True) for keep in ("resident", "stream", "disk")]  # fmt: skip
    loss = (made[0] - expected).norm() / expected.norm()
    assert 0.001 < loss < 0.04
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])


def load_original(prefix: str = "") -> dict[str, Tensor]:
    """Return the tensors of the transformer under the names that its authors gave them."""
    place = tiny_wan22.folder("ti2v-5b") / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(place)
    names = list_original_names(tensors)
    return {prefix + names[name]: tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
def test_file_with_original_names_is_the_same_model(prefix: str, tmp_path: Path) -> None:
    tensors = load_original(prefix)
    assert f"{prefix}blocks.0.self_attn.q.weight" in tensors
    assert f"{prefix}head.modulation" in tensors
    save_file(tensors, tmp_path / "a.safetensors")
    inputs = make_inputs("ti2v-5b")
    expected = open_files("ti2v-5b", WeightPlacement()).experts.predict(*inputs, high_noise=True)
    parts = open_files("ti2v-5b", WeightPlacement(), high=tmp_path / "a.safetensors")
    assert torch.equal(parts.experts.predict(*inputs, high_noise=True), expected)


def write_gguf(path: Path, kind: gguf.GGMLQuantizationType) -> dict[str, Tensor]:
    """Write the transformer as a file of GGUF; return its tensors as they are read back."""
    writer, back = gguf.GGUFWriter(path, "wan"), {}
    for name, tensor in load_original().items():
        data = tensor.numpy()
        if data.ndim == 2 and (".self_attn." in name or ".ffn." in name):
            packed = gguf.quants.quantize(data, kind)
            writer.add_tensor(name, packed, raw_dtype=kind)
            back[name] = torch.from_numpy(gguf.quants.dequantize(packed, kind))
        else:  # files of GGUF have 4 dimensions at most
            flat = data.reshape(data.shape[0], -1, *data.shape[-2:]) if data.ndim == 5 else data
            writer.add_tensor(name, flat)
            back[name] = tensor
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return back


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    path = tmp_path_factory.mktemp("gguf") / "tiny-Q4_0.gguf"
    return path, write_gguf(path, gguf.GGMLQuantizationType.Q4_0)


def predict_dense(tensors: dict[str, Tensor], path: Path, **files: Any) -> Tensor:
    save_file(tensors, path)
    parts = open_files("ti2v-5b", WeightPlacement(), high=path, **files)
    return parts.experts.predict(*make_inputs("ti2v-5b"), high_noise=True)


def test_gguf_is_what_its_numbers_say(
    quantized: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    path, back = quantized
    inputs = make_inputs("ti2v-5b")
    expected = predict_dense(back, tmp_path / "dense.safetensors")
    plain = open_files("ti2v-5b", WeightPlacement()).experts.predict(*inputs, high_noise=True)
    loss = (expected - plain).norm() / plain.norm()
    assert 0.01 < loss < 0.3  # 4 bits are not 32
    for placement in PLACEMENTS:
        made = open_files("ti2v-5b", placement, high=path).experts.predict(
            *inputs, high_noise=True)  # fmt: skip
        assert torch.equal(made, expected), placement


def make_lora(path: Path, seed: int = 0) -> dict[str, Tensor]:
    """Write a LoRA of rank 2 for a layer of a block and one outside; return W + B A of each."""
    chance = torch.Generator().manual_seed(seed)
    tensors, sums = dict[str, Tensor](), load_original()
    for layer in ("blocks.1.self_attn.q", "blocks.2.ffn.0", "text_embedding.2"):
        rows, columns = sums[f"{layer}.weight"].shape
        down = torch.randn(2, columns, generator=chance)
        up = 0.3 * torch.randn(rows, 2, generator=chance)
        tensors |= {f"diffusion_model.{layer}.lora_down.weight": down,
                    f"diffusion_model.{layer}.lora_up.weight": up,
                    f"diffusion_model.{layer}.alpha": torch.tensor(1.0)}  # fmt: skip
        sums[f"{layer}.weight"] = sums[f"{layer}.weight"] + 0.5 * (up @ down)
    save_file(tensors, path)
    return sums


def test_lora_changes_the_result_as_its_product_does(tmp_path: Path) -> None:
    inputs, lora = make_inputs("ti2v-5b"), tmp_path / "lora.safetensors"
    expected = predict_dense(make_lora(lora), tmp_path / "sum.safetensors")
    plain = open_files("ti2v-5b", WeightPlacement()).experts.predict(*inputs, high_noise=True)
    assert (expected - plain).abs().max() > 0.01
    made = [open_files("ti2v-5b", placement, lora=lora).experts.predict(*inputs, high_noise=True)
            for placement in PLACEMENTS]  # fmt: skip
    torch.testing.assert_close(made[0], expected, rtol=1e-5, atol=1e-5)
    for other in made[1:]:
        assert torch.equal(other, made[0])
    none = open_files("ti2v-5b", WeightPlacement(), lora=lora, lora_strength=0.0)
    assert torch.equal(none.experts.predict(*inputs, high_noise=True), plain)


def test_lora_goes_with_gguf_and_with_8_bits(
    quantized: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    path, back = quantized
    inputs, lora = make_inputs("ti2v-5b"), tmp_path / "lora.safetensors"
    sums, plain = make_lora(lora), load_original()
    dense = {name: tensor + (sums[name] - plain[name]) for name, tensor in back.items()}
    expected = predict_dense(dense, tmp_path / "sum.safetensors")
    made = [open_files("ti2v-5b", placement, high=path, lora=lora).experts.predict(
        *inputs, high_noise=True) for placement in PLACEMENTS]  # fmt: skip
    torch.testing.assert_close(made[0], expected, rtol=1e-5, atol=1e-5)
    for other in made[1:]:
        assert torch.equal(other, made[0])
    save_file(sums, tmp_path / "sums.safetensors")
    small = WeightPlacement(float8=True)
    expected = open_files("ti2v-5b", small, high=tmp_path / "sums.safetensors").experts.predict(
        *inputs, high_noise=True)  # fmt: skip
    packed = open_files("ti2v-5b", small, lora=lora).experts.predict(*inputs, high_noise=True)
    assert (packed - expected).norm() < 0.005 * expected.norm()  # roundings of last bits


def test_each_expert_has_a_lora_of_its_own(tmp_path: Path) -> None:
    name: Name = "i2v-a14b"
    inputs, path = make_inputs(name), tmp_path / "low.safetensors"
    width = tiny_wan22.shrink(name).transformer["ffn_dim"] // 2
    save_file({"blocks.0.attn1.to_v.lora_A.weight": torch.ones(1, width),
               "blocks.0.attn1.to_v.lora_B.weight": torch.ones(width, 1)}, path)  # fmt: skip
    plain = open_files(name, WeightPlacement()).experts
    changed = open_files(name, WeightPlacement(), low_lora=path).experts
    for high_noise, is_same in ((True, True), (False, False)):
        pair = [experts.predict(*inputs, high_noise=high_noise) for experts in (plain, changed)]
        assert torch.equal(*pair) == is_same


def test_weights_in_8_bits_of_a_file_stay_so(tmp_path: Path) -> None:
    tensors = load_original("model.diffusion_model.")
    dense = dict(tensors)
    for name in list(tensors):
        if name.endswith("ffn.0.weight"):
            eighth = (tensors[name] * 8).to(torch.float8_e4m3fn)
            tensors[name] = eighth
            tensors[name.replace(".weight", ".scale_weight")] = torch.tensor([0.125])
            dense[name] = eighth.float() / 8
    save_file(tensors, tmp_path / "small.safetensors")
    expected = predict_dense(dense, tmp_path / "dense.safetensors")
    made = open_files("ti2v-5b", WeightPlacement(keep="stream"),
                      high=tmp_path / "small.safetensors")  # fmt: skip
    assert torch.equal(made.experts.predict(*make_inputs("ti2v-5b"), high_noise=True), expected)


def test_file_of_another_model_is_refused(tmp_path: Path) -> None:
    tensors, inputs = load_original(), make_inputs("ti2v-5b")
    bad = {
        "motion_encoder.enc.net_app.convs.9.bias": "are not those of Wan 2.2",
        "blocks.0.cross_attn.k_img.weight": "1 are unknown: blocks.0.attn2.add_k_proj.weight",
    }
    for name, why in bad.items():
        save_file({**tensors, name: torch.ones(3)}, tmp_path / "a.safetensors")
        parts = open_files("ti2v-5b", WeightPlacement(), high=tmp_path / "a.safetensors")
        with pytest.raises(BadWeights, match=why):
            parts.experts.predict(*inputs, high_noise=True)
    del tensors["blocks.2.ffn.0.weight"]
    save_file(tensors, tmp_path / "a.safetensors")
    parts = open_files("ti2v-5b", WeightPlacement(), high=tmp_path / "a.safetensors")
    with pytest.raises(BadWeights, match=r"1 of \d+ are missing: blocks\.2\.ffn\.net\.0\.proj"):
        parts.experts.predict(*inputs, high_noise=True)
