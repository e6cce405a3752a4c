"""Predict the memory of Stream-DiffVSR on a GPU from the shapes of its networks alone.

Nothing is computed and no weights are needed: tensors on the meta device go through the same
stages, and their bytes are counted. It also predicts the usual loop: complete maps, all pairs of
RAFT in advance, features of the previous image held until they are used, and batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from filmgate.core.chain import Chain
from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.core.wrappers.tiled import Tile
from filmgate.device.tensor_memory import LiveMemory
from filmgate.flow.stage import Flow, upsample_flow
from filmgate.models.contracts import MemoryPrediction
from filmgate.models.families.diffvsr.schedule import warp
from filmgate.models.families.diffvsr.stage import (
    PROMPT_TOKENS,
    SCALE,
    DiffVsr,
    Networks,
    pad_image,
)
from filmgate.models.families.diffvsr.vae import NO_TILING, TinyVae, pool
from filmgate.models.families.raft.estimator import RaftEstimator
from filmgate.models.families.raft.net import CELL, LARGE, MIN_SIDE, SMALL, Raft

Size = tuple[int, int]
# The published sizes, as far as they are known: 472.4 and 207.7 million parameters.
CONTROL = MappingProxyType[str, Any]({
    "in_channels": 7, "block_out_channels": (256, 512, 512, 1024), "cross_attention_dim": 1024,
    "attention_head_dim": 8, "use_linear_projection": True,
    "only_cross_attention": (True, True, True, False),
    "conditioning_embedding_out_channels": (64, 128, 256),
    "down_block_types": ("DownBlock2D", *["CrossAttnDownBlock2D"] * 3),
})  # fmt: skip
UNET = MappingProxyType[str, Any]({
    **{name: value for name, value in CONTROL.items() if "conditioning" not in name},
    "out_channels": 4, "up_block_types": (*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"),
})  # fmt: skip


def predict_ours(
    size: Size, dtype: torch.dtype, flow: str, scales: Sequence[Fraction], frames: int = 2
) -> Iterator[MemoryPrediction]:
    """Predict for frames of this (height, width); from the second frame on it is constant.

    Counts live bytes, and in half precision cuDNN's copies for its layout. Frames of a batch are
    processed one by one, so a batch needs no more. One step needs as much as four, one update of
    the flow as much as twelve. RAFT is float16 on a GPU, whatever `dtype` is.
    """
    spec = StreamSpec(width=size[1], height=size[0], rate=None, time_base=Fraction(1), pixels="rgb")
    with _build_on_meta(dtype, flow, torch.float16) as (nets, net, parts):
        for scale in scales:
            stages: tuple[AnyStage, ...] = (DiffVsr(nets, steps=1),)
            if net is not None:
                estimator = RaftEstimator(net, updates=1)
                flow_stage = _MeteredFlow(estimator, SCALE * scale, occlusion=False, parts=parts)
                stages = (flow_stage, *stages)
            chain = Chain(stages)
            state = chain.start(spec, Position(0, Fraction(0)))
            for n in range(frames):
                image, extras = _empty(3, *size, dtype=dtype), {}
                if net is None:  # it is estimated on the CPU
                    extras = {"flow_prev": _empty(2, *(ceil(s * SCALE * scale) for s in size))}
                state, _ = chain.step(state, [Frame(n, Fraction(n), Fraction(1), image, extras)])
            del state
            yield _predict("ours", dtype, None, scale, parts.take_peaks())


def predict_plain(
    size: Size, dtype: torch.dtype, scales: Sequence[Fraction], batches: Sequence[int]
) -> Iterator[MemoryPrediction]:
    """Predict for the usual loop, whose batch goes through the networks at once.

    Its RAFT is float32: torchvision's raises in half precision.
    """
    with _build_on_meta(dtype, "raft_large", torch.float32) as (nets, net, parts):
        assert net is not None
        flows = {}
        for scale in scales:
            _plain_flow(net, size, SCALE * scale, parts)
            flows[scale] = parts.take_peaks()
        for batch in batches:
            _plain_networks(nets, size, batch, parts)
            rest = parts.take_peaks()
            for scale in scales:
                yield _predict("plain", dtype, batch, scale, {**flows[scale], **rest})


@dataclass
class _PartMeter:
    """Measures the peak while each part runs."""

    live: LiveMemory
    peaks: dict[str, int] = field(default_factory=dict)
    now: str = ""

    def start(self, part: str) -> None:
        if self.now:
            self.peaks[self.now] = max(self.peaks.get(self.now, 0), self.live.peak)
        self.live.peak, self.now = self.live.bytes, part

    def take_peaks(self) -> dict[str, int]:
        """Return the peaks so far and reset them."""
        self.start("weights")
        peaks, self.peaks = self.peaks, {}
        return peaks


@contextmanager
def _build_on_meta(
    dtype: torch.dtype, flow: str, flow_dtype: torch.dtype
) -> Iterator[tuple[Networks, Raft | None, _PartMeter]]:
    """Yield the networks on the meta device and the meter of what is allocated meanwhile."""
    live = LiveMemory(layouts=True)
    parts = _PartMeter(live)
    with torch.device("meta"):
        nets, net = _build_networks(dtype, parts), None
        if flow != "dis":
            net = Raft(LARGE if flow == "raft_large" else SMALL, "meta").to(flow_dtype)
            net.eval().requires_grad_(False)
    with torch.inference_mode(), live:
        parts.start("weights")
        held = [nets.unet, nets.control, nets.condition, nets.vae, *([net] if net else [])]
        live.add(*(number for part in held for number in part.parameters()), nets.prompt)
        yield nets, net, parts


class _Vae(TinyVae):
    """The VAE, which tells the meter when it runs."""

    def __init__(self, parts: _PartMeter) -> None:
        super().__init__(device="meta")
        self.parts = parts

    def pool_features(self, image: Tensor, tile: Tile = NO_TILING) -> list[Tensor]:
        self.parts.start("vae")
        return super().pool_features(image, tile)

    def decode(self, latent: Tensor, before: Any = None, tile: Tile = NO_TILING) -> Tensor:
        self.parts.start("vae")
        return super().decode(latent, before, tile)


def _build_networks(dtype: torch.dtype, parts: _PartMeter) -> Networks:
    from filmgate.models.families.diffvsr.loading import get_network_builders

    builders = get_network_builders()
    unet, control, vae = (
        builders["unet"](dict(UNET)),
        builders["controlnet"](dict(CONTROL)),
        _Vae(parts),
    )
    for net in (unet, control, vae):
        nn.Module.to(net, dtype=dtype).requires_grad_(False)
    prompt = torch.empty(1, PROMPT_TOKENS, UNET["cross_attention_dim"], dtype=dtype)
    nets = Networks.of(unet, control, vae, prompt)
    nets.condition.register_forward_pre_hook(lambda *_: parts.start("nets"))
    nets.unet.register_forward_pre_hook(lambda *_: parts.start("nets"))
    return nets


@dataclass(frozen=True)
class _MeteredFlow(Flow):
    """The flow stage, which tells the meter when it runs."""

    parts: _PartMeter = field(kw_only=True)

    def step(self, state: Any, frames: Any) -> Any:
        self.parts.start("flow")
        return super().step(state, frames)


def _plain_flow(net: Raft, size: Size, scale: Fraction, parts: _PartMeter) -> None:
    """Encode both images of a pair, then correlate all pairs of positions."""
    parts.start("flow")
    sides = [max(MIN_SIDE, ceil(side * scale / CELL) * CELL) for side in size]
    now, last = (net.encode(_empty(1, 3, *sides, dtype=net.dtype)) for _ in range(2))
    pairs = _empty((sides[0] // CELL * sides[1] // CELL) ** 2)
    pairs = pairs / 16  # as torchvision scales: a second volume next to the first
    del pairs
    upsample_flow(net.estimate_flow(now, last, 1, volume=True), (SCALE * size[0], SCALE * size[1]))


def _plain_networks(nets: Networks, size: Size, batch: int, parts: _PartMeter) -> None:
    """Run complete maps, with features that are held through the steps."""
    parts.start("vae")
    small = torch.cat([pad_image(_empty(3, *size))] * batch)
    small, latent = small.to(nets.dtype), small.new_empty(batch, 4, *small.shape[2:])
    large = [SCALE * side for side in small.shape[2:]]
    along = latent.new_empty(1, 2, *large)
    guide = torch.cat([warp(latent.new_empty(1, 3, *large), along) for _ in range(batch)])
    guide = guide.to(nets.dtype)
    features = nets.vae.extract_features(guide)
    parts.start("nets")
    nets = replace(nets, prompt=nets.prompt.expand(batch, -1, -1))
    nets.predict_velocity(latent, small, 999, nets.condition(guide))
    parts.start("vae")
    nets.vae.decode(latent.to(nets.dtype), [pool(some) for some in reversed(features)])


def _empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _predict(
    way: str, dtype: torch.dtype, batch: int | None, scale: Fraction, parts: dict[str, int]
) -> MemoryPrediction:
    name = str(dtype).removeprefix("torch.")
    return MemoryPrediction(way, name, batch, parts, ("flow_scale", scale))
