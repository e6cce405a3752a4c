"""The denoising and the reference UNet of PersonaLive: Stable Diffusion 1.5's, frame by frame.

The denoising UNet has a motion and a temporal module after each layer. State dicts have the names
of the published weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.models.diffusion.attention import KeysValues
from filmgate.models.families.personalive.layers import (
    MotionModule,
    Pass,
    Portrait,
    Resnet,
    SpatialBlock,
    SpatialTransformer,
    TemporalModule,
)


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a UNet; the defaults are the published ones. `context`: width of the CLIP token."""

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers: int = 2
    heads: int = 8
    groups: int = 32
    context: int = 768
    latent: int = 4


class Block(nn.Module):
    """Layers of one size: each a resnet, attention to the portrait, motion and time.

    `spatial`: whether there is attention to the portrait. `animated`: whether there are motion and
    temporal modules.
    """

    def __init__(
        self, sides: Sequence[tuple[int, int]], shape: Shape, *, spatial: bool, animated: bool
    ) -> None:
        super().__init__()
        time = 4 * shape.channels[0]
        self.resnets = nn.ModuleList([Resnet(*side, time, shape.groups) for side in sides])
        widths = [outputs for _, outputs in sides]
        self.width = widths[-1]
        if spatial:
            self.attentions = nn.ModuleList(
                [SpatialTransformer(w, shape.heads, shape.context, shape.groups) for w in widths]
            )
        if animated:
            self.motion_modules = nn.ModuleList([MotionModule(width) for width in widths])
            self.temporal_modules = nn.ModuleList([TemporalModule(width) for width in widths])
        self.spatial, self.animated = spatial, animated

    @property
    def spatial_blocks(self) -> tuple[SpatialBlock, ...]:
        """What attends to the portrait, one for each layer; empty if nothing does."""
        found = self.attentions if self.spatial else ()
        return tuple(one.block for one in found if isinstance(one, SpatialTransformer))

    def add_resampler(self, *, down: bool) -> None:
        """Let the size change after the last layer."""
        resampler = nn.ModuleList([Resampler(self.width, 2 if down else 1)])
        self.add_module("downsamplers" if down else "upsamplers", resampler)

    @property
    def resampler(self) -> nn.Module | None:
        """What changes the size after the last layer."""
        names = dict(self.named_children()).keys() & {"downsamplers", "upsamplers"}
        return self.get_submodule(f"{next(iter(names))}.0") if names else None

    def run_layer(
        self, index: int, x: Tensor, time: Tensor, motion: Tensor | None, run: Pass
    ) -> Tensor | None:
        """Return x after a layer; None if the pass ends in it."""
        x = self.resnets[index](x, time)
        return self.run_modules(index, x, motion, run)

    def run_modules(self, index: int, x: Tensor, motion: Tensor | None, run: Pass) -> Tensor | None:
        """Return x after everything of a layer but its resnet; None if the pass ends in it."""
        if self.spatial:
            attended = self.attentions[index](x, run)
            if attended is None:
                return None
            x = attended
        if motion is not None:
            x = self.motion_modules[index](x, motion)
            x = self.temporal_modules[index](x)
        return x


class Resampler(nn.Module):
    """A convolution that halves the size, or one after a doubling."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=stride, padding=1)
        self.doubles = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        if self.doubles:
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.conv(x)  # type: ignore[no-any-return]


class TimeEmbedding(nn.Module):
    """Noise levels as vectors (F, 4 C), with the SiLU before each resnet's own layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, 4 * width)
        self.count = width // 2

    def forward(self, levels: Tensor) -> Tensor:
        """`levels` (F,) are 0 to 999."""
        places = torch.arange(self.count, dtype=torch.float32, device=levels.device)
        angles = levels.float()[:, None] * torch.exp(-log(10000.0) * places / self.count)
        waves = torch.cat([angles.cos(), angles.sin()], 1).to(self.linear_1.weight.dtype)
        return functional.silu(self.linear_2(functional.silu(self.linear_1(waves))))


