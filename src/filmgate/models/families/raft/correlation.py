"""RAFT's correlation of two feature maps: the whole volume, or only what is looked at, when it is.

Teed & Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV 2020, section 3.2
and appendix: the mean of correlations is the correlation with the mean, so both give one result.
Everything here is float32, whatever the network's numbers are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

LEVELS = 4
_SQUARE = 8  # places of a side that share what they look up, where they look close together
_GATHERED = (64 << 20, 4 << 20)  # bytes that are fetched together, on a card and on a CPU


class Correlation(Protocol):
    """What one map (C, h, w) has to do with another, around places in that other."""

    def around(self, places: Tensor) -> Tensor:
        """Correlations (1, LEVELS * (2 radius + 1) ** 2, h, w) around `places` (2, h, w), x first.

        Offsets in x are the slower ones; beyond the other map's edges there is nothing: 0.
        """
        ...


def volume_bytes(height: int, width: int) -> int:
    """What the volume of maps of this size takes, all levels."""
    sizes = _sizes(height, width)
    return 4 * height * width * sum(rows * columns for rows, columns in sizes)


def correlation(a: Tensor, b: Tensor, radius: int, volume: bool) -> Correlation:
    """Of `a` with `b`, both (1, C, h, w), h and w 16 or more; `volume`: all pairs beforehand."""
    channels = a.shape[1]
    first = a[0].float() * channels**-0.5
    if not volume:
        others = [b.float()[0]]
        while len(others) < LEVELS:
            others.append(functional.avg_pool2d(others[-1], 2))
        return LookUp(first, tuple(_padded(o, radius) for o in others), radius)
    pairs = torch.mm(first.flatten(1).T, b.float()[0].flatten(1)).view(-1, 1, *b.shape[2:])
    levels = [pairs]
    while len(levels) < LEVELS:
        levels.append(functional.avg_pool2d(levels[-1], 2))
    return Volume(tuple(levels), radius)


@dataclass(frozen=True, slots=True)
class Volume:
    """All pairs at each level, (n, 1, h, w): n * n * 4 bytes, and a third more."""

    levels: tuple[Tensor, ...]
    radius: int

    def around(self, places: Tensor) -> Tensor:
        side, found = 2 * self.radius + 1, []
        shape = places.shape[1:]
        steps = torch.arange(-self.radius, self.radius + 1, device=places.device)
        for level, pairs in enumerate(self.levels):
            height, width = pairs.shape[2:]
            x, y = (places.flatten(1) / 2**level)[..., None] + steps  # each (n, side)
            grid = torch.empty(len(pairs), side, side, 2, device=places.device)
            grid[..., 0] = (x * (2 / (width - 1)) - 1)[:, :, None]
            grid[..., 1] = (y * (2 / (height - 1)) - 1)[:, None]
            found.append(functional.grid_sample(pairs, grid, align_corners=True).view(-1, side**2))
        return torch.cat(found, 1).T.reshape(1, -1, *shape)


@dataclass(frozen=True, slots=True)
class LookUp:
    """The first map's vectors (C, h, w), and the other map's levels (H, W, C), zeros around them.

    Squares of neighbours share what they look at: where their places lie close together, it is
    fetched once for all of a square; elsewhere for each place. Both give the same.
    """

    first: Tensor
    levels: tuple[Tensor, ...]
    radius: int

    def around(self, places: Tensor) -> Tensor:
        side, (height, width) = 2 * self.radius + 1, self.first.shape[1:]
        pad = (0, -width % _SQUARE, 0, -height % _SQUARE)
        vectors = _squares(functional.pad(self.first, pad))  # (squares, 64, C)
        count, down = len(vectors), (height + pad[3]) // _SQUARE
        found = vectors.new_empty(count, _SQUARE**2, len(self.levels), side, side)
        for level, other in enumerate(self.levels):
            at = functional.pad(places[None] / 2**level, pad, mode="replicate")[0]
            self._level(level, other, _squares(at), vectors, found[:, :, level])
        whole = found.view(down, -1, _SQUARE, _SQUARE, len(self.levels) * side**2)
        whole = whole.permute(4, 0, 2, 1, 3).reshape(1, -1, height + pad[3], width + pad[1])
        return whole[:, :, :height, :width].contiguous()

    def _level(
        self, level: int, other: Tensor, places: Tensor, vectors: Tensor, found: Tensor
    ) -> None:
        """Fills `found` (squares, 64, side, side)."""
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
        if close.is_meta:  # a prediction knows no places: it takes the longer way
            close = torch.zeros(len(close), dtype=torch.bool)
        part = places - corner
        room = _GATHERED[other.device.type == "cpu"] // (4 * other.shape[2])
        for these in torch.split(close.nonzero()[:, 0], max(1, room // box**2)):
            pairs = torch.bmm(
                vectors[these], _boxes(other, first[0][these], first[1][these], box).mT
            )
            x, y = (i[these][..., None] + torch.arange(near, device=i.device) for i in inside)
            places_of = (y[..., None] * box + x[..., None, :]).flatten(2)
            whole = pairs.gather(2, places_of).view(-1, _SQUARE**2, near, near)
            found[these] = _between(whole, part[these])
        apart = (~close).nonzero()[:, 0]
        here, own, part = [x[apart].flatten() for x in starts], vectors[apart], part[apart]
        looked = own.new_empty(len(apart) * _SQUARE**2, *found.shape[2:])
        own, part = own.flatten(0, 1)[:, None], part.flatten(0, 1)
        some = max(1, room // near**2)
        for k in range(0, len(looked), some):
            each = slice(k, k + some)
            whole = torch.bmm(own[each], _boxes(other, here[0][each], here[1][each], near).mT)
            looked[each] = _between(whole.view(-1, near, near), part[each])
        found[apart] = looked.view(-1, *found.shape[1:])


def _between(whole: Tensor, part: Tensor) -> Tensor:
    """From whole places (..., y, x) to those `part` (..., 2) of the way to the next; x first."""
    x, y = part[..., 0, None, None], part[..., 1, None, None]
    across = torch.lerp(whole[..., :-1], whole[..., 1:], x)
    return torch.lerp(across[..., :-1, :], across[..., 1:, :], y).mT


def _boxes(other: Tensor, left: Tensor, top: Tensor, side: int) -> Tensor:
    """Squares (n, side * side, C) of a map (H, W, C) whose first places these are."""
    wide, channels = other.shape[1:]
    rows = (top[:, None] + torch.arange(side, device=top.device)) * wide + left[:, None]
    runs = other.as_strided((len(other) * wide - side + 1, side * channels), (channels, 1))
    return runs[rows.flatten()].view(len(left), side * side, channels)


def _squares(values: Tensor) -> Tensor:
    """(C, h, w), sides multiples of the square's, as (squares, places of each, C)."""
    channels, height, width = values.shape
    split = values.view(channels, height // _SQUARE, _SQUARE, width // _SQUARE, _SQUARE)
    return split.permute(1, 3, 2, 4, 0).reshape(-1, _SQUARE**2, channels)


def _padded(other: Tensor, radius: int) -> Tensor:
    """(C, h, w) as (h, w, C) with zeros around, as wide as a neighbourhood and a bit."""
    return functional.pad(other, (_margin(radius),) * 4).permute(1, 2, 0).contiguous()


def _margin(radius: int) -> int:
    return 2 * radius + 2


def _sizes(height: int, width: int) -> list[tuple[int, int]]:
    return [(height >> level, width >> level) for level in range(LEVELS)]
