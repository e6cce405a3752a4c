"""Prompts as embeddings: equal to the library's, stored, and without the encoder once stored."""

from pathlib import Path
from typing import Any

import pytest
import torch

from filmgate.core.wrappers.cached import MemoryStore
from filmgate.device.placement import Placement
from filmgate.errors import BadWeights
from filmgate.models.families.wan22.loading import PartFiles, Parts, open_parts
from filmgate.models.families.wan22.placement import WeightPlacement
from filmgate.models.families.wan22.published import NEGATIVE
from filmgate.models.families.wan22.text import TextEncoder, clean_prompt, embed
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


def test_long_prompts_are_counted(parts: Parts) -> None:
    encoder = parts.open_text_encoder()
    assert encoder.count_tokens("a red ball") == 4
    assert encoder.count_tokens(PROMPTS[2]) == 1201


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
