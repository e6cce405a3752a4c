"""Open files of weights whose network has no settings: its sizes are read from the tensors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from filmgate.errors import BadWeights
from filmgate.models.diffusion.autoencoder import Autoencoder
from filmgate.weights.state_dict import fill, load_tensors

N = TypeVar("N", bound=nn.Module)
# The names that attention of the autoencoder had in diffusers when its weights were published.
_RENAMED = (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0"))


def open_autoencoder(path: Path, dtype: torch.dtype, device: str) -> Autoencoder:
    """Return the autoencoder of a file, of diffusers' layout. Raises BadWeights."""
    tensors = {_rename(name): tensor for name, tensor in load_tensors(path).items()}
    tensors = {name: tensor.reshape(tensor.shape[:2]) if _is_old_projection(name, tensor) else
               tensor for name, tensor in tensors.items()}  # fmt: skip
    with read_sizes(path, tensors, "autoencoder of Stable Diffusion"):
        blocks = count(tensors, r"encoder\.down_blocks\.(\d+)\.")
        names = [f"encoder.down_blocks.{k}.resnets.0.conv1.weight" for k in range(blocks)]
        channels = tuple(len(tensors[name]) for name in names)
        layers = count(tensors, r"encoder\.down_blocks\.0\.resnets\.(\d+)\.")
        with torch.device("meta"):
            net = Autoencoder(channels, layers)
    return freeze(fill(net, tensors, path), dtype, device)


@contextmanager
def read_sizes(path: Path, tensors: Mapping[str, Tensor], what: str) -> Iterator[None]:
    """Raise BadWeights where sizes cannot be read from the tensors, or fit no such network."""
    try:
        yield
    except (KeyError, IndexError, ValueError, AssertionError) as error:
        first = ", ".join(list(tensors)[:3])
        raise BadWeights(
            f"{path} holds {len(tensors)} tensors ({first} ...), which are not those of a {what} "
            f"({type(error).__name__}: {error!s:.60}): pass the published file"
        ) from error


def freeze(net: N, dtype: torch.dtype, device: str) -> N:
    """Return the network on a device, for inference alone."""
    return net.to(device, dtype).eval().requires_grad_(False)


def count(names: Mapping[str, Tensor], pattern: str) -> int:
    """Return how many numbers the names have at the group of a pattern."""
    return len({found[1] for name in names if (found := re.match(pattern, name))})


def _rename(name: str) -> str:
    if ".attentions." in name:
        for old, new in _RENAMED:
            name = name.replace(f".{old}.", f".{new}.")
    return name


def _is_old_projection(name: str, tensor: Tensor) -> bool:
    """Whether a linear layer of attention is stored as a convolution of 1x1."""
    return ".attentions." in name and name.endswith(".weight") and tensor.ndim == 4
