"""Names of tensors: those of diffusers, and those that the authors of Wan gave."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from filmgate.errors import BadWeights
from filmgate.weights.state_dict import check_tensors
from filmgate.weights.tensor_files import RenamedFile, TensorFile

Shapes = Mapping[str, tuple[int, ...]]
_PATCHES = "patch_embedding.weight"  # 5 dimensions: files of GGUF hold it with less
_PREFIXES = ("model.diffusion_model.", "diffusion_model.")
_TRANSFORMER = (
    ("condition_embedder.time_embedder.linear_1", "time_embedding.0"),
    ("condition_embedder.time_embedder.linear_2", "time_embedding.2"),
    ("condition_embedder.text_embedder.linear_1", "text_embedding.0"),
    ("condition_embedder.text_embedder.linear_2", "text_embedding.2"),
    ("condition_embedder.time_proj", "time_projection.1"),
    ("proj_out", "head.head"),
    (".attn1.", ".self_attn."), (".attn2.", ".cross_attn."),
    (".to_q.", ".q."), (".to_k.", ".k."), (".to_v.", ".v."), (".to_out.0.", ".o."),
    (".ffn.net.0.proj.", ".ffn.0."), (".ffn.net.2.", ".ffn.2."),
    (".norm2.", ".norm3."),
    (".scale_shift_table", ".modulation"),
)  # fmt: skip
_TABLE, _SECOND_TABLE = "shared.weight", "encoder.embed_tokens.weight"
_TEXT_OF_AUTHORS = (
    ("token_embedding.", "shared."), ("blocks.", "encoder.block."),
    (".norm1.", ".layer.0.layer_norm."), (".attn.", ".layer.0.SelfAttention."),
    (".pos_embedding.embedding.", ".layer.0.SelfAttention.relative_attention_bias."),
    (".norm2.", ".layer.1.layer_norm."), (".ffn.gate.0.", ".layer.1.DenseReluDense.wi_0."),
    (".ffn.fc1.", ".layer.1.DenseReluDense.wi_1."), (".ffn.fc2.", ".layer.1.DenseReluDense.wo."),
    ("norm.", "encoder.final_layer_norm."),
)  # fmt: skip
_TEXT_OF_GGUF = (
    ("token_embd.", "shared."), ("enc.blk.", "encoder.block."),
    ("enc.output_norm.", "encoder.final_layer_norm."),
    (".attn_norm.", ".layer.0.layer_norm."),
    (".attn_rel_b.", ".layer.0.SelfAttention.relative_attention_bias."),
    *((f".attn_{one}.", f".layer.0.SelfAttention.{one}.") for one in "qkvo"),
    (".ffn_norm.", ".layer.1.layer_norm."), (".ffn_gate.", ".layer.1.DenseReluDense.wi_0."),
    (".ffn_up.", ".layer.1.DenseReluDense.wi_1."), (".ffn_down.", ".layer.1.DenseReluDense.wo."),
)  # fmt: skip
# Names in the autoencoder of Wan 2.2 that diffusers does not convert: layers in stages of one size.
_NESTED = re.compile(r"(en|de)coder\.(?:down|up)samples\.(\d+)\.(?:down|up)samples\.(\d+)\.(.+)")
_LAYERS = (("residual.0.", "norm1."), ("residual.2.", "conv1."), ("residual.3.", "norm2."),
           ("residual.6.", "conv2."), ("shortcut.", "conv_shortcut."))  # fmt: skip


def fit_transformer(file: TensorFile, shapes: Shapes) -> TensorFile:
    """Return the tensors of a transformer under diffusers' names.

    Raises BadWeights unless names and shapes are the wanted ones.
    """
    renamed = RenamedFile(file, _find_transformer_names(file))
    wanted, found = shapes.get(_PATCHES, ()), renamed.shapes.get(_PATCHES, ())
    if len(found) < len(wanted) and torch.Size(found).numel() == torch.Size(wanted).numel():
        renamed.shapes[_PATCHES] = wanted
    meta = {name: torch.empty(shape, device="meta") for name, shape in renamed.shapes.items()}
    check_tensors(meta, shapes, file.path)
    return renamed


def list_original_names(names: Iterable[str]) -> dict[str, str]:
    """Return the authors' name of each tensor of a transformer, by diffusers' name."""
    return {name: _get_original_name(name) for name in names}


def fit_text_encoder(file: TensorFile, shapes: Shapes) -> TensorFile:
    """Return the tensors of a text encoder under the names of transformers' UMT5EncoderModel.

    Files may have these names, those of Wan's authors or those of llama.cpp. Raises BadWeights
    unless names and shapes are the wanted ones.
    """
    renamed = RenamedFile(file, {_get_text_name(name): name for name in file.shapes})
    if len(renamed.shapes) < len(file.shapes):
        raise BadWeights(f"{file.path} holds {len(file.shapes)} tensors, some of which get one "
                         "name: pass a file of the encoder of UMT5-XXL")  # fmt: skip
    if _TABLE not in renamed.shapes and _SECOND_TABLE in renamed.shapes:
        renamed = RenamedFile(renamed, {**{name: name for name in renamed.shapes},
                                        _TABLE: _SECOND_TABLE})  # fmt: skip
    tables = (_SECOND_TABLE,)  # one tensor under two names
    found = {name: torch.empty(shape, device="meta") for name, shape in renamed.shapes.items()
             if name not in tables}  # fmt: skip
    check_tensors(found, {name: shape for name, shape in shapes.items() if name not in tables},
                  file.path)  # fmt: skip
    return renamed


def find_vae_names(names: Iterable[str], path: Path) -> dict[str, str]:
    """Return a file's name of each tensor of an autoencoder, by diffusers' name.

    Raises BadWeights for names of another model.
    """
    names = list(names)
    if not any(name.startswith(("encoder.downsamples.", "decoder.upsamples.")) for name in names):
        return {name: name for name in names}
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    nested = {new: name for name in names if (new := _rename_nested(name))}
    flat = {name: name for name in names if not _NESTED.fullmatch(name)}
    try:
        converted: dict[str, str] = convert_wan_vae_to_diffusers(flat)
    except (ValueError, IndexError) as error:
        raise BadWeights(f"{path} holds tensors of another model ({error!s:.60}): pass the "
                         "autoencoder of Wan") from error  # fmt: skip
    return converted | nested


def _get_original_name(name: str) -> str:
    if name == "scale_shift_table":
        return "head.modulation"
    for new, old in _TRANSFORMER:
        name = name.replace(new, old)
    return name


def _find_transformer_names(file: TensorFile) -> dict[str, str]:
    """Return the file's name of each tensor by diffusers' name. Raises BadWeights."""
    if not any(".self_attn." in name for name in file.shapes):
        return {name: name for name in file.shapes}
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    own = {name: name for name in file.shapes}
    for prefix in _PREFIXES:
        own = {name.removeprefix(prefix): old for name, old in own.items()}
    reason = "two tensors get one name"
    try:
        names: dict[str, str] = convert_wan_transformer_to_diffusers(dict(own))
    except Exception as error:  # noqa: BLE001 - names of another model may raise anything
        names, reason = {}, f"{type(error).__name__}: {error!s:.80}"
    if len(names) != len(file.shapes):
        raise BadWeights(f"{file.path} holds {len(file.shapes)} tensors that are not those of Wan "
                         f"2.2 ({reason}): pass a file of it")  # fmt: skip
    return names


def _get_text_name(name: str) -> str:
    """Return transformers' name of a tensor of the text encoder."""
    if name.startswith(("token_embd.", "enc.")):
        pairs = _TEXT_OF_GGUF
    elif name.startswith(("token_embedding.", "blocks.", "norm.")):
        pairs = _TEXT_OF_AUTHORS
    else:
        return name
    for old, new in pairs:  # those that begin with a point are within a name, others begin it
        if old[0] == ".":
            name = name.replace(old, new)
        elif name.startswith(old):
            name = new + name.removeprefix(old)
    return name


def _rename_nested(name: str) -> str:
    """Return diffusers' name of a layer in a stage, "" for other names."""
    found = _NESTED.fullmatch(name)
    if not found:
        return ""
    half, stage, layer, rest = found.groups()
    way = "down" if half == "en" else "up"
    start = f"{half}coder.{way}_blocks.{stage}."
    if rest.startswith(("resample.", "time_conv.")):
        return f"{start}{way}sampler.{rest}"
    for old, new in _LAYERS:
        if rest.startswith(old):
            return f"{start}resnets.{layer}.{new}{rest.removeprefix(old)}"
    return ""
