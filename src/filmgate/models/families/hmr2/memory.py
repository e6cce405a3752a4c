"""Predict the memory of HMR 2.0 on a GPU from shapes, and how many crops fit."""

from __future__ import annotations

from functools import cache

import torch

from filmgate.device.tensor_memory import LiveMemory
from filmgate.models.contracts import MemoryPrediction
from filmgate.models.families.hmr2.net import Hmr2, Shape

WORKSPACE = 110_000_000  # bytes of cuBLAS; measured on an H100, 65 MB in half precision
SHARE = 0.9  # of free memory: the rest is for what the allocator cannot use


@cache
def predict(batch: int, dtype: torch.dtype, shape: Shape | None = None) -> MemoryPrediction:
    """Predict the peak of `batch` crops at a time: predicted, not measured.

    Counts live bytes of weights, crops and activations, and what cuBLAS works in; attention as it
    is without a kernel of its own, with all its scores. Default: the published sizes.
    """
    net = Hmr2(shape, "meta").eval().requires_grad_(False).convert("meta", dtype)
    live = LiveMemory()
    with torch.inference_mode(), live:
        live.add(*net.parameters(), *net.buffers())
        held = live.bytes
        side = net.shape.side
        net(torch.empty(batch, 3, side, side, device="meta"))
    parts = {"weights": held, "network": live.peak + WORKSPACE}
    return MemoryPrediction("ours", str(dtype).removeprefix("torch."), batch, parts)


def choose_batch(free_bytes: int, dtype: torch.dtype, most: int, shape: Shape | None = None) -> int:
    """Return how many crops at a time fit into the memory, weights included: 1 to `most`.

    Returns 0 if not even one does. By prediction, so that it is the same on every machine.
    """
    one, two = (predict(count, dtype, shape).peak for count in (1, 2))
    left = int(SHARE * free_bytes) - one
    return max(0, min(most, 1 + left // (two - one)))  # each crop takes as much as the first


def fit_batch(net: Hmr2, device: str, most: int) -> int:
    """Return how many crops at a time fit next to a loaded network, 1 to `most`."""
    if not device.startswith("cuda"):
        return most
    free_bytes, _ = torch.cuda.mem_get_info(device)
    held = predict(1, net.dtype, net.shape).parts["weights"]
    return max(1, choose_batch(free_bytes + held, net.dtype, most, net.shape))
