"""Folders and files of Wan 2.2: what they are is read, and anything else is named."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from filmgate.device.placement import Placement
from filmgate.errors import BadSetting, BadWeights
from filmgate.models.families.wan22.loading import (
    PartFiles,
    build_vae_on_meta,
    count_stored,
    find_variant,
    list_part,
    list_weight_files,
    open_parts,
)
from filmgate.models.families.wan22.names import find_vae_names
from filmgate.models.families.wan22.placement import WeightPlacement
from filmgate.models.families.wan22.published import (
    I2V_A14B,
    TI2V_5B,
    Name,
    Variant,
    to_plain,
)
from tests.models import tiny_wan22

NAMES: tuple[Name, ...] = ("ti2v-5b", "i2v-a14b")
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def settings_only(tmp_path: Path) -> Callable[[Name], Path]:
    """A copy of a folder's settings, without weights."""

    def copy(name: Name) -> Path:
        place = tmp_path / name
        shutil.copytree(tiny_wan22.folder(name), place,
                        ignore=shutil.ignore_patterns("*.safetensors"))  # fmt: skip
        return place

    return copy


@pytest.mark.parametrize("name", NAMES)
def test_folder_says_what_it_is(name: Name) -> None:
    found = find_variant(PartFiles(folder=tiny_wan22.folder(name)))
    wanted = tiny_wan22.shrink(name)
    assert found.name == name
    for part in ("transformer", "vae", "text"):
        assert getattr(found, part) == dict(getattr(wanted, part)), part
    assert dict(found.scheduler) == dict(wanted.scheduler)
    assert found.boundary == wanted.boundary
    assert find_variant(PartFiles(folder=tiny_wan22.folder(name)), name).name == name


def test_folder_of_the_other_model_is_refused() -> None:
    with pytest.raises(BadSetting, match=r"variant is ti2v-5b, and .* holds i2v-a14b"):
        find_variant(PartFiles(folder=tiny_wan22.folder("i2v-a14b")), "ti2v-5b")
    with pytest.raises(BadSetting, match="ti2v-5b has one transformer: pass its file as --high"):
        find_variant(PartFiles(folder=tiny_wan22.folder("ti2v-5b"), low=Path("a.gguf")))


def test_missing_folder_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match=r"model_index\.json is missing: the folder wan22-i2v-a14b "
                       r"\(Wan-AI/Wan2\.2-I2V-A14B-Diffusers, about 68\.8 GB \(predicted\), "
                       r"Apache-2\.0\) .* filmgate models pull wan22-i2v-a14b"):  # fmt: skip
        find_variant(PartFiles(folder=tmp_path), "i2v-a14b")


CHANGES: dict[str, tuple[str, Change, str]] = {
    "text to video": ("model_index.json", lambda one: one.update(expand_timesteps=False),
                      "neither of Wan 2.2 TI2V-5B nor of I2V-A14B"),
    "huge": ("transformer/config.json", lambda one: one.update(num_layers=10**9),
             "num_layers is 1000000000, expected as in 30, at most 256"),
    "negative": ("transformer/config.json", lambda one: one.update(ffn_dim=-1), "ffn_dim is -1"),
    "words": ("transformer/config.json", lambda one: one.update(ffn_dim="14336"),
              "ffn_dim is '14336'"),
    "truth": ("transformer/config.json", lambda one: one.update(freq_dim=True), "freq_dim is True"),
    "image encoder": ("transformer/config.json", lambda one: one.update(image_dim=1280),
                      "image_dim is 1280, expected as in None"),
    "patches": ("transformer/config.json", lambda one: one.update(patch_size=[1, 4, 4]),
                r"patch_size is \(1, 4, 4\)"),
    "eps": ("transformer/config.json", lambda one: one.update(eps=float("nan")), "eps is nan"),
    "channels": ("transformer/config.json", lambda one: one.update(in_channels=16),
                 "in_channels of transformer is 16, expected 4"),
    "prompt": ("text_encoder/config.json", lambda one: one.update(d_model=64),
               "text_dim of transformer is 32, expected 64"),
    "vae": ("vae/config.json", lambda one: one.update(is_residual=False), "is_residual is False"),
    "statistics": ("vae/config.json", lambda one: one.update(latents_std=[1.0]),
                   "length of latents_std of vae is 1, expected 4"),
    "zero": ("vae/config.json", lambda one: one.update(latents_std=[1, 1, 0, 1]), "holds 0"),
    "no numbers": ("vae/config.json", lambda one: one.update(latents_mean=["a"] * 4),
                   "latents_mean is"),
    "scheduler": ("scheduler/scheduler_config.json", lambda one: one.update(_class_name="os"),
                  "is of 'os', expected one of UniPC"),
    "plain": ("scheduler/scheduler_config.json", lambda one: one.update(flow_shift={"a": 1}),
              "flow_shift is"),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHANGES)
