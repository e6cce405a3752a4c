"""The transformers of Wan 2.2, with their weights on the device, streamed, or on the disk.

The code that computes is `WanTransformer3DModel` of diffusers. Its blocks take their weights from a
`BlockStack`, so every placement of the weights gives the same results.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from filmgate.device.block_stream import Block, BlockStack, BlockWeights, Home
from filmgate.models.families.wan22.names import (
    Shapes,
    fit_transformer,
    list_original_names,
)
from filmgate.models.families.wan22.placement import WeightPlacement
from filmgate.models.families.wan22.published import Settings, explain_settings, to_plain
from filmgate.weights.lora import Changes, load_lora
from filmgate.weights.packed import Float8, Packed, Quantized, pack_float8, unpack
from filmgate.weights.state_dict import list_shapes
from filmgate.weights.tensor_files import TensorFile, open_tensors

_BLOCKS = "blocks."
_SLICE = 4096  # tokens
_LARGE = 2  # dimensions of weights that may be kept in 8 bits


@dataclass(frozen=True, slots=True)
class Expert:
    """What one transformer is opened from: its file, in parts too, and a LoRA."""

    paths: tuple[Path, ...]
    lora: Path | None = None
    strength: float = 1.0

    def load_changes(self, shapes: Shapes) -> Changes:
        """Return what the LoRA changes. Raises BadWeights."""
        if self.lora is None:
            return {}
        return load_lora(self.lora, shapes, list_original_names(shapes), self.strength)


class Experts:
    """The transformers of a model: one, or one for high noise and one for low.

    Weights are loaded when they are needed first. Unless the placement keeps both, the one that is
    not needed any more is freed before. Not for two threads at a time.
    """

    def __init__(
        self,
        settings: Settings,
        experts: Sequence[Expert],
        placement: WeightPlacement,
        device: str,
        dtype: torch.dtype,
    ) -> None:
        self._settings, self._experts, self._placement = settings, experts, placement
        self._device, self.dtype = device, dtype
        self._loaded: dict[int, tuple[nn.Module, BlockStack]] = {}

    def predict(
        self, latents: Tensor, timestep: Tensor, embeddings: Tensor, *, high_noise: bool
    ) -> Tensor:
        """Return the flow that the transformer predicts, in its dtype, on its device.

        `latents`: (1, in_channels, t, h, w), all that it sees. `timestep`: (1,), or one for each
        token, (1, tokens). `embeddings`: of the prompt, (1, 512, width). Raises BadWeights.
        """
        net = self._get(0 if high_noise or len(self._experts) == 1 else 1)
        inputs = latents.to(self._device, self.dtype)
        prompt = embeddings.to(self._device, self.dtype)
        with torch.inference_mode():
            if self._placement.sliced:
                return predict_sliced(net, inputs, timestep.to(self._device), prompt)
            (flow,) = net(hidden_states=inputs, timestep=timestep.to(self._device),
                          encoder_hidden_states=prompt, return_dict=False)  # fmt: skip
        return flow  # type: ignore[no-any-return]

    def release(self) -> None:
        """Free all weights; `predict` loads them again."""
        while self._loaded:
            self._loaded.popitem()[1][1].close()
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _get(self, index: int) -> nn.Module:
        if index not in self._loaded:
            if not self._placement.together:
                self.release()
            expert = self._experts[index]
            self._loaded[index] = load_transformer(
                self._settings, expert, self._placement, self._device, self.dtype
            )
        return self._loaded[index][0]


def load_transformer(
    settings: Settings,
    expert: Expert,
    placement: WeightPlacement,
    device: str,
    dtype: torch.dtype,
) -> tuple[nn.Module, BlockStack]:
    """Return the transformer, its blocks run by the stack. Raises BadWeights."""
    count = settings["num_layers"]
    net = build_on_meta({**settings, "num_layers": 1})  # the code of all blocks
    shapes = _list_shapes(net, count)
    file = fit_transformer(open_tensors(expert.paths), shapes)
    kept = _Kept(file, expert.load_changes(shapes), dtype, placement.float8)
    template = net.blocks[0].eval()
    if placement.sliced:
        template = SlicedBlock(template)
    weights = BlockWeights(count, kept.read_block, kept.prepare_block, kept.restore_block)
    home: Home = "disk" if placement.keep == "disk" else "memory"
    resident = count if placement.keep == "resident" else placement.resident_blocks
    stack = BlockStack(template, weights, device, resident, home)
    net.blocks = stack.make_modules()
    # copies: in a file tensors start anywhere, and kernels may depend on where they start
    outer = {name: kept.restore(name, kept.prepare(name, file.read(name), device)).clone()
             for name in shapes if not name.startswith(_BLOCKS)}  # fmt: skip
    net.load_state_dict(outer, assign=True)
    net.rope = _build_rope(settings).to(device)
    return net.eval().requires_grad_(False), stack


def _list_shapes(net: nn.Module, count: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a transformer of `count` blocks by name, from one with a single one."""
    first = f"{_BLOCKS}0."
    return {
        f"{_BLOCKS}{k}.{name.removeprefix(first)}" if name.startswith(first) else name: shape
        for name, shape in list_shapes(net).items()
        for k in range(count if name.startswith(first) else 1)
    }


