"""Weights and inputs by a rule that needs no random generator, and recorded numbers to compare."""

import json
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

# Last parts of names with a range of their own.
_RANGES = {"running_var": (1.0, 1.5), "running_mean": (-0.05, 0.05), "bias": (-0.05, 0.05),
           "beta": (-0.05, 0.05), "gamma": (-0.1, 0.1), "alpha": (0.4, 0.6)}  # fmt: skip


@cache
def recorded(name: str) -> Any:
    """The file NAME.json beside this one."""
    return json.loads((Path(__file__).parent / f"{name}.json").read_text())


def uni(key: str, shape: Sequence[int], low: float = -1.0, high: float = 1.0) -> Tensor:
    """Numbers from `low` to `high`, float32: splitmix64 seeded by the key's CRC."""
    x = np.arange(1, prod(shape) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    seed = zlib.crc32(key.encode()) * 0xD1342543DE82EF95 % 2**64
    x += np.uint64(seed)  # arrays wrap around in silence, as is meant
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x ^= x >> np.uint64(shift)
        x *= np.uint64(factor)
    x ^= x >> np.uint64(31)
    x >>= np.uint64(11)
    unit = x.astype(np.float64)
    unit *= 2.0**-53
    unit *= high - low
    unit += low
    return torch.from_numpy(unit.astype(np.float32).reshape(tuple(shape)))


def noise(key: str, shape: Sequence[int]) -> Tensor:
    """Unit variance, bounded."""
    return uni(key, shape) * float(np.float32(3**0.5))


def filled(shapes: Mapping[str, Sequence[int]], prefix: str) -> dict[str, Tensor]:
    """The tensors of a network by name, as they were when its numbers were recorded."""
    made = {}
    for name, shape in shapes.items():
        last = name.rpartition(".")[2]
        if last in _RANGES:
            low, high = _RANGES[last]
        elif len(shape) == 1:
            low, high = 0.9, 1.1
        else:
            high = (3 * shape[0] / prod(shape)) ** 0.5
            low = -high
        made[name] = uni(prefix + name, shape, low, high)
    return made


def like(found: Tensor, entry: Mapping[str, Any], close: float = 1e-4) -> None:
    """Asserts that a tensor is the recorded one, within `close` of its standard deviation."""
    flat = found.detach().double().flatten()
    said = [flat.mean(), flat.std(unbiased=False), flat.abs().max(), *flat[entry["idx"]]]
    wanted = [entry["mean"], entry["std"], entry["absmax"], *entry["val"]]
    assert list(found.shape) == entry["shape"]
    assert [float(x) for x in said] == pytest.approx(wanted, abs=close * entry["std"], rel=1e-6)
