"""RAFT's correlation of two feature maps: the complete volume, or look-up.

Teed & Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV 2020, section 3.2
and appendix: the mean of correlations is the correlation with the mean, so both give one result.
Everything here is float32, whatever the network's dtype is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

LEVELS = 4
MAX_MAPS = 65_535  # of one call of grid_sample: cuDNN fails with more
_SQUARE = 8  # positions per side that share a look-up if their targets are close
_GATHERED = (64 << 20, 4 << 20)  # bytes fetched at a time, on a GPU and on a CPU


class Correlation(Protocol):
    """Correlation of one map (C, h, w) with another, around positions in the other."""

    def sample_around(self, places: Tensor) -> Tensor:
        """Return (1, LEVELS * (2 radius + 1) ** 2, h, w) around `places` (2, h, w), x first.

        Offsets in x are the slower ones; outside the other map they are 0.
        """
        ...


def count_volume_bytes(height: int, width: int) -> int:
    """Return the bytes of the volume of maps of this size, all levels."""
    sizes = _sizes(height, width)
    return 4 * height * width * sum(rows * columns for rows, columns in sizes)


def correlate(a: Tensor, b: Tensor, radius: int, volume: bool) -> Correlation:
    """Correlate `a` with `b`, both (1, C, h, w), h, w >= 16; `volume`: all pairs in advance."""
    channels = a.shape[1]
    first = a[0].float() * channels**-0.5
    if not volume:
        others = [b.float()[0]]
        while len(others) < LEVELS:
            others.append(functional.avg_pool2d(others[-1], 2))
        return LookUp(first, tuple(_pad(o, radius) for o in others), radius)
    pairs = torch.mm(first.flatten(1).T, b.float()[0].flatten(1)).view(-1, 1, *b.shape[2:])
    levels = [pairs]
    while len(levels) < LEVELS:
        levels.append(functional.avg_pool2d(levels[-1], 2))
    return Volume(tuple(levels), radius)


@dataclass(frozen=True, slots=True)
class Volume:
    """All pairs at each level, (n, 1, h, w): n * n * 4 bytes plus a third."""

    levels: tuple[Tensor, ...]
    radius: int

    def sample_around(self, places: Tensor) -> Tensor:
        side, result = 2 * self.radius + 1, []
        shape = places.shape[1:]
        steps = torch.arange(-self.radius, self.radius + 1, device=places.device)
        for level, pairs in enumerate(self.levels):
            height, width = pairs.shape[2:]
            x, y = (places.flatten(1) / 2**level)[..., None] + steps  # each (n, side)
            grid = torch.empty(len(pairs), side, side, 2, device=places.device)
            grid[..., 0] = (x * (2 / (width - 1)) - 1)[:, :, None]
            grid[..., 1] = (y * (2 / (height - 1)) - 1)[:, None]
            result.append(_sample_each(pairs, grid).view(-1, side**2))
        return torch.cat(result, 1).T.reshape(1, -1, *shape)


def _sample_each(maps: Tensor, grid: Tensor) -> Tensor:
    """Sample each map (n, 1, h, w) at its positions, as many maps at a time as cuDNN takes."""
    pairs = zip(torch.split(maps, MAX_MAPS), torch.split(grid, MAX_MAPS), strict=True)
    parts = [functional.grid_sample(some, at, align_corners=True) for some, at in pairs]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


@dataclass(frozen=True, slots=True)
class LookUp:
    """The first map's vectors (C, h, w), and the other map's levels (H, W, C), zeros around them.

    Squares of neighbours whose positions are close fetch their targets once per square; elsewhere
    each position fetches its own. Both give the same.
    """

    first: Tensor
    levels: tuple[Tensor, ...]
    radius: int

    def sample_around(self, places: Tensor) -> Tensor:
        side, (height, width) = 2 * self.radius + 1, self.first.shape[1:]
        pad = (0, -width % _SQUARE, 0, -height % _SQUARE)
        vectors = _split_squares(functional.pad(self.first, pad))  # (squares, 64, C)
        count, down = len(vectors), (height + pad[3]) // _SQUARE
        result = vectors.new_empty(count, _SQUARE**2, len(self.levels), side, side)
        for level, other in enumerate(self.levels):
            at = functional.pad(places[None] / 2**level, pad, mode="replicate")[0]
            self._level(level, other, _split_squares(at), vectors, result[:, :, level])
        samples = result.view(down, -1, _SQUARE, _SQUARE, len(self.levels) * side**2)
        samples = samples.permute(4, 0, 2, 1, 3).reshape(1, -1, height + pad[3], width + pad[1])
        return samples[:, :, :height, :width].contiguous()

    def _level(
        self, level: int, other: Tensor, places: Tensor, vectors: Tensor, result: Tensor
    ) -> None:
        """Fill `result` (squares, 64, side, side)."""
        margin, near = _margin(self.radius), 2 * self.radius + 2
        box = near + _SQUARE + (_SQUARE >> level)
        corner, limits = places.floor(), (other.shape[1], other.shape[0])
        starts = [
            (corner[..., k].nan_to_num() - self.radius + margin).clamp(0, limits[k] - near).long()
            for k in range(2)
        ]
        first = [
            start.amin(1).clamp(max=limit - box)
            for start, limit in zip(starts, limits, strict=True)
        ]
        inside = [start - low[:, None] for start, low in zip(starts, first, strict=True)]
        close = ((inside[0] <= box - near) & (inside[1] <= box - near)).all(1)
        if close.is_meta:  # a prediction has no positions: it takes the slower path
            close = torch.zeros(len(close), dtype=torch.bool)
        part = places - corner
        room = _GATHERED[other.device.type == "cpu"] // (4 * other.shape[2])
        for these in torch.split(close.nonzero()[:, 0], max(1, room // box**2)):
            pairs = torch.bmm(
                vectors[these], _gather_boxes(other, first[0][these], first[1][these], box).mT
            )
            x, y = (i[these][..., None] + torch.arange(near, device=i.device) for i in inside)
            places_of = (y[..., None] * box + x[..., None, :]).flatten(2)
            samples = pairs.gather(2, places_of).view(-1, _SQUARE**2, near, near)
            result[these] = _interpolate(samples, part[these])
        scattered = (~close).nonzero()[:, 0]
        here, own, part = (
            [x[scattered].flatten() for x in starts],
            vectors[scattered],
            part[scattered],
        )
        scattered_result = own.new_empty(len(scattered) * _SQUARE**2, *result.shape[2:])
        own, part = own.flatten(0, 1)[:, None], part.flatten(0, 1)
        some = max(1, room // near**2)
        for k in range(0, len(scattered_result), some):
            each = slice(k, k + some)
            samples = torch.bmm(
                own[each], _gather_boxes(other, here[0][each], here[1][each], near).mT
            )
            scattered_result[each] = _interpolate(samples.view(-1, near, near), part[each])
        result[scattered] = scattered_result.view(-1, *result.shape[1:])


def _interpolate(samples: Tensor, part: Tensor) -> Tensor:
    """Interpolate from integer positions (..., y, x) to those `part` (..., 2) further; x first."""
    x, y = part[..., 0, None, None], part[..., 1, None, None]
    across = torch.lerp(samples[..., :-1], samples[..., 1:], x)
    return torch.lerp(across[..., :-1, :], across[..., 1:, :], y).mT


def _gather_boxes(other: Tensor, left: Tensor, top: Tensor, side: int) -> Tensor:
    """Return squares (n, side * side, C) of a map (H, W, C) that start at these positions."""
    wide, channels = other.shape[1:]
    rows = (top[:, None] + torch.arange(side, device=top.device)) * wide + left[:, None]
    runs = other.as_strided((len(other) * wide - side + 1, side * channels), (channels, 1))
    return runs[rows.flatten()].view(len(left), side * side, channels)


def _split_squares(values: Tensor) -> Tensor:
    """Return (C, h, w), sides multiples of the square's, as (squares, positions of each, C)."""
    channels, height, width = values.shape
    split = values.view(channels, height // _SQUARE, _SQUARE, width // _SQUARE, _SQUARE)
    return split.permute(1, 3, 2, 4, 0).reshape(-1, _SQUARE**2, channels)


def _pad(other: Tensor, radius: int) -> Tensor:
    """Return (C, h, w) as (h, w, C) with zeros around, slightly wider than a neighbourhood."""
    return functional.pad(other, (_margin(radius),) * 4).permute(1, 2, 0).contiguous()


def _margin(radius: int) -> int:
    return 2 * radius + 2


def _sizes(height: int, width: int) -> list[tuple[int, int]]:
    return [(height >> level, width >> level) for level in range(LEVELS)]
