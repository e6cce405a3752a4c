"""The blocks of PersonaLive's UNets, by the names of their weights.

Tensors are (F, C, h, w): F frames, each by itself; only temporal modules see other frames. Rombach
et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022; Guo et al.,
"AnimateDiff", 2024; Hu et al., "Animate Anyone", 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.models.diffusion.attention import Attention, FeedForward, KeysValues

MODULE_GROUPS, MODULE_HEADS = 32, 8  # of motion and temporal modules of any size
MOTION_WIDTH = 16  # of a motion token
MAX_FRAMES = 32  # of a stack: as many as there are positions
FRAMES_AT_ONCE = 4  # of attention to the portrait and of feed-forward layers: they set the peak


@dataclass(frozen=True, slots=True)
class Portrait:
    """What the denoising UNet sees of the portrait, by spatial block.

    `looks`: what a block's attention to the one CLIP token returns, (1, 1, C): with one key it is
    the same for every query. `banks`: keys and values of the tokens of the reference and of the
    keyframes, (1, heads, tokens, width); empty without a reference.
    """

    looks: tuple[Tensor, ...]
    banks: tuple[KeysValues, ...] = ()


@dataclass(slots=True)
class Pass:
    """One pass of a UNet: what it sees of the portrait, and what is read on the way.

    `taps`: the tokens (F, T, C) that each spatial block attends to, if `reads`. `ends`: the pass
    ends at the last tap.
    """

    portrait: Portrait
    reads: bool = False
    ends: bool = False
    taps: list[Tensor] = field(default_factory=list)


class Resnet(nn.Module):
    """Two convolutions with the noise level of each frame added between them."""

    def __init__(self, inputs: int, outputs: int, time: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, eps=1e-5)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(time, outputs)
        self.norm2 = nn.GroupNorm(groups, outputs, eps=1e-5)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """`time` (F, T) are the embedded noise levels, with their last SiLU."""
        hidden = self.conv1(functional.silu(self.norm1(x), inplace=True))
        hidden = hidden.add_(self.time_emb_proj(time)[:, :, None, None])
        hidden = self.conv2(functional.silu(self.norm2(hidden), inplace=True))
        return hidden.add_(x if self.conv_shortcut is None else self.conv_shortcut(x))  # type: ignore[no-any-return]


class PortraitAttention(Attention):
    """Attention of tokens to themselves, and to those of the portrait."""

    def attend_with(self, x: Tensor, bank: KeysValues) -> Tensor:
        """Return the result for x (N, T, C), which attends to itself and to `bank` (of 1 row)."""
        parts = []
        for some in torch.split(x, FRAMES_AT_ONCE):
            own = self.project(some)
            both = [torch.cat([mine, theirs.expand(len(some), -1, -1, -1)], 2)
                    for mine, theirs in zip(own, bank, strict=True)]  # fmt: skip
            parts.append(self.attend(some, (both[0], both[1])))
        return torch.cat(parts)


class QuarteredFeedForward(FeedForward):
    """A feed-forward layer that computes a quarter of its rows at a time."""

    def count_rows(self, x: Tensor) -> int:
        return max(1, len(x) // FRAMES_AT_ONCE)


class SpatialBlock(nn.Module):
    """Attention of a frame to itself and the portrait, and what CLIP saw in the portrait."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.norm1, self.attn1 = nn.LayerNorm(width), PortraitAttention(width, heads)
        self.norm2, self.attn2 = nn.LayerNorm(width), Attention(width, heads, context)
        self.norm3, self.ff = nn.LayerNorm(width), QuarteredFeedForward(width)
        self.place = 0  # among the spatial blocks of its UNet

    def look(self, clip: Tensor) -> Tensor:
        """Return what attention to the one token `clip` (1, 1, W) gives for any query."""
        return self.attn2.to_out[0](self.attn2.to_v(clip))  # type: ignore[no-any-return]

    def forward(self, x: Tensor, run: Pass) -> Tensor | None:
        """Return the tokens (F, T, C); None if the pass ends here."""
        tokens = self.norm1(x)
        if run.reads:
            run.taps.append(tokens)
            if run.ends and len(run.taps) == len(run.portrait.looks):
                return None
        banks = run.portrait.banks
        seen = self.attn1.attend_with(tokens, banks[self.place]) if banks else self.attn1(tokens)
        x = seen.add_(x).add_(run.portrait.looks[self.place])
        return self.ff(self.norm3(x)).add_(x)  # type: ignore[no-any-return]


