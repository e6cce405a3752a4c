"""Tiny networks with weights made by rule: sizes and rule are those of the recorded numbers."""

import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from filmgate.models.film.net import Film, Shape

FILM = Shape(levels=5, fusion=5, specialized=3, sub=4, filters=4, flow_convs=(2, 2, 2, 2),
             flow_filters=(8, 8, 8, 8))  # fmt: skip


def by_rule(name: str, shape: Sequence[int]) -> Tensor:
    """The numbers of a tensor, from its name."""
    chance = np.random.RandomState(zlib.crc32(name.encode()))
    numbers = chance.standard_normal(int(np.prod(shape))).reshape(shape)
    numbers = numbers / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1 * numbers
    return torch.from_numpy(numbers.astype(np.float32))


def film_tensors() -> dict[str, Tensor]:
    return {name: by_rule(name, tuple(tensor.shape))
            for name, tensor in Film(FILM, "meta").state_dict().items()}  # fmt: skip


FAMILIES: Mapping[str, Callable[[], dict[str, Tensor]]] = MappingProxyType({"film": film_tensors})


@cache
def weights(family: str) -> Path:
    """A file of tiny weights, under a name that is not the published one; it goes with the run."""
    folder = Path(_folder().name)
    save_file(FAMILIES[family](), folder / f"{family}_tiny.safetensors")
    return folder / f"{family}_tiny.safetensors"


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="filmgate_tiny")
