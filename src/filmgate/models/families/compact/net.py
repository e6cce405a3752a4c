"""The network of `compact`: a few convolutions at the small size, added to Lanczos.

In the manner of Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient
Sub-Pixel Convolutional Neural Network", CVPR 2016, and of Kim et al. (VDSR), CVPR 2016, who have a
network learn only what is missing from a picture that was enlarged plainly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt, pi, sin

import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.errors import BadWeights

LOBES = 3  # of Lanczos: samples on either side that a new one is made of
SCALES = (2, 4)


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a network: `channels` in each of its `depth` 3 x 3 convolutions but the last."""

    scale: int = 2
    channels: int = 32
    depth: int = 6

    @classmethod
    def of(cls, shapes: Mapping[str, Sequence[int]]) -> Shape:
        """The sizes that the tensors of a file have. Raises BadWeights where it is no compact."""
        depth = sum(name.endswith(".weight") for name in shapes)
        first, last = (shapes.get(f"convs.{k}.weight", ()) for k in (0, depth - 1))
        if len(first) == len(last) == 4 and depth > 1:
            found = cls(isqrt(last[0]), first[0], depth)
            if found.scale in SCALES and found.scale**2 == last[0]:
                return found
        raise BadWeights(f"these are no weights of compact: {len(shapes)} tensors came, wanted are "
                         "convs.0 to convs.N, the last of 4 or 16 channels")  # fmt: skip


class Compact(nn.Module):
    """Enlarges one plane. With its last convolution at 0, as it begins, it is Lanczos."""

    def __init__(self, shape: Shape | None = None, device: str = "cpu") -> None:
        super().__init__()
        self.shape = s = shape or Shape()
        widths = [1, *[s.channels] * (s.depth - 1), s.scale**2]
        convs = [nn.Conv2d(given, made, 3, device=device) for given, made in pairwise(widths)]
        for end in convs[-1].parameters():
            nn.init.zeros_(end)
        self.convs = nn.ModuleList(convs)

    @property
    def reach(self) -> int:
        """Samples on each side that a result sees."""
        return max(self.shape.depth, LOBES)

    def forward(self, plane: Tensor) -> Tensor:
        """(N, 1, H, W) in [0, 1] to (N, 1, H * scale, W * scale), as if its edges went on."""
        return self.inner(functional.pad(plane, (self.reach,) * 4, mode="replicate"))

    def inner(self, seen: Tensor) -> Tensor:
        """The same for a plane that has `reach` more samples on each side than are wanted."""
        s, x = self.shape, _within(seen, self.reach - self.shape.depth)
        for conv in self.convs[:-1]:
            x = functional.leaky_relu_(conv(x), 0.1)
        x = self.convs[-1](x)
        x = x + functional.conv2d(_within(seen, self.reach - LOBES), kernel(s.scale).to(seen))
        return functional.pixel_shuffle(x, s.scale)


def enlarged(plane: Tensor, scale: int) -> Tensor:
    """(N, 1, H, W) to (N, 1, H * scale, W * scale) by Lanczos alone, as if its edges went on."""
    seen = functional.pad(plane, (LOBES,) * 4, mode="replicate")
    return plain(seen, kernel(scale).to(plane))


def plain(seen: Tensor, weights: Tensor) -> Tensor:
    """The plane convolved with a `kernel`, of which it loses the reach on each side, enlarged."""
    return functional.pixel_shuffle(functional.conv2d(seen, weights), isqrt(len(weights)))


def kernel(scale: int, shift: tuple[float, float] = (0, 0)) -> Tensor:
    """Lanczos as a convolution (scale ** 2, 1, k, k), before the pixels are shuffled.

    `shift` (right, down; 0 to 0.5): how many old samples further on each new one looks.
    """
    reach = LOBES + any(shift)
    across, down = (_taps(scale, by, reach) for by in shift)
    return torch.einsum("ia,jb->ijab", down, across).flatten(0, 1)[:, None]


def _taps(scale: int, shift: float, reach: int) -> Tensor:
    """For each of `scale` new samples the weights of the old ones around it, 2 reach + 1."""
    rows = []
    for phase in range(scale):
        place = (phase + 0.5) / scale - 0.5 + shift
        row = [_lanczos(at - place) for at in range(-reach, reach + 1)]
        rows.append([weight / sum(row) for weight in row])
    return torch.tensor(rows, dtype=torch.float32)


def _lanczos(x: float) -> float:
    if x == 0:
        return 1.0
    inside = abs(x) < LOBES
    return LOBES * sin(pi * x) * sin(pi * x / LOBES) / (pi * x) ** 2 if inside else 0.0


def _within(x: Tensor, edge: int) -> Tensor:
    return x[..., edge : x.shape[-2] - edge, edge : x.shape[-1] - edge]
