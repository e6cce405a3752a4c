"""Previews of latents that are not decoded yet, by a linear map from latents to colours."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from filmgate.core.stage import Preview

_SHOWN = 3  # frames side by side in a preview
_MOST_WIDE, _MOST_HIGH = 96, 44  # pixels of a preview


def fit_colours(latent: Tensor, image: Tensor) -> Tensor:
    """Return the linear map (C + 1, 3) from latents to RGB that fits an encoded image best.

    `latent` (C, h, w) is what `image` (3, H, W) was encoded to. The last row is an offset.
    """
    _, height, width = latent.shape
    small = functional.adaptive_avg_pool2d(image.float(), (height, width))
    inputs = torch.cat([latent.float(), torch.ones(1, height, width)]).flatten(1).T
    ridge = 1e-3 * len(inputs) * torch.eye(inputs.shape[1])
    colours: Tensor = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ small.flatten(1).T)
    return colours


def draw_preview(latents: Tensor, colours: Tensor) -> Preview:
    """Return the first, the middle and the last of latents (C, T, h, w), side by side.

    `colours` is a map that `fit_colours` returned: it shows shapes and colours, no details.
    """
    count = latents.shape[1]
    shown = latents[:, sorted({0, count // 2, count - 1})[:_SHOWN]].float()
    rgb = torch.einsum("cthw,cd->dthw", shown, colours[:-1]) + colours[-1][:, None, None, None]
    row = rgb.clamp(0, 1).nan_to_num().permute(0, 2, 1, 3).flatten(2)  # (3, h, T w)
    shrink = max(1.0, row.shape[2] / _MOST_WIDE, row.shape[1] / _MOST_HIGH)
    size = (max(1, int(row.shape[1] / shrink)), max(1, int(row.shape[2] / shrink)))
    row = functional.adaptive_avg_pool2d(row, size)
    pixels = (row * 255).round().byte().permute(1, 2, 0).contiguous()
    return Preview(size[1], size[0], pixels.numpy().tobytes())
