"""LoRAs: small changes of a transformer's weights, added where the weights are prepared.

A weight W becomes W + strength x (alpha / rank) x B A, computed in float32 on the device, so a LoRA
goes with weights on the device, streamed, from the disk, in 8 bits and in GGUF. Weights in GGUF
stay as they are, and the change is added at every use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from filmgate.errors import BadSetting, BadWeights
from filmgate.weights.state_dict import load_tensors

_PREFIXES = ("base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.",
             "lora_unet_")  # fmt: skip
_DOWN = (".lora_A.weight", ".lora_A.default.weight", ".lora_down.weight")
_UP = (".lora_B.weight", ".lora_B.default.weight", ".lora_up.weight")
_ALPHA, _UP_BIAS = ".alpha", (".lora_B.bias",)
_DIFFERENCES = ((".diff_b", ".bias"), (".diff", ".weight"))  # of a bias, of a weight
_MOST_STRENGTH = 100.0


@dataclass(frozen=True, slots=True)
class Change:
    """What is added to one tensor: `factor` x up @ down, or `factor` x `difference`."""

    factor: float
    down: Tensor | None = None
    up: Tensor | None = None
    difference: Tensor | None = None

    def add_to(self, weight: Tensor) -> Tensor:
        """Return the changed weight in float32."""
        change = self.difference
        if self.up is not None and self.down is not None:
            up, down = (part.to(weight.device, torch.float32) for part in (self.up, self.down))
            change = up.flatten(1) @ down.flatten(1)
        assert change is not None
        change = change.to(weight.device, torch.float32).reshape(weight.shape)
        return weight.float() + self.factor * change


Changes = Mapping[str, tuple[Change, ...]]  # by name of the tensor


def check_strength(strength: float) -> None:
    """Raise BadSetting for a strength that no LoRA has."""
    if not -_MOST_STRENGTH <= strength <= _MOST_STRENGTH:
        raise BadSetting(f"lora_strength is {strength:g}: pass a number such as 1, or 0.5 for half "
                         "the effect")  # fmt: skip


def load_lora(
    path: Path, shapes: Mapping[str, tuple[int, ...]], originals: Mapping[str, str], strength: float
) -> Changes:
    """Return what a file of a LoRA changes in a transformer with tensors of these shapes.

    Names may be those of diffusers or the original ones, with dots or, as kohya's scripts write
    them, with underscores; `originals` holds the original name of each tensor. Raises BadWeights
    for a file that changes anything else: nothing of it is left out in silence.
    """
    check_strength(strength)
    tensors = {_strip(name): tensor for name, tensor in load_tensors(path).items()}
    layers = _list_layers(shapes, originals)
    changes: dict[str, tuple[Change, ...]] = {}
    for name, change in _read_changes(path, tensors, layers, shapes, strength):
        changes[name] = (*changes.get(name, ()), change)
    if not changes:
        raise BadWeights(f"{path} holds {len(tensors)} tensors and no LoRA: pass a file with "
                         "tensors called ...lora_A.weight or ...lora_down.weight")  # fmt: skip
    return changes


def _strip(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _list_layers(
    shapes: Mapping[str, tuple[int, ...]], originals: Mapping[str, str]
) -> dict[str, str]:
    """Return the name of each layer by all names that a LoRA may have for it."""
    layers = {}
    for name in shapes:
        layer, old = (one.removesuffix(".weight").removesuffix(".bias")
                      for one in (name, originals[name]))  # fmt: skip
        for other in (old, old.replace(".", "_"), layer.replace(".", "_"), layer):
            layers[other] = layer
    return layers


def _read_changes(
    path: Path,
    tensors: Mapping[str, Tensor],
    layers: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
    strength: float,
) -> Iterator[tuple[str, Change]]:
    used = set[str]()
    for name, tensor in tensors.items():
        found = _split(name, _DOWN)
        if found is None:
            continue
        layer, end = found
        up_name = layer + _UP[_DOWN.index(end)]
        up, alpha = tensors.get(up_name), tensors.get(layer + _ALPHA)
        target = f"{_find(path, layer, layers)}.weight"
        wanted = shapes.get(target, ())
        if up is None or not _fit(tensor, up, wanted):
            sizes = f"{tuple(tensor.shape)} and {tuple(up.shape) if up is not None else 'nothing'}"
            raise BadWeights(f"{path} changes {target} of {wanted} by {sizes}: it is a LoRA of "
                             "another model; pass one of this model")  # fmt: skip
        if alpha is not None and alpha.numel() != 1:
            raise BadWeights(f"{path} holds {alpha.numel()} numbers as {layer}{_ALPHA}: download "
                             "it again")  # fmt: skip
        scale = 1.0 if alpha is None else float(alpha) / tensor.shape[0]
        used |= {name, up_name, layer + _ALPHA}
        yield target, Change(strength * scale, down=tensor, up=up)
    for name, tensor in tensors.items():
        for end, kind in (*_DIFFERENCES, *((bias, ".bias") for bias in _UP_BIAS)):
            if name in used or not name.endswith(end):
                continue
            layer = _find(path, name.removesuffix(end), layers)
            target = layer + kind if layer + kind in shapes else layer
            if tuple(tensor.shape) != shapes.get(target):
                raise BadWeights(f"{path} changes {target} of {shapes.get(target)} by "
                                 f"{tuple(tensor.shape)}: it is a LoRA of another model; pass one "
                                 "of this model")  # fmt: skip
            used.add(name)
            yield target, Change(strength, difference=tensor)
    if unknown := sorted(tensors.keys() - used):
        raise BadWeights(f"{path} holds {len(unknown)} tensors that are no LoRA of this model "
                         f"({', '.join(unknown[:3])} ...): pass one of this model")  # fmt: skip


def _split(name: str, ends: Iterable[str]) -> tuple[str, str] | None:
    return next(((name.removesuffix(end), end) for end in ends if name.endswith(end)), None)


def _find(path: Path, layer: str, layers: Mapping[str, str]) -> str:
    if layer not in layers:
        raise BadWeights(f"{path} changes {layer[:100]}, which this model does not have: pass a "
                         "LoRA of this model")  # fmt: skip
    return layers[layer]


def _fit(down: Tensor, up: Tensor, wanted: tuple[int, ...]) -> bool:
    """Return whether up @ down has the shape of the weight."""
    if down.ndim < 2 or up.ndim < 2 or not wanted or down.shape[0] != up.flatten(1).shape[1]:
        return False
    inputs = 1
    for size in wanted[1:]:
        inputs *= size
    return (up.shape[0], down.flatten(1).shape[1]) == (wanted[0], inputs)