def test_settings_of_another_model_are_named(
    kind: str, settings_only: Callable[[Name], Path]
) -> None:
    folder = settings_only("ti2v-5b")
    name, change, why = CHANGES[kind]
    contents = json.loads((folder / name).read_text())
    change(contents)
    (folder / name).write_text(json.dumps(contents))
    with pytest.raises(BadWeights, match=why):
        find_variant(PartFiles(folder=folder))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\0\xff", '{"a": 1}'])
def test_damaged_settings_are_named(text: str, settings_only: Callable[[Name], Path]) -> None:
    folder = settings_only("ti2v-5b")
    (folder / "model_index.json").write_text(text, encoding="latin-1")
    with pytest.raises(BadWeights, match="model_index"):
        find_variant(PartFiles(folder=folder))


@pytest.mark.parametrize("boundary", [0, 1, 7, "high", True])
def test_boundary_is_a_part_of_the_steps(
    boundary: object, settings_only: Callable[[Name], Path]
) -> None:
    folder = settings_only("i2v-a14b")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "boundary_ratio": boundary}))
    with pytest.raises(BadWeights, match="boundary_ratio is"):
        find_variant(PartFiles(folder=folder))


def test_file_without_settings_gets_the_published_ones(
    settings_only: Callable[[Name], Path],
) -> None:
    folder = settings_only("i2v-a14b")
    for part, settings in (("vae", I2V_A14B.vae), ("text_encoder", I2V_A14B.text)):
        (folder / part / "config.json").write_text(json.dumps(to_plain(settings)))
    for part in ("transformer", "transformer_2"):
        shutil.rmtree(folder / part)
    with pytest.raises(BadWeights, match=r"transformer.config\.json is missing"):
        find_variant(PartFiles(folder=folder))
    files = PartFiles(folder=folder, high=Path("high.gguf"), low=Path("low.gguf"))
    assert find_variant(files).transformer == dict(I2V_A14B.transformer)


def test_settings_that_make_no_network_are_refused() -> None:
    from filmgate.models.families.wan22.transformer import build_on_meta

    odd = {**TI2V_5B.transformer, "attention_head_dim": 7}
    with pytest.raises(BadWeights, match="the settings of the transformer make no network"):
        build_on_meta(odd)


def test_files_that_affect_results_are_listed(
    settings_only: Callable[[Name], Path], tmp_path: Path
) -> None:
    for name in NAMES:
        folder, variant = tiny_wan22.folder(name), tiny_wan22.shrink(name)
        files = PartFiles(folder=folder)
        listed = {path.relative_to(folder).as_posix() for path in list_weight_files(files, variant)}
        assert {path for path in listed if path.endswith(".safetensors")} == {
            path.relative_to(folder).as_posix() for path in folder.rglob("*.safetensors")
        }
        assert "tokenizer/tokenizer.json" in listed
    lora = tmp_path / "lora.safetensors"
    lora.write_bytes(b"")
    assert lora in list_weight_files(replace(files, lora=lora), variant)
    empty = PartFiles(folder=settings_only("ti2v-5b"))
    with pytest.raises(BadWeights, match=r"transformer.*safetensors is missing"):
        open_parts(empty, Placement("cpu"), WeightPlacement())


def test_weights_in_parts_are_those_of_the_index(tmp_path: Path) -> None:
    index = tmp_path / "vae" / "diffusion_pytorch_model.safetensors.index.json"
    index.parent.mkdir()
    for names, why in (({"a": "../b.safetensors"}, "names"), ({"a": "b.bin"}, "names"),
                       ({}, "lists no files"), ([], "lists no files")):  # fmt: skip
        index.write_text(json.dumps({"weight_map": names}))
        with pytest.raises(BadWeights, match=why):
            list_part(tmp_path, "vae")
    index.write_text(json.dumps({"weight_map": {"a": "2.safetensors", "b": "1.safetensors"}}))
    assert [path.name for path in list_part(tmp_path, "vae")] == ["1.safetensors", "2.safetensors"]


