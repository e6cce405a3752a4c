"""Convolutions that compute several neighbouring columns at a time.

A processor computes 16 channels in the time of four, and enlarging twice has four: the values of
four columns become channels of one convolution with a longer kernel, which moves by four columns.
"""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor
from torch.nn import functional

CHANNELS = 16  # of a vector register of float32


def choose_group(scale: int, device: str) -> int:
    """Return how many columns to compute at a time; on a GPU one."""
    return max(1, CHANNELS // scale**2) if device == "cpu" else 1


def group_weights(weights: Tensor, group: int) -> Tensor:
    """Return weights (s * group * s, I, k, k + group - 1) of those (s * s, I, k, k) of one column.

    A channel is a row of the enlarged sample, then its column in the group, then in the sample.
    """
    channels, inputs, height, width = weights.shape
    scale = isqrt(channels)
    single = weights.view(scale, scale, inputs, height, width)
    grouped = weights.new_zeros(scale, group, scale, inputs, height, width + group - 1)
    for column in range(group):
        grouped[:, column, :, :, :, column : column + width] = single
    return grouped.flatten(0, 2).contiguous(memory_format=torch.channels_last)


def group_bias(bias: Tensor, group: int) -> Tensor:
    """Return the bias for weights of `group_weights`."""
    scale = isqrt(len(bias))
    return bias.view(scale, 1, scale).expand(scale, group, scale).flatten()


def convolve(x: Tensor, weights: Tensor, bias: Tensor | None = None) -> Tensor:
    """(N, I, H, W) to (N, s * group * s, H', W' / group), with weights of `group_weights`."""
    height, width = weights.shape[-2:]
    return functional.conv2d(x, weights, bias, stride=(1, width - height + 1))


def shuffle_columns(x: Tensor, scale: int) -> Tensor:
    """Return the result of `convolve` as images (N, 1, H * scale, W * scale)."""
    count, channels, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(count, height, width, scale, channels // scale)
    return rows.transpose(2, 3).reshape(count, 1, height * scale, width * channels // scale)
