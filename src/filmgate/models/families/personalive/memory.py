"""Predict the memory and the arithmetic of PersonaLive on a GPU from the shapes of its networks.

Nothing is computed and no weights are needed: tensors on the meta device go through the same
networks in the same order, and their bytes and operations are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import prod
from types import MappingProxyType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from filmgate.device.tensor_memory import LiveMemory
from filmgate.models.contracts import MemoryPrediction
from filmgate.models.diffusion.autoencoder import Autoencoder
from filmgate.models.families.personalive.animator import WINDOW
from filmgate.models.families.personalive.extractor import VIEW, HeadExtractor, PoseGuider
from filmgate.models.families.personalive.layers import Portrait
from filmgate.models.families.personalive.motion import FACE, TOKENS, WIDTH, MotionEncoder
from filmgate.models.families.personalive.networks import (
    LatentDecoder,
    LatentEncoder,
    Networks,
)
from filmgate.models.families.personalive.schedule import LEVELS
from filmgate.models.families.personalive.unet import DenoisingUnet, ReferenceUnet

STACK = WINDOW * len(LEVELS)
_CLIP_LAYER = 4_198_400  # numbers of the largest layer of ViT-L/14, by its published sizes
_CLIP_TOKEN = 768
WORKSPACE = 110_000_000  # bytes of cuBLAS; measured on an H100


@dataclass(frozen=True, slots=True)
class Cost:
    """What a part needs: bytes at most while it runs, weights included, and TFLOP."""

    bytes: int
    tflop: float


@cache
def predict_ours(size: int, dtype: torch.dtype, keyframes: int) -> MemoryPrediction:
    """Predict for a result of `size` pixels on a side and so many keyframes, whatever its length.

    Parts: while the portrait is seen, while a keyframe is read, one pass of the UNet, one image
    decoded, one driving frame watched. Counts live bytes, and in half precision cuDNN's copies.
    """
    parts = {name: cost.bytes for name, cost in measure(size, dtype, keyframes).items()}
    name = str(dtype).removeprefix("torch.")
    return MemoryPrediction("ours", name, None, parts, ("keyframes", Fraction(keyframes)))


@cache
def measure(
    size: int, dtype: torch.dtype, keyframes: int, *, counts: bool = False
) -> MappingProxyType[str, Cost]:
    """Return what each part needs at full size, by its name; operations only if `counts`."""
    with _build(dtype) as (nets, live):
        side, costs = size // 8, dict[str, Cost]()

        def run(name: str, work: Callable[[], Any], least: int = 0) -> Any:
            live.peak = live.bytes
            with _Operations(counts) as operations:
                made = work()
            peak = max(live.peak, live.bytes + least) + WORKSPACE
            costs[name] = Cost(peak, operations.total / 1e12)
            return made

        latent, image = empty(1, 4, side, side, dtype=dtype), empty(1, 3, size, size, dtype=dtype)
        token = empty(1, 1, _CLIP_TOKEN, dtype=dtype)
        run("portrait", lambda: _lend(nets.encoder, image), _CLIP_LAYER * dtype.itemsize)
        taps = run("keyframe", lambda: _lend(nets.reference, latent, token))
        banks = nets.unet.project(taps)
        for _ in range(keyframes):
            banks = tuple(
                (torch.cat([keys, more_keys], 2), torch.cat([values, more_values], 2))
                for (keys, values), (more_keys, more_values) in zip(
                    banks, nets.unet.project(taps), strict=True
                )
            )
        del taps
        portrait = Portrait(nets.unet.look(token), banks)
        points = empty(WINDOW, 3, size, size, dtype=dtype)
        poses = [run("guider", lambda: nets.guider(points)) for _ in LEVELS]
        run("watch", lambda: (nets.heads.detector(empty(1, 3, VIEW, VIEW, dtype=dtype)),
                              nets.motion(empty(1, 3, FACE, FACE, dtype=dtype))))  # fmt: skip
        stack = empty(STACK, 4, side, side, dtype=dtype)
        tokens, levels = empty(STACK, TOKENS, WIDTH, dtype=dtype), empty(STACK)
        run("unet", lambda: nets.unet(stack, levels, portrait, tokens, torch.cat(poses)))
        run("decode", lambda: nets.decoder(latent))
    return MappingProxyType(costs)


def count_window(size: int, keyframes: int) -> dict[str, float]:
    """Return the TFLOP of one window of 4 frames, by part: predicted from shapes."""
    costs = measure(size, torch.float16, keyframes, counts=True)
    return {"unet": costs["unet"].tflop, "decode": WINDOW * costs["decode"].tflop,
            "watch": WINDOW * costs["watch"].tflop, "guider": costs["guider"].tflop}  # fmt: skip


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a tensor without memory."""
    return torch.empty(shape, dtype=dtype, device="meta")


@contextmanager
def _build(dtype: torch.dtype) -> Iterator[tuple[Networks, LiveMemory]]:
    """Yield the networks on the meta device and the meter, which counts those that stay."""
    live = LiveMemory(layouts=True)
    with torch.device("meta"):
        vae = Autoencoder()
    missing: Any = None
    nets = Networks(
        DenoisingUnet(device="meta"), MotionEncoder(device="meta"), HeadExtractor(device="meta"),
        PoseGuider(device="meta"), LatentDecoder(vae), missing, LatentEncoder(vae),
        ReferenceUnet(device="meta"), "meta",
    )  # fmt: skip
    resident = (nets.unet, nets.motion, nets.heads, nets.guider, nets.decoder)
    for net in (*resident, nets.encoder, nets.reference):
        net.to(dtype).eval().requires_grad_(False)
    with torch.inference_mode(), live:
        for net in resident:
            live.add(*net.parameters(), *net.buffers())
        yield nets, live


def _lend(net: nn.Module, *inputs: Tensor) -> Any:
    """Return `net(*inputs)`, as `lend` has the weights of each layer on the device."""
    held = dict[nn.Module, list[Tensor]]()

    def take(layer: nn.Module, _: Any) -> None:
        own = (*layer.parameters(recurse=False), *layer.buffers(recurse=False))
        held[layer] = [torch.empty_like(tensor) for tensor in own]

    def give_back(layer: nn.Module, _: Any, output: Any) -> None:
        del held[layer]

    hooks = [hook for layer in net.modules()
             for hook in (layer.register_forward_pre_hook(take),
                          layer.register_forward_hook(give_back))]  # fmt: skip
    made = net(*inputs)
    for hook in hooks:
        hook.remove()
    return made


class _Operations(TorchFunctionMode):
    """Counts operations, a multiply-add as two, and makes attention one operation without scores,
    as its kernels on GPUs are."""

    def __init__(self, counts: bool) -> None:
        super().__init__()
        self.attention, self.counter = 0, None
        if counts:
            from torch.utils.flop_counter import FlopCounterMode  # takes seconds to import

            self.counter = FlopCounterMode(display=False)

    def __enter__(self) -> Self:
        if self.counter:
            self.counter.__enter__()  # type: ignore[no-untyped-call]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        if self.counter:
            self.counter.__exit__(*exception)  # type: ignore[no-untyped-call]

    @property
    def total(self) -> int:
        """All operations so far."""
        return self.attention + int(self.counter.get_total_flops()) if self.counter else 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        queries, keys, values = args
        *rows, length, width = queries.shape
        self.attention += 2 * prod(rows) * length * keys.shape[-2] * (width + values.shape[-1])
        return queries.new_empty(*rows, length, values.shape[-1])
