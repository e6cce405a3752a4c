"""Pictures sampled where a flow points to, as tensors, on any device and in any dtype."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

WIDENED = 1 << 25  # samples of a half-precision picture that are float32 at a time


def places(height: int, width: int, device: torch.device) -> Tensor:
    """Where pixels are: (2, height, width) float32, x first, whole numbers from 0."""
    y = torch.arange(height, dtype=torch.float32, device=device)
    x = torch.arange(width, dtype=torch.float32, device=device)
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)])


def warp(source: Tensor, flow: Tensor, top: int = 0) -> Tensor:
    """source(x + dx, y + dy), bilinear, clamped at the border, for rows from `top` on.

    `flow` (1, 2, h, W) in pixels, dx first. Places are found in float32 whatever the rest is: in
    half precision a side of a thousand pixels has no fractions left.
    """
    height, width = source.shape[2:]
    rows, columns = flow.shape[2:]
    x = torch.arange(columns, device=flow.device, dtype=torch.float32) + flow[0, 0].float()
    y = torch.arange(top, top + rows, device=flow.device, dtype=torch.float32)[:, None]
    y = y + flow[0, 1].float()
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)[None]
    if source.dtype == torch.float32:
        return _sampled(source, grid)
    some = max(1, WIDENED // (height * width))  # channels whose wider copy is small
    return torch.cat([_sampled(part.float(), grid).to(source.dtype)
                      for part in torch.split(source, some, 1)], 1)  # fmt: skip


def _sampled(source: Tensor, grid: Tensor) -> Tensor:
    return functional.grid_sample(
        source, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