class Unet(nn.Module):
    """What both UNets have: everything of Stable Diffusion 1.5's but the last two layers."""

    animated = False

    def __init__(self, shape: Shape | None = None, device: str = "cpu") -> None:
        super().__init__()
        with torch.device(device):
            self._build(shape or Shape())

    def _build(self, shape: Shape) -> None:
        self.shape, widths = shape, shape.channels
        count, first = len(widths), widths[0]
        self.conv_in = nn.Conv2d(shape.latent, first, 3, padding=1)
        self.time_embedding = TimeEmbedding(first)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        skips, inputs = [first], first
        for index, width in enumerate(widths):
            sides = [(inputs, width), *[(width, width)] * (shape.layers - 1)]
            self.down_blocks.append(self._make_block(sides, index < count - 1))
            skips += [width] * shape.layers
            if index < count - 1:
                self.downs[-1].add_resampler(down=True)
                skips.append(width)
            inputs = width
        self.mid_block = self._make_block([(inputs, inputs)], True)
        self.mid_block.resnets.append(Resnet(inputs, inputs, 4 * first, shape.groups))
        for index, width in enumerate(reversed(widths)):
            sides = []
            for _ in range(shape.layers + 1):
                sides.append((inputs + skips.pop(), width))
                inputs = width
            self.up_blocks.append(self._make_block(sides, index > 0))
            if index < count - 1:
                self.ups[-1].add_resampler(down=False)
        for place, block in enumerate(self.iter_blocks()):
            block.place = place

    def _make_block(self, sides: Sequence[tuple[int, int]], spatial: bool) -> Block:
        return Block(sides, self.shape, spatial=spatial, animated=self.animated)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self.conv_in.weight.dtype

    def convert(self, device: str, dtype: torch.dtype) -> Self:
        """Move the network; return it."""
        return self.to(device, dtype).eval().requires_grad_(False)

    @property
    def downs(self) -> tuple[Block, ...]:
        """The blocks on the way to the smallest size."""
        return tuple(block for block in self.down_blocks if isinstance(block, Block))

    @property
    def ups(self) -> tuple[Block, ...]:
        """The blocks on the way back."""
        return tuple(block for block in self.up_blocks if isinstance(block, Block))

    def iter_blocks(self) -> Iterator[SpatialBlock]:
        """Yield the blocks that attend to the portrait, in the order in which they run."""
        for part in (*self.downs, self.mid_block, *self.ups):
            yield from part.spatial_blocks

    def look(self, clip: Tensor) -> tuple[Tensor, ...]:
        """Return what each spatial block sees in the portrait by its CLIP token (1, 1, W)."""
        return tuple(block.look(clip) for block in self.iter_blocks())

    def run(
        self, x: Tensor, levels: Tensor, run: Pass,
        motion: Tensor | None = None, pose: Tensor | None = None,
    ) -> Tensor | None:  # fmt: skip
        """Return the features (F, C, h, w) of latents; None if the pass ends at its last tap."""
        time = self.time_embedding(levels)
        hidden: Tensor | None = self.conv_in(x)
        assert hidden is not None
        if pose is not None:
            hidden = hidden.add_(pose)
        skips = [hidden]
        for block in self.downs:
            for index in range(len(block.resnets)):
                hidden = block.run_layer(index, hidden, time, motion, run)
                assert hidden is not None  # the last tap is further up
                skips.append(hidden)
            if block.resampler is not None:
                hidden = block.resampler(hidden)
                skips.append(hidden)
        hidden = self.mid_block.run_layer(0, hidden, time, motion, run)
        hidden = self.mid_block.resnets[1](hidden, time)
        for block in self.ups:
            for index in range(len(block.resnets)):
                joined = torch.cat([hidden, skips.pop()], 1)
                hidden = block.resnets[index](joined, time)
                del joined
                hidden = block.run_modules(index, hidden, motion, run)
                if hidden is None:
                    return None
            if block.resampler is not None:
                hidden = block.resampler(hidden)
        return hidden


class ReferenceUnet(Unet):
    """Reads the tokens of the portrait, or of a keyframe, that the denoising UNet attends to."""

    def forward(self, latent: Tensor, clip: Tensor) -> tuple[Tensor, ...]:
        """Return the tokens (1, T, C) of each spatial block, rounded to half precision.

        `latent` (1, 4, h, w) without noise, `clip` (1, 1, W). The published code stores them in
        half precision whatever the dtype.
        """
        run = Pass(Portrait(self.look(clip)), reads=True, ends=True)
        self.run(latent, latent.new_zeros(1), run)
        return tuple(tokens.half().to(tokens.dtype) for tokens in run.taps)


class DenoisingUnet(Unet):
    """Predicts the noise of a stack of frames."""

    animated = True

    def _build(self, shape: Shape) -> None:
        super()._build(shape)
        self.conv_norm_out = nn.GroupNorm(shape.groups, shape.channels[0], eps=1e-5)
        self.conv_out = nn.Conv2d(shape.channels[0], shape.latent, 3, padding=1)

    def forward(
        self, latents: Tensor, levels: Tensor, portrait: Portrait,
        motion: Tensor | None, pose: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """Return the noise (F, 4, h, w) in `latents`.

        `levels` (F,) 0 to 999, `motion` tokens (F, 32, 16), None without motion and temporal
        modules, `pose` features (F, C, h, w).
        """
        hidden = self.run(latents, levels, Pass(portrait), motion, pose)
        hidden = functional.silu(self.conv_norm_out(hidden), inplace=True)
        return self.conv_out(hidden)  # type: ignore[no-any-return]

    def project(self, taps: Sequence[Tensor]) -> tuple[KeysValues, ...]:
        """Return keys and values of what `ReferenceUnet` read: computed once for all passes."""
        blocks = self.iter_blocks()
        return tuple(block.attn1.project(tap) for block, tap in zip(blocks, taps, strict=True))
