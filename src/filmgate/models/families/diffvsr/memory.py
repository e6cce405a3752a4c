"""What Stream-DiffVSR would hold on a card: predicted from the shapes of its networks alone.

Nothing is computed and no weights are wanted: tensors without contents go through the very stages
that run, and their bytes are counted as they come and go. Beside it the plain way: each frame's
maps whole, all of RAFT's pairs beforehand, features of the previous picture held until they are
wanted, a batch through every network at once.
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
from filmgate.device.tensor_memory import Live
from filmgate.flow.stage import Flow, enlarged
from filmgate.models.contracts import MemoryPrediction
from filmgate.models.families.diffvsr.schedule import warp
from filmgate.models.families.diffvsr.stage import SCALE, WORDS, DiffVsr, Nets, filled
from filmgate.models.families.diffvsr.vae import WHOLE, TinyVae, pooled
from filmgate.models.families.raft import RaftFlow
from filmgate.models.families.raft.net import CELL, LARGE, SMALL, SMALLEST, Raft

Size = tuple[int, int]
# The published sizes, as far as they are known: 472.4 and 207.7 million numbers.
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


def ours(
    size: Size, dtype: torch.dtype, flow: str, scales: Sequence[Fraction], frames: int = 2
) -> Iterator[MemoryPrediction]:
    """What frames of this (height, width) hold, one after the other: from the second on the same.

    Live bytes, and in half precision what cuDNN's change of layout takes. However many come at a
    time, they go through one by one, so a batch holds no more. One step of a frame holds what four
    do, and one update of the flow what twelve do. RAFT is float16 on a card, whatever `dtype` is.
    """
    spec = StreamSpec(width=size[1], height=size[0], rate=None, time_base=Fraction(1), pixels="rgb")
    with _shapes(dtype, flow, torch.float16) as (nets, net, parts):
        for scale in scales:
            stages: tuple[AnyStage, ...] = (DiffVsr(nets, steps=1),)
            if net is not None:
                found = RaftFlow(net, updates=1)
                told = _Told(found, SCALE * scale, occlusion=False, parts=parts)
                stages = (told, *stages)
            chain = Chain(stages)
            state = chain.start(spec, Position(0, Fraction(0)))
            for n in range(frames):
                image, extras = _empty(3, *size, dtype=dtype), {}
                if net is None:  # found on the CPU
                    extras = {"flow_prev": _empty(2, *(ceil(s * SCALE * scale) for s in size))}
                state, _ = chain.step(state, [Frame(n, Fraction(n), Fraction(1), image, extras)])
            del state
            yield MemoryPrediction("ours", _name(dtype), scale, None, parts.taken())


def plain(
    size: Size, dtype: torch.dtype, scales: Sequence[Fraction], batches: Sequence[int]
) -> Iterator[MemoryPrediction]:
    """The same of the plain way, whose batch goes through the networks at once.

    Its RAFT is float32: torchvision's raises in half precision.
    """
    with _shapes(dtype, "raft_large", torch.float32) as (nets, net, parts):
        assert net is not None
        flows = {}
        for scale in scales:
            _plain_flow(net, size, SCALE * scale, parts)
            flows[scale] = parts.taken()
        for batch in batches:
            _plain_networks(nets, size, batch, parts)
            rest = parts.taken()
            for scale in scales:
                yield MemoryPrediction(
                    "plain", _name(dtype), scale, batch, {**flows[scale], **rest}
                )


@dataclass
class _Parts:
    """The peak while each part is at work."""

    live: Live
    peaks: dict[str, int] = field(default_factory=dict)
    now: str = ""

    def at(self, part: str) -> None:
        if self.now:
            self.peaks[self.now] = max(self.peaks.get(self.now, 0), self.live.peak)
        self.live.peak, self.now = self.live.bytes, part

    def taken(self) -> dict[str, int]:
        """The peaks so far, which are forgotten here."""
        self.at("weights")
        peaks, self.peaks = self.peaks, {}
        return peaks


@contextmanager
def _shapes(
    dtype: torch.dtype, flow: str, flow_dtype: torch.dtype
) -> Iterator[tuple[Nets, Raft | None, _Parts]]:
    """The networks without contents; what is made in the `with` is counted by part."""
    live = Live(layouts=True)
    parts = _Parts(live)
    with torch.device("meta"):
        nets, net = _nets(dtype, parts), None
        if flow != "dis":
            net = Raft(LARGE if flow == "raft_large" else SMALL, "meta").to(flow_dtype)
            net.eval().requires_grad_(False)
    with torch.inference_mode(), live:
        parts.at("weights")
        held = [nets.unet, nets.control, nets.condition, nets.vae, *([net] if net else [])]
        live.hold(*(number for part in held for number in part.parameters()), nets.prompt)
        yield nets, net, parts


class _Vae(TinyVae):
    """Says when it is at work."""

    def __init__(self, parts: _Parts) -> None:
        super().__init__(device="meta")
        self.parts = parts

    def pooled(self, picture: Tensor, tile: Tile = WHOLE) -> list[Tensor]:
        self.parts.at("vae")
        return super().pooled(picture, tile)

    def decode(self, latent: Tensor, before: Any = None, tile: Tile = WHOLE) -> Tensor:
        self.parts.at("vae")
        return super().decode(latent, before, tile)


def _nets(dtype: torch.dtype, parts: _Parts) -> Nets:
    from filmgate.models.families.diffvsr.loading import kinds

    made = kinds()
    unet, control, vae = made["unet"](dict(UNET)), made["controlnet"](dict(CONTROL)), _Vae(parts)
    for net in (unet, control, vae):
        nn.Module.to(net, dtype=dtype).requires_grad_(False)
    prompt = torch.empty(1, WORDS, UNET["cross_attention_dim"], dtype=dtype)
    nets = Nets.of(unet, control, vae, prompt)
    nets.condition.register_forward_pre_hook(lambda *_: parts.at("nets"))
    nets.unet.register_forward_pre_hook(lambda *_: parts.at("nets"))
    return nets


@dataclass(frozen=True)
class _Told(Flow):
    """Says when it is at work."""

    parts: _Parts = field(kw_only=True)

    def step(self, state: Any, frames: Any) -> Any:
        self.parts.at("flow")
        return super().step(state, frames)


def _plain_flow(net: Raft, size: Size, scale: Fraction, parts: _Parts) -> None:
    """Both pictures of a pair, then all pairs of their places."""
    parts.at("flow")
    sides = [max(SMALLEST, ceil(side * scale / CELL) * CELL) for side in size]
    now, last = (net.seen(_empty(1, 3, *sides, dtype=net.dtype)) for _ in range(2))
    pairs = _empty((sides[0] // CELL * sides[1] // CELL) ** 2)
    pairs = pairs / 16  # torchvision's way to scale: a second volume beside the first
    del pairs
    enlarged(net.flow(now, last, 1, volume=True), (SCALE * size[0], SCALE * size[1]))


def _plain_networks(nets: Nets, size: Size, batch: int, parts: _Parts) -> None:
    """Whole maps, and features that are held through the steps."""
    parts.at("vae")
    small = torch.cat([filled(_empty(3, *size))] * batch)
    small, latent = small.to(nets.dtype), small.new_empty(batch, 4, *small.shape[2:])
    large = [SCALE * side for side in small.shape[2:]]
    along = latent.new_empty(1, 2, *large)
    guide = torch.cat([warp(latent.new_empty(1, 3, *large), along) for _ in range(batch)])
    guide = guide.to(nets.dtype)
    features = nets.vae.features(guide)
    parts.at("nets")
    nets = replace(nets, prompt=nets.prompt.expand(batch, -1, -1))
    nets.velocity(latent, small, 999, nets.condition(guide))
    parts.at("vae")
    nets.vae.decode(latent.to(nets.dtype), [pooled(some) for some in reversed(features)])


def _empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
