"""Sample images where a flow points to, as tensors, on any device and in any dtype."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

FLOAT32_SAMPLES = 1 << 25  # of a half-precision image that are float32 at a time


def make_pixel_grid(height: int, width: int, device: torch.device) -> Tensor:
    """Return the positions of pixels, (2, height, width) float32, x first, integers from 0."""
    y = torch.arange(height, dtype=torch.float32, device=device)
    x = torch.arange(width, dtype=torch.float32, device=device)
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)])


def warp(source: Tensor, flow: Tensor, top: int = 0) -> Tensor:
    """Return source(x + dx, y + dy), bilinear, clamped at the border, for rows from `top` on.

    `flow` (1, 2, h, W) in pixels, dx first. Positions are always float32: float16 has no fractions
    at a thousand pixels.
    """
    height, width = source.shape[2:]
    rows, columns = flow.shape[2:]
    x = torch.arange(columns, device=flow.device, dtype=torch.float32) + flow[0, 0].float()
    y = torch.arange(top, top + rows, device=flow.device, dtype=torch.float32)[:, None]
    y = y + flow[0, 1].float()
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)[None]
    if source.dtype == torch.float32:
        return _sample(source, grid)
    channels = max(1, FLOAT32_SAMPLES // (height * width))  # whose float32 copy is small
    return torch.cat([_sample(part.float(), grid).to(source.dtype)
                      for part in torch.split(source, channels, 1)], 1)  # fmt: skip


def _sample(source: Tensor, grid: Tensor) -> Tensor:
    return functional.grid_sample(
        source, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
