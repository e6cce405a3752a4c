"""Prompts as embeddings: equal to the library's, stored, and without the encoder once stored."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from filmgate.core.wrappers.cached import MemoryStore
from filmgate.device.placement import Placement
from filmgate.errors import BadWeights
from filmgate.models.families.wan22.loading import PartFiles, Parts, open_parts
from filmgate.models.families.wan22.placement import WeightPlacement
from filmgate.models.families.wan22.published import NEGATIVE
from filmgate.models.families.wan22.text import TextEncoder, clean_prompt, embed, explain_length
from tests.models import tiny_wan22

PROMPTS = ("a red ball rolls", "", "dark , still . " * 300)


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    monkeypatch.setenv("FILMGATE_MODELS", str(tmp_path / "models"))
    files = PartFiles(folder=tiny_wan22.folder("ti2v-5b"))
    return open_parts(files, Placement("cpu"), WeightPlacement())


def test_embeddings_are_those_of_the_library(parts: Parts) -> None:
    made = embed(parts, PROMPTS)
    assert made.shape == (3, 512, tiny_wan22.TEXT)
    pipeline = tiny_wan22.build_pipeline("ti2v-5b")
    for prompt, embedding in zip(PROMPTS, made, strict=True):
        expected, _ = pipeline.encode_prompt(
            prompt, do_classifier_free_guidance=False, max_sequence_length=512
        )
        assert torch.equal(embedding, expected[0]), prompt
    assert made[0, 5:].abs().max() == 0  # 4 words and the end
    assert made[2, -1].abs().max() > 0
    assert torch.equal(embed(parts, PROMPTS[:1])[0], made[0])  # others do not matter


def test_prompts_are_cleaned_as_by_the_library() -> None:
    from diffusers.pipelines.wan.pipeline_wan_i2v import prompt_clean

    for prompt in ("a  b\t\n c ", "&amp;lt;b&gt; &eacute;", "“quoted” ‘it’s’", "Ｆｕｌｌ，width",
                   "schÃ¶n", "a\u00a0b\u3000c", "\x1b[31mred\x07", NEGATIVE, ""):  # fmt: skip
        assert clean_prompt(prompt) == prompt_clean(prompt), prompt
    assert clean_prompt(" a &amp; b，c ") == "a & b,c"


def test_stored_embedding_needs_no_encoder(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = MemoryStore()
    first = embed(parts, PROMPTS[:2], cache)
    assert len(cache.entries) == 2

    def fail(self: TextEncoder, prompt: str) -> Any:
        raise AssertionError(f"{prompt} was encoded again")

    with monkeypatch.context() as patch:
        patch.setattr(TextEncoder, "encode", fail)
        assert torch.equal(embed(parts, ["a red  ball rolls ", ""], cache), first)
    for name in cache.entries:  # damaged, or of another size
        cache.entries[name] = b"damaged"
    assert torch.equal(embed(parts, PROMPTS[:2], cache), first)
    with monkeypatch.context() as patch:
        patch.setattr(TextEncoder, "encode", fail)
        assert torch.equal(embed(parts, PROMPTS[:2], cache), first)


def test_name_of_a_stored_embedding_tells_everything_apart(parts: Parts, tmp_path: Path) -> None:
    encoder = parts.open_text_encoder()
    folder, settings = tiny_wan22.folder("ti2v-5b"), parts.variant.text
    files = [folder / "text_encoder" / "model.safetensors"]
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_bytes((folder / "tokenizer" / "tokenizer.json").read_bytes() + b"\n")
    half = TextEncoder(files, folder / "tokenizer" / "tokenizer.json", settings, "cpu",
                       torch.bfloat16)  # fmt: skip
    other = TextEncoder(files, tokenizer, settings, "cpu", torch.float32)
    names = [encoder.name_result("a"), encoder.name_result("b"), half.name_result("a"),
             other.name_result("a")]  # fmt: skip
    assert len(set(names)) == 4
    assert encoder.name_result("a") == names[0]


def test_what_is_left_out_of_long_prompts_is_named(parts: Parts) -> None:
    assert parts.open_text_encoder().find_excess("a red ball") == (0, "")
    assert explain_length(parts, PROMPTS[:2]) == ""
    assert explain_length(parts, ["a " * 511]) == "", "with the end it has 512 tokens"
    notice = explain_length(parts, ["a " * 512])
    assert notice.startswith("the prompt has 513 tokens, and the model reads 512: the last 1 char")
    notice = explain_length(parts, ["a", "still " * 600 + "the grass"])
    assert notice.startswith("the negative prompt has 603 tokens")
    assert f"the last {len('still ' * 89 + 'the grass')} characters are left out" in notice


def _by_authors(name: str) -> str:
    """Return Wan's name of a tensor of the encoder."""
    layer = re.sub(r"^encoder\.block\.", "blocks.", name)
    for new, old in (("shared", "token_embedding"), ("encoder.final_layer_norm", "norm"),
                     ("layer.0.layer_norm", "norm1"), ("layer.1.layer_norm", "norm2"),
                     ("layer.0.SelfAttention.relative_attention_bias", "pos_embedding.embedding"),
                     ("layer.0.SelfAttention", "attn"), ("layer.1.DenseReluDense.wi_0",
                     "ffn.gate.0"), ("layer.1.DenseReluDense.wi_1", "ffn.fc1"),
                     ("layer.1.DenseReluDense.wo", "ffn.fc2")):  # fmt: skip
        layer = layer.replace(new, old)
    return layer


