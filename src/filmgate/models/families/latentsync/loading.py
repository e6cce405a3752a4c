"""Open the weights of LatentSync, Whisper and the autoencoder; sizes are read from the tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from filmgate.errors import BadWeights
from filmgate.models.diffusion.autoencoder import Autoencoder
from filmgate.models.families.latentsync.unet import Shape, UNet
from filmgate.models.families.latentsync.whisper import WhisperEncoder, WhisperShape
from filmgate.weights.state_dict import check_tensors, load_tensors

_ENCODER = "encoder."  # before the names of the encoder of Whisper
# The names that attention of the autoencoder had in diffusers when its weights were published.
_RENAMED = (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0"))
_HEAD_WIDTH = 64  # of Whisper
N = TypeVar("N", bound=nn.Module)
Shapes = Mapping[str, tuple[int, ...]]


def open_unet(path: Path, dtype: torch.dtype, device: str) -> UNet:
    """Return the UNet of a file. Raises BadWeights."""
    tensors = load_tensors(path)
    shapes = _list_shapes(tensors)
    try:
        shape = Shape(
            channels=tuple(
                shapes[f"down_blocks.{k}.resnets.0.conv1.weight"][0]
                for k in range(_count(shapes, r"down_blocks\.(\d+)\."))
            ),
            layers=_count(shapes, r"down_blocks\.0\.resnets\.(\d+)\."),
            audio=shapes["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"][1],
        )
        with torch.device("meta"):
            net = UNet(shape)
    except (KeyError, IndexError, ValueError, AssertionError) as error:
        raise _refuse(path, tensors, "UNet of LatentSync", error) from error
    return _fill(net, tensors, path, dtype, device)


def open_whisper(path: Path, dtype: torch.dtype, device: str) -> WhisperEncoder:
    """Return the encoder in a file of Whisper. Raises BadWeights."""
    tensors = load_tensors(path)
    own = {name.removeprefix(_ENCODER): tensor for name, tensor in tensors.items()
           if name.startswith(_ENCODER)}  # fmt: skip
    shapes = _list_shapes(own)
    try:
        width, bands = shapes["conv1.weight"][:2]
        shape = WhisperShape(bands, shapes["positional_embedding"][0], width,
                             max(1, width // _HEAD_WIDTH),
                             _count(shapes, r"blocks\.(\d+)\."))  # fmt: skip
        net = WhisperEncoder(shape)
    except (KeyError, IndexError, ValueError, AssertionError) as error:
        raise _refuse(path, tensors, "Whisper", error) from error
    return _fill(net, own, path, dtype, device)


def open_autoencoder(path: Path, dtype: torch.dtype, device: str) -> Autoencoder:
    """Return the autoencoder of a file, of diffusers' layout. Raises BadWeights."""
    tensors = {_rename(name): tensor for name, tensor in load_tensors(path).items()}
    tensors = {name: tensor.reshape(tensor.shape[:2]) if _is_old_projection(name, tensor) else
               tensor for name, tensor in tensors.items()}  # fmt: skip
    shapes = _list_shapes(tensors)
    try:
        count = _count(shapes, r"encoder\.down_blocks\.(\d+)\.")
        names = [f"encoder.down_blocks.{k}.resnets.0.conv1.weight" for k in range(count)]
        channels = tuple(shapes[name][0] for name in names)
        layers = _count(shapes, r"encoder\.down_blocks\.0\.resnets\.(\d+)\.")
        with torch.device("meta"):
            net = Autoencoder(channels, layers)
    except (KeyError, IndexError, ValueError, AssertionError) as error:
        raise _refuse(path, tensors, "autoencoder of Stable Diffusion", error) from error
    return _fill(net, tensors, path, dtype, device)


def _fill(net: N, tensors: Mapping[str, Tensor], path: Path, dtype: torch.dtype, device: str) -> N:
    """Return the network with the tensors of a file, which must be exactly its own."""
    wanted = _list_shapes(net.state_dict())
    net.load_state_dict(check_tensors(tensors, wanted, path), assign=True)
    return net.to(device, dtype).eval().requires_grad_(False)


def _list_shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _count(shapes: Shapes, pattern: str) -> int:
    """Return how many numbers the names have at the group of a pattern."""
    return len({found[1] for name in shapes if (found := re.match(pattern, name))})


def _rename(name: str) -> str:
    if ".attentions." in name:
        for old, new in _RENAMED:
            name = name.replace(f".{old}.", f".{new}.")
    return name


def _is_old_projection(name: str, tensor: Tensor) -> bool:
    """Whether a linear layer of attention is stored as a convolution of 1x1."""
    return ".attentions." in name and name.endswith(".weight") and tensor.ndim == 4


def _refuse(path: Path, tensors: Mapping[str, Tensor], what: str, error: Exception) -> BadWeights:
    first = ", ".join(list(tensors)[:3])
    return BadWeights(
        f"{path} holds {len(tensors)} tensors ({first} ...), which are not those of a {what} "
        f"({type(error).__name__}: {error!s:.60}): pass the published file"
    )
