"""The network of FILM: feature pyramids, flow in both directions, and fusion, also in bands.

Reda et al., "FILM: Frame Interpolation for Large Motion", ECCV 2022, sections 3.1 to 3.3. Keys and
shapes are those of the published safetensors (82 tensors).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.core.wrappers.tiled import Tile, tiled
from filmgate.errors import BadWeights
from filmgate.flow.warp_torch import warp
from filmgate.weights.state_dict import list_shapes

FUSION_HALO = 48  # rows around a band that fusion reads: 3 (1 + 2 + 4 + 8) = 45, on its grid of 16
EXTRACTOR_HALO = 32  # rows around a row that the extractor reads: 2 (1 + 2 + 4 + 8) = 30
FLOW_HALO = 8  # rows around a row that a flow predictor reads at its level, with a margin
TILED_LEVELS = 3  # levels 0, 1, 2 are processed in bands; coarser ones are small

Pyramid = list[Tensor]  # finest first, each (1, C, H, W)


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a FILM network; the defaults are those of all published ones.

    `levels`: of the pyramids; `fusion`: levels that are fused; `specialized`: levels with their
    own flow predictor; `sub`: convolution pairs of the extractor; `filters`: its first channels.
    """

    levels: int = 7
    fusion: int = 5
    specialized: int = 3
    sub: int = 4
    filters: int = 64
    flow_convs: tuple[int, ...] = (3, 3, 3, 3)
    flow_filters: tuple[int, ...] = (32, 64, 128, 256)

    @property
    def align(self) -> int:
        """Sides must be multiples of this."""
        return 1 << (self.levels - 1)

    def count_features(self, level: int) -> int:
        """Return the channels of a feature level."""
        return sum(self.filters << k for k in range(min(level + 1, self.sub)))

    @classmethod
    def of(cls, shapes: Mapping[str, Sequence[int]]) -> Shape:
        """Return the sizes of the tensors of a file. Raises BadWeights if it is not a FILM."""
        try:
            sub = _count_keys("extract.extract_sublevels.convs.{}.0.conv.weight", shapes)
            filters = shapes["extract.extract_sublevels.convs.0.0.conv.weight"][0]
            own = _count_keys("predict_flow._predictors.{}._convs.0.conv.weight", shapes)
            names = [f"predict_flow._predictors.{k}" for k in reversed(range(own))]
            names.append("predict_flow._predictor")
            convs = tuple(_count_keys(f"{n}._convs.{{}}.conv.weight", shapes) - 2 for n in names)
            wide = tuple(shapes[f"{n}._convs.0.conv.weight"][0] for n in names)
            fusion = _count_keys("fuse.convs.{}.0.conv.weight", shapes) + 1
        except KeyError as error:
            raise BadWeights(
                f"these are not weights of FILM: {error} is missing; pass the file that filmgate "
                "models names"
            ) from error
        # The number of pyramid levels is the only size that no tensor shows.
        usual = cls()
        levels = usual.levels if filters == usual.filters else fusion
        return cls(levels, fusion, own, sub, filters, convs, wide)


def _count_keys(key: str, shapes: Mapping[str, object]) -> int:
    return next(k for k in count() if key.format(k) not in shapes)


class Conv(nn.Module):
    """A convolution of the same size (2 x 2: padded right and below), and LeakyReLU if `active`."""

    def __init__(self, inputs: int, outputs: int, side: int, active: bool = True) -> None:
        super().__init__()
        self.conv, self.active = nn.Conv2d(inputs, outputs, side), active
        before = (side - 1) // 2
        self.pad = (before, side - 1 - before) * 2

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(functional.pad(x, self.pad) if any(self.pad) else x)
        return functional.leaky_relu_(x, 0.2) if self.active else x


class Convs(nn.Module):
    """Convolutions under the names of the published weights."""

    def __init__(self, *convs: Conv) -> None:
        super().__init__()
        self._convs = nn.ModuleList(convs)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self._convs:
            x = conv(x)
        return x


