"""LatentSync's UNet: predicts the noise in the latents of a clip of faces that hear audio.

Li et al., "LatentSync: Taming Audio-Conditioned Latent Diffusion Models for Lip Sync", arXiv
2412.09262. Names and shapes of the tensors are those of the published weights, 1.5 and 1.6.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.models.diffusion.autoencoder import LATENTS
from filmgate.models.families.latentsync.layers import (
    GROUPS,
    Audio,
    MotionModule,
    Resnet,
    SpatialTransformer,
    normalize_clip,
)

INPUTS = 3 * LATENTS + 1  # noisy latents, mask, masked latents, reference latents


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a UNet; the defaults are those of the published weights.

    `channels` by resolution, halved from one to the next; `audio`: the width of audio tokens.
    """

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers: int = 2
    heads: int = 8
    audio: int = 384


class _Level(nn.Module):
    """Layers at one resolution: residual, attention if there is any, motion; then a resize."""

    def __init__(self, resnets: list[Resnet], shape: Shape, width: int, attends: bool) -> None:
        super().__init__()
        count = len(resnets)
        self.resnets = nn.ModuleList(resnets)
        self.attentions = (
            nn.ModuleList(
                [SpatialTransformer(width, shape.heads, shape.audio) for _ in range(count)]
            )
            if attends
            else None
        )
        self.motion_modules = nn.ModuleList(
            [MotionModule(width, shape.heads) for _ in range(count)]
        )

    def run_layer(
        self, k: int, x: Tensor, time: Tensor, audio: Iterator[Audio], frames: int
    ) -> Tensor:
        """Return the result of layer k; it takes the next of `audio` if it attends."""
        x = self.resnets[k](x, time, frames)
        if self.attentions is not None:
            x = self.attentions[k](x, next(audio))
        return self.motion_modules[k](x, frames)  # type: ignore[no-any-return]


class _Resize(nn.Module):
    """A convolution of stride 2, or one after doubling the size."""

    def __init__(self, width: int, *, up: bool) -> None:
        super().__init__()
        self.up, self.conv = up, nn.Conv2d(width, width, 3, 1 if up else 2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.interpolate(x, scale_factor=2) if self.up else x)  # type: ignore[no-any-return]


class _Down(_Level):
    def __init__(self, inputs: int, width: int, shape: Shape, attends: bool, last: bool) -> None:
        time = 4 * shape.channels[0]
        resnets = [Resnet(width if k else inputs, width, time) for k in range(shape.layers)]
        super().__init__(resnets, shape, width, attends)
        self.downsamplers = None if last else nn.ModuleList([_Resize(width, up=False)])


class _Up(_Level):
    def __init__(
        self, inputs: int, width: int, skips: list[int], shape: Shape, attends: bool, last: bool
    ) -> None:
        time = 4 * shape.channels[0]
        resnets = [Resnet((width if k else inputs) + skip, width, time)
                   for k, skip in enumerate(skips)]  # fmt: skip
        super().__init__(resnets, shape, width, attends)
        self.upsamplers = None if last else nn.ModuleList([_Resize(width, up=True)])


class _Middle(nn.Module):
    def __init__(self, width: int, shape: Shape) -> None:
        super().__init__()
        time = 4 * shape.channels[0]
        self.resnets = nn.ModuleList([Resnet(width, width, time) for _ in range(2)])
        self.attentions = nn.ModuleList([SpatialTransformer(width, shape.heads, shape.audio)])

    def forward(self, x: Tensor, time: Tensor, audio: Iterator[Audio], frames: int) -> Tensor:
        x = self.resnets[0](x, time, frames)
        x = self.attentions[0](x, next(audio))
        return self.resnets[1](x, time, frames)  # type: ignore[no-any-return]


