"""The networks of a driver's pose: LivePortrait's motion extractor, and the pose guider.

Woo et al., "ConvNeXt V2", CVPR 2023; Guo et al., "LivePortrait", 2024; Hu et al., "Animate Anyone",
2024.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

POINTS = 21
VIEW = 256  # pixels of a side of what the extractor sees
_BINS = 66  # of an angle, 3 degrees each
_OUTPUTS = (("kp", 3 * POINTS), ("scale", 1), ("pitch", _BINS), ("yaw", _BINS), ("roll", _BINS),
            ("t", 3), ("exp", 3 * POINTS))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Head:
    """Heads in images, as N rows. Angles are in degrees.

    `points` (N, 21, 3) of the face looking straight ahead, `angles` (N, 3): pitch, yaw and roll,
    `shift` (N, 3), `scale` (N, 1).
    """

    points: Tensor
    angles: Tensor
    shift: Tensor
    scale: Tensor


class FloatNorm(nn.Module):
    """Normalization over channels in float32, whatever the dtype of the network."""

    def __init__(self, width: int, *, first: bool) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.first = first  # channels come before the places

    def forward(self, x: Tensor) -> Tensor:
        rows = x.movedim(1, -1) if self.first else x
        scale, shift = self.weight.float(), self.bias.float()
        normed = functional.layer_norm(rows.float(), scale.shape, scale, shift, 1e-6).to(x.dtype)
        return torch.movedim(normed, -1, 1) if self.first else normed

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Move to another device, and stay float32: weights would lose digits."""
        kept = self.weight.data, self.bias.data
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if not self.weight.is_meta:
            self.weight.data, self.bias.data = (one.to(self.weight.device) for one in kept)
        return self


class ResponseNorm(nn.Module):
    """Channels relative to each other, by their energy in the image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, width))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """`x` is (N, h, w, C)."""
        energy = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
        share = energy / (energy.mean(-1, keepdim=True) + 1e-6)
        return self.gamma * (x * share) + self.beta + x  # type: ignore[no-any-return]


class ConvNextBlock(nn.Module):
    """A wide convolution of each channel, then two layers at each place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = FloatNorm(width, first=False)
        self.pwconv1, self.grn = nn.Linear(width, 4 * width), ResponseNorm(4 * width)
        self.pwconv2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.pwconv1(self.norm(self.dwconv(x).permute(0, 2, 3, 1)))
        hidden = self.pwconv2(self.grn(functional.gelu(hidden)))
        return hidden.permute(0, 3, 1, 2) + x  # type: ignore[no-any-return]


class ConvNext(nn.Module):
    """ConvNeXt V2 with a linear layer for each output."""

    def __init__(self, depths: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, widths[0], 4, stride=4), FloatNorm(widths[0], first=True))
        self.downsample_layers = nn.ModuleList([stem])
        for inputs, outputs in pairwise(widths):
            down = nn.Conv2d(inputs, outputs, 2, stride=2)
            self.downsample_layers.append(nn.Sequential(FloatNorm(inputs, first=True), down))
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvNextBlock(width) for _ in range(depth)))
            for depth, width in zip(depths, widths, strict=True)
        )
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)
        for name, count in _OUTPUTS:
            self.add_module(f"fc_{name}", nn.Linear(widths[-1], count))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return every output but the expression, which nothing uses."""
        for down, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(down(x))
        x = self.norm(x.mean((2, 3)))
        return {name: self.get_submodule(f"fc_{name}")(x) for name, _ in _OUTPUTS if name != "exp"}


class HeadExtractor(nn.Module):
    """Images to the position, angles and shape of the head in each."""

    def __init__(
        self,
        depths: Sequence[int] = (3, 3, 9, 3),
        widths: Sequence[int] = (96, 192, 384, 768),
        device: str = "cpu",
    ) -> None:
        super().__init__()
        with torch.device(device):
            self.detector = ConvNext(depths, widths)
            self.register_buffer("idx_tensor", torch.arange(_BINS, dtype=torch.float32))

    def forward(self, images: Tensor) -> Head:
        """Return the heads, float32, of images (N, 3, 256, 256) in [0, 1]."""
        found = {name: value.float() for name, value in self.detector(images).items()}
        angles = [_to_degrees(found[name]) for name in ("pitch", "yaw", "roll")]
        points = found["kp"].unflatten(1, (POINTS, 3))
        return Head(points, torch.stack(angles, 1), found["t"], found["scale"])

    def convert(self, device: str, dtype: torch.dtype) -> Self:
        """Move the network; return it. Its norms stay float32."""
        return self.to(device, dtype).eval().requires_grad_(False)


def _to_degrees(bins: Tensor) -> Tensor:
    """Return an angle (N,) of the scores (N, 66) of its bins."""
    places = torch.arange(_BINS, dtype=bins.dtype, device=bins.device)
    return (bins.softmax(1) * places).sum(1) * 3 - 97.5


class PoseGuider(nn.Module):
    """Drawn points (F, 3, 8 h, 8 w) in [0, 1] to features (F, C, h, w), each frame by itself."""

    def __init__(
        self, width: int = 320, inner: Sequence[int] = (16, 32, 96, 256), device: str = "cpu"
    ) -> None:
        super().__init__()
        with torch.device(device):
            self.conv_in = nn.Conv2d(3, inner[0], 3, padding=1)
            self.blocks = nn.ModuleList()
            for inputs, outputs in pairwise(inner):
                self.blocks.append(nn.Conv2d(inputs, inputs, 3, padding=1))
                self.blocks.append(nn.Conv2d(inputs, outputs, 3, padding=1, stride=2))
            self.conv_out_modify = nn.Conv2d(inner[-1], width, 3, padding=1)

    def forward(self, canvases: Tensor) -> Tensor:
        x = functional.silu(self.conv_in(canvases))
        for block in self.blocks:
            x = functional.silu(block(x), inplace=True)
        return self.conv_out_modify(x)  # type: ignore[no-any-return]

    def convert(self, device: str, dtype: torch.dtype) -> Self:
        """Move the network; return it."""
        return self.to(device, dtype).eval().requires_grad_(False)