def _by_llama(name: str) -> str:
    """Return llama.cpp's name of a tensor of the encoder."""
    layer = re.sub(r"^encoder\.block\.", "enc.blk.", name)
    for new, old in (("shared", "token_embd"), ("encoder.final_layer_norm", "enc.output_norm"),
                     ("layer.0.layer_norm", "attn_norm"), ("layer.1.layer_norm", "ffn_norm"),
                     ("layer.0.SelfAttention.relative_attention_bias", "attn_rel_b"),
                     ("layer.0.SelfAttention.", "attn_"), ("layer.1.DenseReluDense.wi_0",
                     "ffn_gate"), ("layer.1.DenseReluDense.wi_1", "ffn_up"),
                     ("layer.1.DenseReluDense.wo", "ffn_down")):  # fmt: skip
        layer = layer.replace(new, old)
    return layer


Tensors = dict[str, torch.Tensor]


def _is_matrix(name: str, tensor: torch.Tensor) -> bool:
    return tensor.ndim == 2 and "bias" not in name


def _save_scaled(tensors: Tensors, path: Path) -> Tensors:
    """Write 8 bits as ComfyUI's umt5_xxl_fp8_e4m3fn_scaled.safetensors has them."""
    stored = {"scaled_fp8": torch.empty(0, dtype=torch.float8_e4m3fn),
              "spiece_model": torch.zeros(9, dtype=torch.uint8)}  # fmt: skip
    meant = {}
    for name, tensor in tensors.items():
        stored[name] = meant[name] = tensor.half()
        if _is_matrix(name, tensor):
            scale = tensor.abs().max() / 448
            stored[name] = (tensor / scale).to(torch.float8_e4m3fn)
            stored[name.replace(".weight", ".scale_weight")] = scale
            stored[name.replace(".weight", ".scale_input")] = torch.ones(())
            meant[name] = stored[name].float() * scale
    save_file(stored, path)
    return meant


