"""Small models of Wan 2.2, with weights by rule, in folders as diffusers writes them."""

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from filmgate.models.families.wan22.published import (
    VARIANTS,
    Name,
    Settings,
    Variant,
    to_plain,
)
from tests.models.tiny import by_rule

LAYERS, TEXT = 3, 32
WORDS = ("a", "red", "ball", "rolls", "over", "the", "grass", "dark", "still", ",", ".")
# multiples of 32, as blocks of GGUF need them
_SMALL = {"num_layers": LAYERS, "num_attention_heads": 2, "attention_head_dim": 16,
          "ffn_dim": 64, "text_dim": TEXT, "freq_dim": 32, "rope_max_seq_len": 64}  # fmt: skip
_TEXT = {"vocab_size": 3 + len(WORDS), "d_model": TEXT, "d_kv": 4, "d_ff": 32, "num_layers": 2,
         "num_heads": 2, "relative_attention_num_buckets": 8}  # fmt: skip
Z = 4  # channels of latents; of the mask too


def shrink(name: Name) -> Variant:
    """Return the model with small parts; scales of size and time are the published ones."""
    from dataclasses import replace

    full = VARIANTS[name]
    inputs = Z if full.replaces_first else 3 * Z
    statistics = {"latents_mean": full.vae["latents_mean"][:Z],
                  "latents_std": full.vae["latents_std"][:Z]}  # fmt: skip
    small = {"base_dim": 4, "decoder_base_dim": 8 if full.replaces_first else None, "z_dim": Z}
    return replace(
        full,
        transformer={**full.transformer, **_SMALL, "in_channels": inputs, "out_channels": Z},
        vae={**full.vae, **small, **statistics},
        text={**full.text, **_TEXT},
    )


def build_transformer(name: Name, prefix: str = "high/") -> Any:
    """Return the transformer with weights by rule; `prefix` makes another one of the same sizes."""
    from diffusers import WanTransformer3DModel

    return _fill(WanTransformer3DModel(**to_plain(shrink(name).transformer)), prefix)


def build_vae(name: Name) -> Any:
    """Return the autoencoder with weights by rule."""
    from diffusers import AutoencoderKLWan

    return _fill(AutoencoderKLWan(**to_plain(shrink(name).vae)), "vae/")


def build_text_encoder(name: Name) -> Any:
    """Return the text encoder with weights by rule."""
    from transformers import UMT5Config, UMT5EncoderModel

    return _fill(UMT5EncoderModel(UMT5Config(**shrink(name).text)), "text/")


@cache
def folder(name: Name = "ti2v-5b") -> Path:
    """Return a temporary folder of weights, with all parts of a pipeline of diffusers."""
    place, variant = Path(_folder().name) / name, shrink(name)
    place.mkdir()
    _save(place / "transformer", build_transformer(name), "WanTransformer3DModel",
          variant.transformer)  # fmt: skip
    if variant.experts == 2:
        _save(place / "transformer_2", build_transformer(name, "low/"), "WanTransformer3DModel",
              variant.transformer)  # fmt: skip
    _save(place / "vae", build_vae(name), "AutoencoderKLWan", variant.vae)
    settings = {**variant.text, "model_type": "umt5", "architectures": ["UMT5EncoderModel"]}
    _save(place / "text_encoder", build_text_encoder(name), "", settings, "model",
          skip="encoder.embed_tokens.weight")  # fmt: skip
    _write(place / "scheduler" / "scheduler_config.json", dict(variant.scheduler))
    _save_tokenizer(place / "tokenizer")
    _write(place / "model_index.json", _describe_pipeline(variant))
    return place


def build_pipeline(name: Name) -> Any:
    """Return diffusers' own pipeline with the same parts: the reference in tests."""
    from diffusers import UniPCMultistepScheduler, WanImageToVideoPipeline
    from transformers import AutoTokenizer

    variant = shrink(name)
    return WanImageToVideoPipeline(
        tokenizer=AutoTokenizer.from_pretrained(folder(name) / "tokenizer", local_files_only=True),
        text_encoder=build_text_encoder(name),
        vae=build_vae(name),
        scheduler=UniPCMultistepScheduler.from_config(dict(variant.scheduler)),
        transformer=build_transformer(name),
        transformer_2=build_transformer(name, "low/") if variant.experts == 2 else None,
        boundary_ratio=variant.boundary,
        expand_timesteps=variant.replaces_first,
    )


def _describe_pipeline(variant: Variant) -> dict[str, Any]:
    two = ["diffusers", "WanTransformer3DModel"] if variant.experts == 2 else [None, None]
    return {
        "_class_name": "WanImageToVideoPipeline", "_diffusers_version": "0.35.0",
        "boundary_ratio": variant.boundary, "expand_timesteps": variant.replaces_first,
        "image_encoder": [None, None], "image_processor": [None, None],
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["diffusers", "WanTransformer3DModel"], "transformer_2": two,
        "vae": ["diffusers", "AutoencoderKLWan"],
    }  # fmt: skip


def _save_tokenizer(place: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: k for k, word in enumerate(("<pad>", "</s>", "<unk>", *WORDS))}
    tokens = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokens, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(place)


def _fill(net: nn.Module, prefix: str) -> Any:
    """The network with weights by rule; what scales is near 1."""
    made = {}
    for name, tensor in net.state_dict().items():
        made[name] = by_rule(prefix + name, tuple(tensor.shape))
        if name.endswith(("gamma", "norm_q.weight", "norm_k.weight", "norm2.weight")) or (
            "layer_norm" in name
        ):
            made[name] = 1 + 0.1 * made[name]
    if "shared.weight" in made:  # one tensor under two names
        made["encoder.embed_tokens.weight"] = made["shared.weight"]
    net.load_state_dict(made)
    return net.eval().requires_grad_(False)


def _save(
    place: Path, net: nn.Module, kind: str, settings: Settings, stem: str = "", skip: str = ""
) -> None:
    place.mkdir()
    named = {"_class_name": kind, "_diffusers_version": "0.35.0"} if kind else {}
    _write(place / "config.json", {**named, **to_plain(settings)})
    tensors = {name: tensor.contiguous() for name, tensor in net.state_dict().items()
               if name != skip}  # fmt: skip
    save_file(tensors, place / f"{stem or 'diffusion_pytorch_model'}.safetensors",
              {"format": "pt"})  # fmt: skip


def _write(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="filmgate_tiny")