class SpatialTransformer(nn.Module):
    """Positions of each frame as tokens."""

    def __init__(self, width: int, heads: int, context: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.proj_in, self.proj_out = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList([SpatialBlock(width, heads, context)])

    @property
    def block(self) -> SpatialBlock:
        """The only block."""
        block = self.transformer_blocks[0]
        assert isinstance(block, SpatialBlock)
        return block

    def forward(self, x: Tensor, run: Pass) -> Tensor | None:
        """Return x, attended; None if the pass ends here."""
        tokens = self.block(self.proj_in(self.norm(x)).flatten(2).transpose(1, 2), run)
        if tokens is None:
            return None
        hidden = tokens.transpose(1, 2).reshape(x.shape)
        return self.proj_out(hidden).add_(x)  # type: ignore[no-any-return]


class Positions(nn.Module):
    """Sines and cosines of the place in a stack; stored with the weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        places = torch.arange(MAX_FRAMES, device="cpu")[:, None]
        rates = torch.exp(torch.arange(0, width, 2, device="cpu") * (-log(10000.0) / width))
        table = torch.stack([torch.sin(places * rates), torch.cos(places * rates)], -1)
        self.register_buffer("pe", table.flatten(1)[None].to(torch.get_default_device()))
        self.pe: Tensor


class TemporalAttention(Attention):
    """Attention between the frames of a stack at one place."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.pos_encoder = Positions(width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return super().forward(x + self.pos_encoder.pe[:, : x.shape[1]])


class ModuleBlock(nn.Module):
    """Two attentions and a feed-forward layer."""

    def __init__(self, attentions: Sequence[Attention], width: int) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList(attentions)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in attentions])
        self.ff, self.ff_norm = QuarteredFeedForward(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        for norm, attention in zip(self.norms, self.attention_blocks, strict=True):
            x = attention(norm(x), context).add_(x)
        return self.ff(self.ff_norm(x)).add_(x)  # type: ignore[no-any-return]


class ModuleTransformer(nn.Module):
    """The shell of motion and temporal modules."""

    def __init__(self, attentions: Sequence[Attention], width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(MODULE_GROUPS, width, eps=1e-6)
        self.proj_in, self.proj_out = nn.Linear(width, width), nn.Linear(width, width)
        self.transformer_blocks = nn.ModuleList([ModuleBlock(attentions, width)])

    def run(self, tokens: Tensor, context: Tensor | None = None) -> Tensor:
        """Return normalized tokens (N, T, C), attended."""
        return self.proj_out(self.transformer_blocks[0](self.proj_in(tokens), context))  # type: ignore[no-any-return]


class MotionModule(nn.Module):
    """Attention of the places of each frame to that frame's motion tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        attentions = [Attention(width, MODULE_HEADS, MOTION_WIDTH) for _ in range(2)]
        self.temporal_transformer = ModuleTransformer(attentions, width)

    def forward(self, x: Tensor, motion: Tensor) -> Tensor:
        """`motion` are tokens (F, 32, 16)."""
        net = self.temporal_transformer
        tokens = net.run(net.norm(x).flatten(2).transpose(1, 2), motion)
        return tokens.transpose(1, 2).reshape(x.shape).add_(x)


class TemporalModule(nn.Module):
    """Attention between all frames, one sequence for each place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        attentions = [TemporalAttention(width, MODULE_HEADS) for _ in range(2)]
        self.temporal_transformer = ModuleTransformer(attentions, width)

    def forward(self, x: Tensor) -> Tensor:
        net, (height, width) = self.temporal_transformer, x.shape[2:]
        tokens = net.run(net.norm(x).permute(2, 3, 0, 1).flatten(0, 1))
        return torch.unflatten(tokens, 0, (height, width)).permute(2, 3, 0, 1) + x
