"""The blocks of LatentSync's UNet: residual, spatial and temporal, by the names of its weights.

Tensors are (B * F, C, h, w): B videos of F frames. Rombach et al., "High-Resolution Image Synthesis
with Latent Diffusion Models", 2022; Guo et al., "AnimateDiff", 2024.
"""

from __future__ import annotations

from math import log
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.models.diffusion.attention import Attention, FeedForward, KeysValues

GROUPS = 32
_PART = 1 << 23  # numbers that a feed-forward layer takes at a time
MAX_FRAMES = 24  # of a clip: as many as there are positions


class Audio(NamedTuple):
    """What a network hears, projected for one of its layers.

    `silent` rows come before those of `heard`: without audio, attention returns its bias alone.
    """

    heard: KeysValues
    silent: int = 0


def normalize_clip(norm: nn.GroupNorm, x: Tensor, frames: int) -> Tensor:
    """Return x normalized over channels, space and all frames of a clip, as it was trained.

    Videos go one after the other, since each is copied twice.
    """
    result = torch.empty_like(x)
    sizes = (-1, frames, *x.shape[1:])
    for video, normed in zip(x.reshape(sizes), result.view(sizes), strict=True):
        normed.copy_(norm(video.transpose(0, 1)[None])[0].transpose(0, 1))
    return result


class Resnet(nn.Module):
    """Two convolutions with the noise level added between them."""

    def __init__(self, inputs: int, outputs: int, time: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, inputs, eps=1e-5)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(time, outputs)
        self.norm2 = nn.GroupNorm(GROUPS, outputs, eps=1e-5)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor, time: Tensor, frames: int) -> Tensor:
        """`time` (1, T) is the embedded noise level, with its last SiLU."""
        hidden = functional.silu(normalize_clip(self.norm1, x, frames), inplace=True)
        hidden = self.conv1(hidden).add_(self.time_emb_proj(time)[:, :, None, None])
        hidden = functional.silu(normalize_clip(self.norm2, hidden, frames), inplace=True)
        hidden = self.conv2(hidden)
        return hidden.add_(x if self.conv_shortcut is None else self.conv_shortcut(x))  # type: ignore[no-any-return]


class AudioAttention(Attention):
    """Attention of tokens to what is heard."""

    def listen(self, x: Tensor, audio: Audio) -> Tensor:
        """Return the result for x (N, T, C); the first `silent` rows hear nothing."""
        if not audio.silent:
            return self.attend(x, audio.heard)
        heard = self.attend(x[audio.silent :], audio.heard)
        bias: Any = self.to_out[0].bias
        bias = bias.expand(audio.silent, x.shape[1], -1)
        return torch.cat([bias, heard])


class PartwiseFeedForward(FeedForward):
    """A feed-forward layer that computes so many numbers at a time, whatever their shape."""

    def count_rows(self, x: Tensor) -> int:
        return max(1, _PART // (x.shape[1] * x.shape[2]))


class SpatialBlock(nn.Module):
    """Attention within each frame, then to its audio."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.norm1, self.attn1 = nn.LayerNorm(width), Attention(width, heads)
        self.norm2, self.attn2 = nn.LayerNorm(width), AudioAttention(width, heads, context)
        self.norm3, self.ff = nn.LayerNorm(width), PartwiseFeedForward(width)

    def forward(self, x: Tensor, audio: Audio) -> Tensor:
        x = self.attn1(self.norm1(x)).add_(x)
        x = self.attn2.listen(self.norm2(x), audio).add_(x)
        return self.ff(self.norm3(x)).add_(x)  # type: ignore[no-any-return]


class SpatialTransformer(nn.Module):
    """Positions of each frame as tokens."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width, eps=1e-6)
        self.proj_in, self.proj_out = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList([SpatialBlock(width, heads, context)])

    def forward(self, x: Tensor, audio: Audio) -> Tensor:
        tokens = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        tokens = self.transformer_blocks[0](tokens, audio)
        hidden = tokens.transpose(1, 2).reshape(x.shape)
        return self.proj_out(hidden).add_(x)  # type: ignore[no-any-return]


class Positions(nn.Module):
    """Sines and cosines of the place in a clip; stored with the weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        rates = np.exp(np.arange(0, width, 2) * (-log(10000.0) / width))
        angles = np.arange(MAX_FRAMES)[:, None] * rates
        table = np.stack([np.sin(angles), np.cos(angles)], -1).reshape(1, MAX_FRAMES, width)
        self.register_buffer("pe", torch.from_numpy(table.astype(np.float32)))
        self.pe: Tensor


class TemporalAttention(Attention):
    """Attention between the frames of a clip at one place."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.pos_encoder = Positions(width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return super().forward(x + self.pos_encoder.pe[:, : x.shape[1]], context)


class TemporalBlock(nn.Module):
    """Two temporal attentions and a feed-forward layer; tokens are (B * h * w, F, C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList([TemporalAttention(width, heads) for _ in range(2)])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2)])
        self.ff, self.ff_norm = PartwiseFeedForward(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        for norm, attention in zip(self.norms, self.attention_blocks, strict=True):
            x = attention(norm(x)).add_(x)
        return self.ff(self.ff_norm(x)).add_(x)  # type: ignore[no-any-return]


class TemporalTransformer(nn.Module):
    """Frames of a clip as tokens, one sequence for each place."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width, eps=1e-6)
        self.proj_in, self.proj_out = nn.Linear(width, width), nn.Linear(width, width)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(width, heads)])

    def forward(self, x: Tensor, frames: int) -> Tensor:
        height, width = x.shape[2:]
        rows = self.norm(x).reshape(-1, frames, *x.shape[1:]).permute(0, 3, 4, 1, 2)
        tokens = self.proj_in(rows.flatten(0, 2))
        tokens = self.proj_out(self.transformer_blocks[0](tokens))
        rows = tokens.reshape(-1, height, width, *tokens.shape[1:]).permute(0, 3, 4, 1, 2)
        return rows.flatten(0, 1) + x  # type: ignore[no-any-return]


class MotionModule(nn.Module):
    """A temporal transformer under the name that the weights have for it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.temporal_transformer = TemporalTransformer(width, heads)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        return self.temporal_transformer(x, frames)  # type: ignore[no-any-return]