class Film(nn.Module):
    """The network. Parts are named as in the published files; finer levels come last there."""

    def __init__(self, shape: Shape | None = None, device: str = "cpu") -> None:
        with torch.device(device):
            super().__init__()
            self._build(shape or Shape())

    def _build(self, shape: Shape) -> None:
        self.shape = s = shape
        sides = [(3 if not k else s.filters << k - 1, s.filters << k) for k in range(s.sub)]
        # Any: these modules only give the published names to their parts
        self.extract: Any = nn.Module()
        self.predict_flow: Any = nn.Module()
        self.fuse: Any = nn.Module()
        self.extract.extract_sublevels = nn.Module()
        self.extract.extract_sublevels.convs = nn.ModuleList(
            nn.Sequential(Conv(inputs, outputs, 3), Conv(outputs, outputs, 3))
            for inputs, outputs in sides
        )
        self.predict_flow._predictor = self._build_predictor(s.specialized)
        self.predict_flow._predictors = nn.ModuleList(
            self._build_predictor(level) for level in reversed(range(s.specialized))
        )
        self.fuse.convs = nn.ModuleList()
        for level in reversed(range(s.fusion - 1)):
            outputs = s.filters << min(level, s.specialized)
            below = s.filters << min(level + 1, s.specialized)
            inputs = self._count_aligned(level + 1) if level == s.fusion - 2 else below
            both = self._count_aligned(level) + outputs
            self.fuse.convs.append(
                nn.Sequential(
                    Conv(inputs, outputs, 2, active=False),
                    Conv(both, outputs, 3),
                    Conv(outputs, outputs, 3),
                )
            )
        self.fuse.output_conv = nn.Conv2d(s.filters, 3, 1)

    def _build_predictor(self, level: int) -> Convs:
        s, outputs = self.shape, self.shape.flow_filters[level]
        convs = [Conv(2 * s.count_features(level), outputs, 3)]
        convs += [Conv(outputs, outputs, 3) for _ in range(s.flow_convs[level] - 1)]
        return Convs(*convs, Conv(outputs, outputs // 2, 1), Conv(outputs // 2, 2, 1, active=False))

    def _count_aligned(self, level: int) -> int:
        return 2 * (3 + self.shape.count_features(level)) + 4

    # --- features ---------------------------------------------------------------------------------

    def build_pyramid(self, image: Tensor) -> Pyramid:
        """Return the image (1, 3, H, W) at each level, half as large each time."""
        images = [image]
        while len(images) < self.shape.levels:
            images.append(functional.avg_pool2d(images[-1], 2))
        return images

    def extract_features(self, images: Pyramid, rows: int | None = None) -> Pyramid:
        """Return the features at each level, of extractors that start here and at finer levels.

        `rows` of the finest level at a time, with the same result; None: all at once.
        """
        s, parts = self.shape, list[Pyramid]()
        for level, image in enumerate(images):
            count = min(s.levels - level, s.sub)
            if rows is None or level >= TILED_LEVELS:
                parts.append(list(self._extract(image, count)))
                continue
            grid = 1 << s.sub - 1
            tile = Tile(*(-(-side // grid) * grid for side in (rows >> level, image.shape[3])))
            halves = [Fraction(1, 1 << k) for k in range(count)]
            extract = tiled(partial(self._extract, count=count), halo=EXTRACTOR_HALO, grid=grid,
                            out=halves, tile=tile)  # fmt: skip
            parts.append(list(extract(image)))
        levels: Pyramid = []
        for level in range(s.levels):
            own = [parts[level - k][k] for k in range(min(level + 1, s.sub))]
            for k in range(len(own)):  # each is used by one level only
                parts[level - k][k] = own[k][:0]
            levels.append(torch.cat(own, 1) if len(own) > 1 else own[0])
        return levels

    def _extract(self, x: Tensor, count: int) -> tuple[Tensor, ...]:
        """Return the extractor's features of an image at its size and `count` - 1 halvings."""
        result = list[Tensor]()
        for convs in self.extract.extract_sublevels.convs[:count]:
            result.append(convs(functional.avg_pool2d(result[-1], 2) if result else x))
        return tuple(result)

    # --- flow -------------------------------------------------------------------------------------

    def estimate_flows(
        self, a: Pyramid, b: Pyramid, rows: int | None = None
    ) -> tuple[Pyramid, Pyramid]:
        """Return (flows, residuals) from features `a` to `b`, finest first, in pixels of a level.

        Both are float32 whatever the network's dtype is: float16 has no fractions of a thousand
        pixels. `rows` of the finest level at a time, with the same result; None: all at once.
        """
        s, v = self.shape, None
        flows: Pyramid = []
        residuals: Pyramid = []
        for level in reversed(range(s.levels)):
            if v is not None:
                v = functional.interpolate(2 * v, a[level].shape[2:], mode="bilinear")
            band = max(1, rows >> level) if rows and level < TILED_LEVELS else a[level].shape[2]
            result = self._estimate_residual(level, a[level], b[level], v, band).float()
            v = result if v is None else v + result
            flows.insert(0, v)
            residuals.insert(0, result)
        return flows, residuals

    def _estimate_residual(
        self, level: int, a: Tensor, b: Tensor, v: Tensor | None, band: int
    ) -> Tensor:
        s, height, parts = self.shape, a.shape[2], list[Tensor]()
        own = self.predict_flow._predictors
        predictor = own[s.specialized - 1 - level] if level < s.specialized else (
            self.predict_flow._predictor)  # fmt: skip
        for first in range(0, height, band):
            low, high = max(0, first - FLOW_HALO), min(height, first + band + FLOW_HALO)
            other = b[:, :, low:high] if v is None else warp(b, v[:, :, low:high], low)
            result = predictor(torch.cat([a[:, :, low:high], other], 1))
            parts.append(result[:, :, first - low : min(height, first + band) - low])
        return torch.cat(parts, 2)

    # --- fusion -----------------------------------------------------------------------------------

    def fuse_images(
        self, a: tuple[Pyramid, Pyramid], b: tuple[Pyramid, Pyramid],
        forward: Pyramid, backward: Pyramid, t: float, rows: int | None = None,
    ) -> Tensor:  # fmt: skip
        """Return the image (1, 3, H, W) at `t` from `a` to `b` (images and features), unclipped.

        `rows` (a multiple of the coarsest grid) at a time, with the same result up to the last
        bits; None: all at once.
        """
        height = forward[0].shape[2]
        band, parts = rows or height, list[Tensor]()
        for first in range(0, height, band):
            low, high = max(0, first - FUSION_HALO), min(height, first + band + FUSION_HALO)
            if rows is None:
                low, high = 0, height
            outputs = self._fuse_band(a, b, forward, backward, t, low, high)
            parts.append(outputs[:, :, first - low : min(height, first + band) - low])
        return torch.cat(parts, 2)

    def _fuse_band(
        self, a: tuple[Pyramid, Pyramid], b: tuple[Pyramid, Pyramid],
        forward: Pyramid, backward: Pyramid, t: float, low: int, high: int,
    ) -> Tensor:  # fmt: skip
        s, net = self.shape, torch.empty(0)
        convs = self.fuse.convs
        height = forward[0].shape[2]
        for level in reversed(range(s.fusion)):
            top = low >> level
            end = forward[level].shape[2] if high == height else high >> level
            to_a, to_b = backward[level][:, :, top:end] * t, forward[level][:, :, top:end] * (1 - t)
            aligned = [warp(x[level], flow, top) for pyramids, flow in ((a, to_a), (b, to_b))
                       for x in pyramids]  # fmt: skip
            aligned += [to_a.to(a[1][level].dtype), to_b.to(a[1][level].dtype)]
            if level == s.fusion - 1:
                net = torch.cat(aligned, 1)
                continue
            first, second, third = convs[s.fusion - 2 - level]
            net = first(functional.interpolate(net, aligned[0].shape[2:], mode="nearest-exact"))
            joint = torch.cat([*aligned, net], 1)
            del aligned, net
            net = third(second(joint))
        return self.fuse.output_conv(net)  # type: ignore[no-any-return]


def has_film_shapes(shapes: Mapping[str, Sequence[int]]) -> bool:
    """Return whether these are names and shapes of the tensors of a Film of any size."""
    try:
        wanted = list_shapes(Film(Shape.of(shapes), "meta"))
    except (BadWeights, RuntimeError, ValueError, IndexError):
        return False
    return wanted == {name: tuple(shape) for name, shape in shapes.items()}