def _save_gguf(tensors: Tensors, path: Path) -> Tensors:
    gguf = pytest.importorskip("gguf")
    writer, kind, meant = gguf.GGUFWriter(path, "t5encoder"), gguf.GGMLQuantizationType.Q8_0, {}
    for name, tensor in tensors.items():
        data, own = tensor.numpy(), None
        if _is_matrix(name, tensor) and not tensor.shape[1] % 32:
            data, own = gguf.quants.quantize(data, kind), kind
        writer.add_tensor(_by_llama(name), data, raw_dtype=own)
        numbers = data if own is None else gguf.quants.dequantize(data, kind)
        meant[name] = torch.from_numpy(numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return meant


def _save_renamed(rename: Callable[[str], str]) -> Callable[[Tensors, Path], Tensors]:
    def save(tensors: Tensors, path: Path) -> Tensors:
        save_file({rename(name): tensor for name, tensor in tensors.items()}, path)
        return tensors

    return save


FORMS: dict[str, tuple[str, Callable[[Tensors, Path], Tensors]]] = {
    "one file": ("umt5_xxl_fp16.safetensors", _save_renamed(str)),
    "by its second name": ("model.safetensors", _save_renamed(
        lambda name: name.replace("shared", "encoder.embed_tokens"))),
    "by its authors": ("umt5-xxl-enc-bf16.safetensors", _save_renamed(_by_authors)),
    "8 bits of ComfyUI": ("umt5_xxl_fp8_e4m3fn_scaled.safetensors", _save_scaled),
    "gguf": ("umt5-xxl-encoder-Q8_0.gguf", _save_gguf),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_text_encoder_may_be_a_file(form: str, parts: Parts, tmp_path: Path) -> None:
    """The forms that users have; results are those of the numbers that they hold."""
    name, save = FORMS[form]
    stored = parts.files.folder / "text_encoder" / "model.safetensors"
    meant = save(load_file(stored), tmp_path / name)
    save_file(meant, tmp_path / "meant.safetensors")
    made, expected = (
        embed(open_parts(replace(parts.files, text_encoder=tmp_path / file), Placement("cpu"),
                         WeightPlacement()), PROMPTS[:1])
        for file in (name, "meant.safetensors")
    )  # fmt: skip
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-5)


def test_a_file_of_another_encoder_is_refused(parts: Parts, tmp_path: Path) -> None:
    settings = parts.variant.text
    query = "encoder.block.0.layer.0.SelfAttention.q.weight"
    for names, said in (({_by_llama(query), query}, "get one name"), ({"a.b"}, "another model")):
        path = tmp_path / "encoder.safetensors"
        save_file({name: torch.zeros(1) for name in names}, path)
        encoder = TextEncoder([path], parts.files.folder / "tokenizer" / "tokenizer.json", settings,
                              "cpu", torch.float32)  # fmt: skip
        with pytest.raises(BadWeights, match=said):
            encoder.encode("a")
    missing = replace(parts.files, text_encoder=tmp_path / "umt5.safetensors")
    with pytest.raises(BadWeights, match=r"text_encoder is .*: check its name"):
        open_parts(missing, Placement("cpu"), WeightPlacement())
    pickled = tmp_path / "models_t5_umt5-xxl-enc-bf16.pth"
    pickled.touch()
    files = replace(parts.files, text_encoder=pickled)
    with pytest.raises(BadWeights, match=r"text_encoder is .*\.safetensors or \.gguf"):
        open_parts(files, Placement("cpu"), WeightPlacement())


def test_half_precision_is_close(parts: Parts) -> None:
    half = open_parts(parts.files, Placement("cpu"), WeightPlacement(), torch.bfloat16)
    made, expected = embed(half, PROMPTS[:1]), embed(parts, PROMPTS[:1])
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made.float(), expected, rtol=0.05, atol=0.05)


def test_tokenizer_of_another_model_is_refused(parts: Parts, tmp_path: Path) -> None:
    folder, settings = tiny_wan22.folder("ti2v-5b"), dict(parts.variant.text)
    files = [folder / "text_encoder" / "model.safetensors"]
    tokenizer = folder / "tokenizer" / "tokenizer.json"
    small = TextEncoder(files, tokenizer, {**settings, "vocab_size": 5}, "cpu", torch.float32)
    with pytest.raises(BadWeights, match="the encoder knows 5 tokens"):
        small.encode("a red ball")
    (tmp_path / "tokenizer.json").write_text("{}")
    damaged = TextEncoder(files, tmp_path / "tokenizer.json", settings, "cpu", torch.float32)
    with pytest.raises(BadWeights, match="cannot be read as a tokenizer"):
        damaged.encode("a")
    other = TextEncoder(files, tokenizer, {**settings, "d_ff": 48}, "cpu", torch.float32)
    with pytest.raises(BadWeights, match="have another shape"):
        other.encode("a")