def build_on_meta(settings: Settings) -> Any:
    """Return the transformer without weights. Raises BadWeights for settings of none."""
    from diffusers import WanTransformer3DModel

    with torch.device("meta"), explain_settings("transformer"):
        return WanTransformer3DModel(**to_plain(settings))


@dataclass(frozen=True, slots=True)
class _Kept:
    """How the weights of one transformer are kept: dtypes, 8 bits, changes of LoRAs."""

    file: TensorFile
    changes: Changes
    dtype: torch.dtype
    float8: bool

    def read_block(self, index: int) -> Block:
        start = f"{_BLOCKS}{index}."
        return {name.removeprefix(start): self.file.read(name)
                for name in self.file.shapes if name.startswith(start)}  # fmt: skip

    def prepare_block(self, index: int, block: Block) -> Block:
        return {name: self.prepare(f"{_BLOCKS}{index}.{name}", packed, small=False)
                for name, packed in block.items()}  # fmt: skip

    def restore_block(self, index: int, block: Block) -> Mapping[str, Tensor]:
        return {name: self.restore(f"{_BLOCKS}{index}.{name}", packed)
                for name, packed in block.items()}  # fmt: skip

    def prepare(
        self, name: str, packed: Packed, device: str | None = None, *, small: bool = True
    ) -> Packed:
        """Return a tensor as it is kept; `small`: never packed."""
        changes, dtype = self.changes.get(name, ()), self._choose_dtype(name)
        was_float8 = isinstance(packed, Float8)
        if not small and (isinstance(packed, Quantized) or (was_float8 and not changes)):
            return packed
        weight = packed if isinstance(packed, Tensor) else unpack(packed, torch.float32)
        if device is not None:
            weight = weight.to(device)
        for change in changes:
            weight = change.add_to(weight)
        weight = weight.to(dtype)
        large = not small and weight.ndim == _LARGE and dtype == self.dtype
        return pack_float8(weight) if large and (self.float8 or was_float8) else weight

    def restore(self, name: str, packed: Packed) -> Tensor:
        """Return the tensor to compute with."""
        if isinstance(packed, Tensor):
            return packed
        if not isinstance(packed, Quantized):
            return unpack(packed, self.dtype)
        weight = unpack(packed, torch.float32)
        for change in self.changes.get(name, ()):
            weight = change.add_to(weight)
        return weight.to(self._choose_dtype(name))

    def _choose_dtype(self, name: str) -> torch.dtype:
        """Return the dtype of a tensor: some are float32 whatever the others are, as upstream."""
        return torch.float32 if _float32_parts().intersection(name.split(".")) else self.dtype


@cache
def _float32_parts() -> frozenset[str]:
    from diffusers import WanTransformer3DModel

    return frozenset(WanTransformer3DModel._keep_in_fp32_modules)


def _build_rope(settings: Settings) -> nn.Module:
    from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

    rope: nn.Module = WanRotaryPosEmbed(
        settings["attention_head_dim"], settings["patch_size"], settings["rope_max_seq_len"]
    )
    return rope


# --- less memory ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Slices:
    """Tokens in slices, so that what is made of each is small.

    `bounds`: first and last token of each, and the row of its timestep. `cos`, `sin`: of their
    positions, (1, tokens, 1, width of a head).
    """

    bounds: tuple[tuple[int, int, int], ...]
    cos: Tensor
    sin: Tensor