class _TimeEmbedding(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(inputs, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(functional.silu(self.linear_1(x)))  # type: ignore[no-any-return]


class UNet(nn.Module):
    """The network. A clip has at most 24 frames; it was trained with 16."""

    down_blocks: Any
    mid_block: Any
    up_blocks: Any

    def __init__(self, shape: Shape = Shape()) -> None:
        super().__init__()
        self.shape, widths = shape, shape.channels
        first, count = widths[0], len(widths)
        self.conv_in = nn.Conv2d(INPUTS, first, 3, padding=1)
        self.time_embedding = _TimeEmbedding(first, 4 * first)
        self.down_blocks, skips, inputs = nn.ModuleList(), [first], first
        for k, width in enumerate(widths):
            last = k == count - 1
            self.down_blocks.append(_Down(inputs, width, shape, attends=not last, last=last))
            skips += [width] * (shape.layers if last else shape.layers + 1)
            inputs = width
        self.mid_block = _Middle(inputs, shape)
        self.up_blocks = nn.ModuleList()
        for k, width in enumerate(reversed(widths)):
            own = [skips.pop() for _ in range(shape.layers + 1)]
            last = k == count - 1
            self.up_blocks.append(_Up(inputs, width, own, shape, attends=bool(k), last=last))
            inputs = width
        self.conv_norm_out = nn.GroupNorm(GROUPS, first, eps=1e-5)
        self.conv_out = nn.Conv2d(first, LATENTS, 3, padding=1)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of its weights."""
        return self.conv_in.weight.dtype

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return self.conv_in.weight.device

    def project_audio(self, audio: Tensor, *, silent: bool = False) -> tuple[Audio, ...]:
        """Return what each layer hears of audio tokens (B, F, T, C): the same for all steps.

        With `silent`, as many rows without audio come first, whose tokens would be zeros.
        """
        tokens = audio.flatten(0, 1)
        return tuple(
            Audio(layer.transformer_blocks[0].attn2.project(tokens), len(tokens) if silent else 0)
            for layer in self._iter_attentions()
        )

    def embed_time(self, step: int) -> Tensor:
        """Return the embedding (1, T) of a step, 0 to 999, before its last SiLU."""
        half = self.shape.channels[0] // 2
        angles = step * np.exp(np.arange(half) * (-log(10000) / half))
        waves = np.concatenate([np.cos(angles), np.sin(angles)])[None].astype(np.float32)
        time = torch.from_numpy(waves).to(self.device, self.dtype)
        return self.time_embedding(time)  # type: ignore[no-any-return]

    def forward(self, x: Tensor, step: int, audio: tuple[Audio, ...]) -> tuple[Tensor, Tensor]:
        """Return the predicted noise, and what `refine` needs in place of all inner layers.

        `x` (B, F, 13, h, w): noisy latents, mask (1 keeps), masked and reference latents.
        """
        return self.run(x, functional.silu(self.embed_time(step)), audio)

    def run(self, x: Tensor, time: Tensor, audio: tuple[Audio, ...]) -> tuple[Tensor, Tensor]:
        """Do the same at the embedded noise level `time` (1, T), with its last SiLU."""
        frames, heard = x.shape[1], iter(audio)
        hidden = self.conv_in(x.flatten(0, 1))
        skips = [hidden]
        for level in self.down_blocks:
            for k in range(len(level.resnets)):
                hidden = level.run_layer(k, hidden, time, heard, frames)
                skips.append(hidden)
            if level.downsamplers is not None:
                hidden = level.downsamplers[0](hidden)
                skips.append(hidden)
        hidden = self.mid_block(hidden, time, heard, frames)
        for level in self.up_blocks:
            for k in range(len(level.resnets)):
                inner = hidden
                hidden = torch.cat([hidden, skips.pop()], 1)
                if skips:
                    hidden = level.run_layer(k, hidden, time, heard, frames)
                else:
                    hidden = self._run_last(hidden, time, next(heard), frames)
            if level.upsamplers is not None:
                hidden = level.upsamplers[0](hidden)
        return hidden.reshape(-1, frames, *hidden.shape[1:]), inner

    def refine(
        self, x: Tensor, step: int, audio: tuple[Audio, ...], inner: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the predicted noise with `inner` of an earlier step: only the outermost layers
        run (Ma et al., "DeepCache: Accelerating Diffusion Models for Free", 2024).
        """
        time = functional.silu(self.embed_time(step))
        return self.run_outermost(x, time, audio[-1], inner), inner

    def run_outermost(self, x: Tensor, time: Tensor, audio: Audio, inner: Tensor) -> Tensor:
        """Return the same noise at the embedded noise level `time`, as in `run`."""
        frames = x.shape[1]
        hidden = torch.cat([inner, self.conv_in(x.flatten(0, 1))], 1)
        hidden = self._run_last(hidden, time, audio, frames)
        return hidden.reshape(-1, frames, *hidden.shape[1:])

    def _run_last(self, x: Tensor, time: Tensor, audio: Audio, frames: int) -> Tensor:
        level = self.up_blocks[-1]
        x = level.run_layer(len(level.resnets) - 1, x, time, iter([audio]), frames)
        x = functional.silu(normalize_clip(self.conv_norm_out, x, frames), inplace=True)
        return self.conv_out(x)  # type: ignore[no-any-return]

    def list_widths(self) -> list[int]:
        """Return how many channels each layer that hears audio has, in order."""
        return [layer.proj_in.out_channels for layer in self._iter_attentions()]

    @property
    def inner_width(self) -> int:
        """How many channels `refine` needs in place of all inner layers."""
        width: int = self.up_blocks[-1].resnets[-1].conv1.in_channels
        return width - self.shape.channels[0]

    def _iter_attentions(self) -> Iterator[Any]:
        """Yield the layers that hear audio, in the order in which they run."""
        for level in (*self.down_blocks, self.mid_block, *self.up_blocks):
            yield from level.attentions or ()
