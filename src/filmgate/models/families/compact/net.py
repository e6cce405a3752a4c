"""The network of `compact`: a few convolutions at the small size, added to Lanczos.

After Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient
Sub-Pixel Convolutional Neural Network", CVPR 2016, and of Kim et al. (VDSR), CVPR 2016, who let a
network learn only the difference from a simple enlargement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt, pi, sin

import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.errors import BadWeights
from filmgate.models.families.compact.grouped import (
    convolve,
    group_bias,
    group_weights,
    shuffle_columns,
)
from filmgate.weights.state_dict import list_shapes

LOBES = 3  # of Lanczos: samples on each side of a new one
SCALES = (2, 4)
Enlarge = Callable[[Tensor], Tensor]  # of a plane with some more samples on each side


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a network: `channels` of each of its `depth` 3 x 3 convolutions but the last."""

    scale: int = 2
    channels: int = 32
    depth: int = 6

    @classmethod
    def of(cls, shapes: Mapping[str, Sequence[int]]) -> Shape:
        """Return the sizes of the tensors of a file. Raises BadWeights if it is not a compact."""
        depth = sum(name.endswith(".weight") for name in shapes)
        first, last = (shapes.get(f"convs.{k}.weight", ()) for k in (0, depth - 1))
        if len(first) == len(last) == 4 and depth > 1:
            shape = cls(isqrt(last[0]), first[0], depth)
            if shape.scale in SCALES and shape.scale**2 == last[0]:
                return shape
        raise BadWeights(f"these are not weights of compact: {len(shapes)} tensors; expected "
                         "convs.0 to convs.N, the last of 4 or 16 channels")  # fmt: skip


class Compact(nn.Module):
    """Enlarges one plane. With its last convolution at 0, as initialised, it is Lanczos."""

    def __init__(self, shape: Shape | None = None, device: str = "cpu") -> None:
        super().__init__()
        self.shape = s = shape or Shape()
        widths = [1, *[s.channels] * (s.depth - 1), s.scale**2]
        convs = [
            nn.Conv2d(inputs, outputs, 3, device=device) for inputs, outputs in pairwise(widths)
        ]
        for end in convs[-1].parameters():
            nn.init.zeros_(end)
        self.convs = nn.ModuleList(convs)

    @property
    def reach(self) -> int:
        """Samples on each side that affect a result."""
        return max(self.shape.depth, LOBES)

    def forward(self, plane: Tensor) -> Tensor:
        """(N, 1, H, W) in [0, 1] to (N, 1, H * scale, W * scale), edges replicated."""
        return self.forward_padded(functional.pad(plane, (self.reach,) * 4, mode="replicate"))

    def forward_padded(self, padded: Tensor) -> Tensor:
        """Do the same for a plane that has `reach` more samples on each side than the result."""
        return self.group_columns(1)(padded)  # type: ignore[no-any-return]

    def group_columns(self, group: int) -> Enlarger:
        """Return `forward_padded` as a network that computes `group` columns at a time."""
        return Enlarger(self, group)


class Enlarger(nn.Module):
    """A Compact for padded planes, that computes `group` columns of the result at a time."""

    def __init__(self, net: Compact, group: int) -> None:
        super().__init__()
        last = net.convs[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        self.shape, self.reach, self.group = net.shape, net.reach, group
        self.convs = net.convs[:-1]
        kernel = build_kernel(net.shape.scale).to(last.weight)
        self.register_buffer("weights", group_weights(last.weight, group))
        self.register_buffer("bias", group_bias(last.bias, group))
        self.register_buffer("kernel", group_weights(kernel, group))
        self.weights: Tensor
        self.bias: Tensor
        self.kernel: Tensor

    def forward(self, padded: Tensor) -> Tensor:
        """(N, 1, H, W), with `reach` more samples on each side, to the result."""
        x = _crop(padded, self.reach - self.shape.depth)
        for conv in self.convs:
            x = functional.leaky_relu_(conv(x), 0.1)
        plain = convolve(_crop(padded, self.reach - LOBES), self.kernel)
        return shuffle_columns(convolve(x, self.weights, self.bias) + plain, self.shape.scale)


def enlarge_by_lanczos(plane: Tensor, scale: int) -> Tensor:
    """(N, 1, H, W) to (N, 1, H * scale, W * scale) by Lanczos alone, edges replicated."""
    padded = functional.pad(plane, (LOBES,) * 4, mode="replicate")
    return group_lanczos(build_kernel(scale).to(plane), 1)(padded)


def group_lanczos(kernel: Tensor, group: int) -> Enlarge:
    """Return Lanczos as a function of a padded plane, that computes `group` columns at a time."""
    scale, weights = isqrt(len(kernel)), group_weights(kernel, group)
    return lambda padded: shuffle_columns(convolve(padded, weights), scale)


def build_kernel(scale: int, shift: tuple[float, float] = (0, 0)) -> Tensor:
    """Return Lanczos as a convolution (scale ** 2, 1, k, k), before the pixels are shuffled.

    `shift` (right, down; 0 to 0.5): offset of each new sample, in old samples.
    """
    reach = LOBES + any(shift)
    across, down = (_compute_taps(scale, by, reach) for by in shift)
    return torch.einsum("ia,jb->ijab", down, across).flatten(0, 1)[:, None]


def _compute_taps(scale: int, shift: float, reach: int) -> Tensor:
    """Return the 2 reach + 1 weights of the old samples around each of `scale` new ones."""
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


def _crop(x: Tensor, edge: int) -> Tensor:
    return x[..., edge : x.shape[-2] - edge, edge : x.shape[-1] - edge]


def has_compact_shapes(shapes: Mapping[str, Sequence[int]]) -> bool:
    """Return whether these are names and shapes of the tensors of a Compact of any size."""
    try:
        wanted = list_shapes(Compact(Shape.of(shapes), "meta"))
    except (BadWeights, RuntimeError):
        return False
    return wanted == {name: tuple(shape) for name, shape in shapes.items()}