def predict_sliced(net: Any, latents: Tensor, timestep: Tensor, embeddings: Tensor) -> Tensor:
    """Return what the transformer predicts, with less memory; last bits differ from its own code.

    Only attention sees all tokens at once. Timesteps are embedded once for all tokens that have the
    same: with a timestep for each token the transformer's own code holds 65 bytes for each number
    of a token, this one 13.
    """
    _, _, frames, height, width = latents.shape
    depth, rows, columns = net.config.patch_size
    grid = frames // depth, height // rows, width // columns
    states = net.patch_embedding(latents).flatten(2).transpose(1, 2).contiguous()
    steps, counts = torch.unique_consecutive(timestep.flatten(), return_counts=True)
    each = [states.shape[1]] if timestep.ndim == 1 else counts.tolist()
    slices = _Slices(tuple(_list_slices(each)), *net.rope(latents))
    time, modulation, prompt, _ = net.condition_embedder(steps, embeddings, None)
    modulation = modulation.unflatten(1, (6, -1)).float()
    for block in net.blocks:
        states = block(states, prompt, modulation, slices)
    shift, scale = (net.scale_shift_table + time.unsqueeze(1)).chunk(2, dim=1)
    made = states.new_empty(1, states.shape[1], net.proj_out.out_features)
    for start, end, row in slices.bounds:
        normed = net.norm_out(states[:, start:end].float()) * (1 + scale[row]) + shift[row]
        made[:, start:end] = net.proj_out(normed.type_as(states))
    made = made.reshape(1, *grid, depth, rows, columns, -1).permute(0, 7, 1, 4, 2, 5, 3, 6)
    return made.flatten(6, 7).flatten(4, 5).flatten(2, 3)  # type: ignore[no-any-return]


class SlicedBlock(nn.Module):
    """A `WanTransformerBlock` that runs its layers on slices of tokens, with the same weights.

    It overwrites the states that it gets.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        for name, layer in block.named_children():
            self.add_module(name, layer)
        self.scale_shift_table = block.scale_shift_table

    def forward(
        self, states: Tensor, prompt: Tensor, modulation: Tensor, slices: _Slices
    ) -> Tensor:
        layers: Any = self  # of any type
        table = self.scale_shift_table + modulation  # (timesteps, 6, width)
        attended = self._attend(states, table, slices)
        own, cross = layers.attn1, layers.attn2
        keys, values = cross.norm_k(cross.to_k(prompt)), cross.to_v(prompt)
        for start, end, row in slices.bounds:
            _, _, gate, shift, scale, gate_after = table[row][:, None].unbind(0)
            part = states[:, start:end]
            made = own.to_out[0](attended[:, start:end]) * gate
            part = (part.float() + made).type_as(states)
            normed = layers.norm2(part.float()).type_as(states)
            queries = cross.norm_q(cross.to_q(normed))
            part = part + cross.to_out[0](_attention(queries, keys, values, cross.heads))
            normed = (layers.norm3(part.float()) * (1 + scale) + shift).type_as(states)
            made = layers.ffn(normed).float() * gate_after
            states[:, start:end] = (part.float() + made).type_as(states)
        return states

    def _attend(self, states: Tensor, table: Tensor, slices: _Slices) -> Tensor:
        """Return what attention makes of all tokens."""
        layers: Any = self
        own = layers.attn1
        queries, keys, values = (torch.empty_like(states) for _ in range(3))
        for start, end, row in slices.bounds:
            shift, scale = table[row][:2, None]
            part = layers.norm1(states[:, start:end].float()) * (1 + scale) + shift
            part = part.type_as(states)
            place = slices.cos[:, start:end], slices.sin[:, start:end]
            queries[:, start:end] = _rotate(own.norm_q(own.to_q(part)), own.heads, *place)
            keys[:, start:end] = _rotate(own.norm_k(own.to_k(part)), own.heads, *place)
            values[:, start:end] = own.to_v(part)
        return _attention(queries, keys, values, own.heads)


def _attention(queries: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """Return attention, (1, tokens, width), by the backend that diffusers would use."""
    from diffusers.models.attention_dispatch import dispatch_attention_fn

    parts = (_split_heads(one, heads) for one in (queries, keys, values))
    made: Tensor = dispatch_attention_fn(*parts, dropout_p=0.0, is_causal=False)
    return made.flatten(2, 3).type_as(queries)


def _split_heads(states: Tensor, heads: int) -> Tensor:
    return states.reshape(*states.shape[:2], heads, -1)


def _rotate(states: Tensor, heads: int, cos: Tensor, sin: Tensor) -> Tensor:
    """Return states turned by their positions: pairs of numbers as complex ones."""
    parts = _split_heads(states, heads)
    real, imaginary = parts[..., 0::2], parts[..., 1::2]
    cos, sin = cos[..., 0::2], sin[..., 1::2]
    pairs = (real * cos - imaginary * sin, real * sin + imaginary * cos)
    return torch.stack(pairs, dim=-1).flatten(2).type_as(states)


def _list_slices(counts: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    start = 0
    for row, count in enumerate(counts):
        for first in range(0, count, _SLICE):
            yield start + first, start + min(first + _SLICE, count), row
        start += count