def test_transformer_in_parts_is_the_same(
    settings_only: Callable[[Name], Path], tmp_path: Path
) -> None:
    folder, source = settings_only("ti2v-5b"), tiny_wan22.folder("ti2v-5b")
    for part in ("vae", "text_encoder"):
        shutil.copytree(source / part, folder / part, dirs_exist_ok=True)
    tensors = load_file(source / "transformer" / "diffusion_pytorch_model.safetensors")
    names, half = dict[str, str](), len(tensors) // 2
    for number, some in enumerate((list(tensors)[:half], list(tensors)[half:])):
        file = f"diffusion_pytorch_model-0000{number + 1}-of-00002.safetensors"
        save_file({name: tensors[name] for name in some}, folder / "transformer" / file)
        names |= dict.fromkeys(some, file)
    index = folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": names}))
    chance = torch.Generator().manual_seed(0)
    inputs = (torch.randn(1, 4, 1, 4, 4, generator=chance), torch.tensor([9.0]),
              torch.randn(1, 512, tiny_wan22.TEXT, generator=chance))  # fmt: skip
    made = [open_parts(PartFiles(folder=one), Placement("cpu"), WeightPlacement()).experts.predict(
        *inputs, high_noise=True) for one in (folder, source)]  # fmt: skip
    assert torch.equal(*made)


def list_original_vae_names(variant: Variant) -> dict[str, str]:
    """Return diffusers' name of each tensor by the authors' name, spelled out here."""
    names = {}
    layers = {"norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3",
              "conv2": "residual.6", "conv_shortcut": "shortcut"}  # fmt: skip
    nested = variant.vae["is_residual"]
    for new in build_vae_on_meta(variant.vae).state_dict():
        old = new
        for layer, other in layers.items():
            old = old.replace(f".{layer}.", f".{other}.")
        for half, way in (("encoder", "down"), ("decoder", "up")):
            old = old.replace(f"{half}.mid_block.resnets.0", f"{half}.middle.0")
            old = old.replace(f"{half}.mid_block.attentions.0", f"{half}.middle.1")
            old = old.replace(f"{half}.mid_block.resnets.1", f"{half}.middle.2")
            old = old.replace(f"{half}.conv_in", f"{half}.conv1")
            old = old.replace(f"{half}.norm_out", f"{half}.head.0")
            old = old.replace(f"{half}.conv_out", f"{half}.head.2")
            stages = f"{half}.{way}_blocks."
            if old.startswith(stages) and nested:
                stage, rest = old.removeprefix(stages).split(".", 1)
                last = variant.vae["num_res_blocks"] + (half == "decoder")
                rest = rest.removeprefix("resnets.").replace(f"{way}sampler", str(last))
                old = f"{half}.{way}samples.{stage}.{way}samples.{rest}"
            elif old.startswith(stages) and half == "decoder":
                stage, kind, at, rest = old.removeprefix(stages).split(".", 3)
                layer_at = int(stage) * 4 + (int(at) if kind == "resnets" else 3)
                old = f"{half}.{way}samples.{layer_at}.{rest}"
            elif old.startswith(stages):
                old = old.replace(stages, f"{half}.{way}samples.")
        names[old.replace("post_quant_conv", "conv2").replace("quant_conv", "conv1")] = new
    return names


@pytest.mark.parametrize("variant", [TI2V_5B, I2V_A14B], ids=NAMES)
def test_names_of_the_autoencoder_are_found(variant: Variant) -> None:
    names = list_original_vae_names(variant)
    assert "decoder.head.2.weight" in names
    found = find_vae_names(names, Path("a.pth"))
    assert found == {new: old for old, new in names.items()}


@pytest.mark.parametrize("name", NAMES)
def test_autoencoder_of_a_file_is_that_of_the_folder(name: Name, tmp_path: Path) -> None:
    folder = tiny_wan22.folder(name)
    tensors = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    names = list_original_vae_names(tiny_wan22.shrink(name))
    torch.save({old: tensors[new] for old, new in names.items()}, tmp_path / "vae.pth")
    files = PartFiles(folder=folder)
    vaes = [open_parts(one, Placement("cpu"), WeightPlacement()).open_vae()
            for one in (files, replace(files, vae=tmp_path / "vae.pth"))]  # fmt: skip
    found, wanted = (vae.state_dict() for vae in vaes)
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in found.items())
    save_file({"encoder.downsamples.a": torch.ones(1)}, tmp_path / "vae.safetensors")
    bad = replace(files, vae=tmp_path / "vae.safetensors")
    with pytest.raises(BadWeights, match=r"vae\.safetensors"):
        open_parts(bad, Placement("cpu"), WeightPlacement()).open_vae()


def test_bytes_that_stay_as_they_are_stored(tmp_path: Path) -> None:
    files = PartFiles(folder=tmp_path)
    assert count_stored(files) is None
    (tmp_path / "a.gguf").write_bytes(bytes(99))
    assert count_stored(replace(files, high=tmp_path / "a.gguf")) == 99
    with pytest.raises(BadWeights, match=r"b\.gguf: .*; check its name"):
        count_stored(replace(files, high=tmp_path / "b.gguf"))
