"""The motion encoder of PersonaLive: a face as 32 tokens of 16 numbers.

A convolutional network of the kind that finds face landmarks (Bulat and Tzimiropoulos, "How far are
we from solving the 2D & 3D Face Alignment problem?", 2017), with three spatial transformers.
"""

from __future__ import annotations

from functools import cache
from math import log
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.models.diffusion.attention import Attention
from filmgate.models.families.personalive.layers import (
    MODULE_GROUPS,
    MODULE_HEADS,
    ModuleBlock,
)

FACE = 224  # pixels of a side of a face
TOKENS, WIDTH = 32, 16
GRID = 28  # places of a side that the transformers see
_HIDDEN = 1024
_DEPTH = 4  # of the hourglass


def make_sines(places: Tensor, width: int) -> Tensor:
    """Return sines, then cosines, of places (N,) as (N, width)."""
    half = width // 2
    rates = torch.exp(torch.arange(half, device=places.device) * (-log(10000.0) / half))
    angles = places[:, None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


@cache
def make_grid(side: int, width: int) -> Tensor:
    """Return sines and cosines of column and row of each place of a grid, (1, side^2, width)."""
    places = make_sines(torch.arange(side, device="cpu"), width // 2)
    columns = places[None].expand(side, -1, -1)
    rows = places[:, None].expand(-1, side, -1)
    return torch.cat([columns, rows], 2).flatten(0, 1)[None]


class FanBlock(nn.Module):
    """Three convolutions, their results side by side, added to the input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half, quarter = outputs // 2, outputs // 4
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, half, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, quarter, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(quarter)
        self.conv3 = nn.Conv2d(quarter, quarter, 3, padding=1, bias=False)
        self.downsample = None if inputs == outputs else nn.Sequential(
            nn.BatchNorm2d(inputs, eps=1e-4), nn.ReLU(), nn.Conv2d(inputs, outputs, 1, bias=False)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        one = self.conv1(functional.relu(self.bn1(x)))
        two = self.conv2(functional.relu(self.bn2(one)))
        three = self.conv3(functional.relu(self.bn3(two)))
        skip = x if self.downsample is None else self.downsample(x)
        return torch.cat([one, two, three], 1).add_(skip)


class Hourglass(nn.Module):
    """Four sizes, the smaller ones added to the larger ones on the way back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for level in range(1, _DEPTH + 1):
            for name in ("b1", "b2", "b3"):
                self.add_module(f"{name}_{level}", FanBlock(width, width))
        self.b2_plus_1 = FanBlock(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self._run(_DEPTH, x)

    def _run(self, level: int, x: Tensor) -> Tensor:
        kept = self.get_submodule(f"b1_{level}")(x)
        low = self.get_submodule(f"b2_{level}")(functional.max_pool2d(x, 2))
        low = self._run(level - 1, low) if level > 1 else self.b2_plus_1(low)
        low = self.get_submodule(f"b3_{level}")(low)
        large = functional.interpolate(low, kept.shape[2:], mode="bilinear", align_corners=False)
        return kept.add_(large)  # type: ignore[no-any-return]


class Patches(nn.Module):
    """Patches of a feature map as tokens that know their place; the table is not stored."""

    def __init__(self, width: int, patch: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(width, hidden, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return tokens + make_grid(GRID, tokens.shape[2]).to(tokens)


class PatchTransformer(nn.Module):
    """Attention between the patches of a feature map, added to it."""

    def __init__(self, width: int, patch: int, hidden: int) -> None:
        super().__init__()
        self.patch = patch
        self.norm = nn.GroupNorm(MODULE_GROUPS, width, eps=1e-6)
        self.pos_embed = Patches(width, patch, hidden)
        attention = Attention(hidden, MODULE_HEADS)
        self.transformer_blocks = nn.ModuleList([ModuleBlock([attention], hidden)])
        self.proj_out = nn.Linear(hidden // patch**2, width)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.transformer_blocks[0](self.pos_embed(self.norm(x)))
        size = (GRID, GRID, self.patch, self.patch, -1)  # each token is a patch of places
        places = self.proj_out(tokens.unflatten(2, size[2:]))
        rows = places.unflatten(1, size[:2]).permute(0, 5, 1, 3, 2, 4)
        return rows.reshape(x.shape).add_(x)  # type: ignore[no-any-return]


class Fan(nn.Module):
    """The convolutional network: a face (N, 3, 224, 224) to 512 numbers.

    `width` is that of the hourglass, 256 as published; `hidden` that of the transformers.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        quarter, half = width // 4, width // 2
        self.conv1 = nn.Conv2d(3, quarter, 7, stride=2, padding=3)
        self.bn1 = nn.BatchNorm2d(quarter)
        self.conv2, self.conv3 = FanBlock(quarter, half), FanBlock(half, half)
        self.conv4, self.m0 = FanBlock(half, width), Hourglass(width)
        self.top_m_0 = FanBlock(width, width)
        self.conv_last0, self.bn_end0 = nn.Conv2d(width, width, 1), nn.BatchNorm2d(width)
        self.l0, self.bn5 = nn.Conv2d(width, 68, 1), nn.BatchNorm2d(68)
        self.conv6 = nn.Conv2d(68, 1, 3, stride=2, padding=1)
        self.fc = nn.Linear(GRID**2, TOKENS * WIDTH)
        self.att_1 = PatchTransformer(half, 4, hidden)
        self.att_2 = PatchTransformer(width, 2, hidden)
        self.att_3 = PatchTransformer(width, 2, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = self.att_1(self.conv2(functional.relu(self.bn1(self.conv1(x)), inplace=True)))
        x = self.att_2(self.conv4(self.conv3(functional.max_pool2d(x, 2))))
        x = self.bn_end0(self.conv_last0(self.top_m_0(self.m0(x))))
        x = self.l0(functional.relu(self.att_3(x)))
        x = self.conv6(functional.relu(self.bn5(x)))
        return self.fc(functional.relu(x.flatten(1)))  # type: ignore[no-any-return]


class MotionEncoder(nn.Module):
    """Faces to motion tokens, each face by itself."""

    def __init__(self, width: int = 256, hidden: int = _HIDDEN, device: str = "cpu") -> None:
        super().__init__()
        with torch.device(device):
            self.model = Fan(width, hidden)
            self.final_proj = nn.Linear(TOKENS * WIDTH, TOKENS * WIDTH)
            places = torch.arange(TOKENS, device="cpu")
            self.register_buffer("pe", make_sines(places, WIDTH)[None].to(device))
        self.pe: Tensor

    def forward(self, faces: Tensor) -> Tensor:
        """Return tokens (N, 32, 16) of faces (N, 3, 224, 224) in [-1, 1]."""
        flat = self.final_proj(self.model(faces))
        return flat.unflatten(1, (TOKENS, WIDTH)) + self.pe  # type: ignore[no-any-return]

    def convert(self, device: str, dtype: torch.dtype) -> Self:
        """Move the network; return it."""
        return self.to(device, dtype).eval().requires_grad_(False)
