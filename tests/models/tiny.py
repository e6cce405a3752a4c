"""Tiny networks with weights by rule: sizes and rule are those of the recorded values."""

import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from math import prod, sqrt
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor

from filmgate.models.families.film.net import Film, Shape
from filmgate.models.families.raft import net as raft
from filmgate.models.families.rife.net import Rife
from filmgate.models.families.rife.net import Shape as RifeShape
from filmgate.models.flow_model import Guide
from filmgate.models.registry import check_options, find_flow_family
from filmgate.weights.state_dict import list_shapes

Doubles = npt.NDArray[np.float64]
KEPT = 1 << 16  # numbers

FILM = Shape(levels=5, fusion=5, specialized=3, sub=4, filters=4, flow_convs=(2, 2, 2, 2),
             flow_filters=(8, 8, 8, 8))  # fmt: skip

RIFE = RifeShape(blocks=(16, 12, 8, 8), context=4)

RAFT = raft.Shape(encoder=(4, 4, 4, 4, 8), context=8, corr=(12, 8), flow=(8, 4), motion=10,
                  hidden=4, head=8, mask=8)  # fmt: skip
RAFT_SMALL = raft.Shape(encoder=(4, 4, 4, 4, 8), context=8, bottleneck=True, normed=False,
                        radius=3, corr=(12,), flow=(8, 4), motion=10, hidden=4, kernels=((3, 3),),
                        head=8, mask=0)  # fmt: skip


def draw_normal(name: str, shape: Sequence[int]) -> Doubles:
    """Return normal numbers which depend on the name. Those of a small tensor are kept."""
    count = prod(shape)
    draw = _draw_normal if count <= KEPT else _draw_normal.__wrapped__
    return draw(name, count).reshape(tuple(shape))


@cache
def _draw_normal(name: str, count: int) -> Doubles:
    numbers = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(count)
    numbers.flags.writeable = False
    return numbers


def by_rule(name: str, shape: Sequence[int]) -> Tensor:
    """Return the values of a tensor, which depend on its name."""
    numbers = draw_normal(name, shape)
    numbers = numbers / sqrt(prod(shape[1:])) if len(shape) > 1 else 0.1 * numbers
    return torch.from_numpy(numbers.astype(np.float32))


def film_tensors() -> dict[str, Tensor]:
    return {name: by_rule(name, shape) for name, shape in list_shapes(Film(FILM, "meta")).items()}


def rife_tensors() -> dict[str, Tensor]:
    with torch.device("meta"):
        shapes = list_shapes(Rife(RIFE))
    return {name: by_rule(name, shape) for name, shape in shapes.items()}


def raft_tensors(shape: raft.Shape) -> dict[str, Tensor]:
    """Return values by rule, but norms scale by at least 1 and steps are about a pixel."""
    made = {}
    for name, tensor in raft.Raft(shape, "meta").state_dict().items():
        if not tensor.dim():
            made[name] = torch.zeros((), dtype=torch.int64)
            continue
        made[name] = by_rule(name, tuple(tensor.shape))
        if name.endswith(("running_var", "1.weight")) and tensor.dim() == 1:
            made[name] = 1 + made[name].abs()
        if name.startswith("update_block.flow_head.conv2"):
            made[name] /= 10
    return made


def image_tensors(scale: int = 2) -> dict[str, Tensor]:
    """A small network of the kind that spandrel calls RealESRGAN Compact."""
    made = 3 * scale**2
    shapes = {"body.0.weight": (4, 3, 3, 3), "body.0.bias": (4,), "body.1.weight": (4,),
              "body.2.weight": (made, 4, 3, 3), "body.2.bias": (made,)}  # fmt: skip
    return {name: 0.1 * by_rule(name, shape) for name, shape in shapes.items()}


FAMILIES: Mapping[str, Callable[[], dict[str, Tensor]]] = MappingProxyType(
    {
        "film": film_tensors,
        "rife": rife_tensors,
        "image": image_tensors,
        "raft_large": lambda: raft_tensors(RAFT),
        "raft_small": lambda: raft_tensors(RAFT_SMALL),
    }
)


@cache
def weights(family: str) -> Path:
    """Return a temporary file of tiny weights; its name is not the published one."""
    folder = Path(_folder().name)
    save_file(FAMILIES[family](), folder / f"{family}_tiny.safetensors")
    return folder / f"{family}_tiny.safetensors"


def with_weights(sample: Any) -> Any:
    """The task or flow definition with tiny weights, if it is of a network that has them here."""
    if sample.model not in FAMILIES:
        return sample
    name = find_flow_family(sample.model).name if isinstance(sample, Guide) else sample.model
    options = check_options(name, sample.options)
    return replace(sample, options=replace(options, weights=weights(sample.model)))


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="filmgate_tiny")
