"""The network of FILM: pyramids of features, flow both ways, and a fusion that can go by bands.

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

HALO = 48  # rows beyond a band that the fusion reads: 3 (1 + 2 + 4 + 8) = 45, on its grid of 16
SEEN = 32  # rows that the extractor reads around one: 2 (1 + 2 + 4 + 8) = 30
FLOW_HALO = 8  # rows at a level that a flow predictor reads: its 3 x 3 convolutions, and room
TILED = 3  # flow levels 0, 1, 2 are found band by band; coarser ones are small

Pyramid = list[Tensor]  # finest first, each (1, C, H, W)


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a FILM network; all published ones have those of the defaults.

    `levels` of the pyramids, `fusion` of them are fused, `specialized` have a flow predictor of
    their own; `sub` convolution pairs to an extractor, `filters` channels at its start.
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

    def features(self, level: int) -> int:
        """Channels of a feature level."""
        return sum(self.filters << k for k in range(min(level + 1, self.sub)))

    @classmethod
    def of(cls, shapes: Mapping[str, Sequence[int]]) -> Shape:
        """The sizes that the tensors of a file have. Raises BadWeights where it is no FILM."""
        try:
            sub = _counted("extract.extract_sublevels.convs.{}.0.conv.weight", shapes)
            filters = shapes["extract.extract_sublevels.convs.0.0.conv.weight"][0]
            own = _counted("predict_flow._predictors.{}._convs.0.conv.weight", shapes)
            names = [f"predict_flow._predictors.{k}" for k in reversed(range(own))]
            names.append("predict_flow._predictor")
            convs = tuple(_counted(f"{n}._convs.{{}}.conv.weight", shapes) - 2 for n in names)
            wide = tuple(shapes[f"{n}._convs.0.conv.weight"][0] for n in names)
            fusion = _counted("fuse.convs.{}.0.conv.weight", shapes) + 1
        except KeyError as error:
            raise BadWeights(
                f"these are no weights of FILM: {error} is missing; wanted the file that filmgate "
                "models names"
            ) from error
        # How many pyramid levels there are is the one thing that no tensor tells.
        usual = cls()
        levels = usual.levels if filters == usual.filters else fusion
        return cls(levels, fusion, own, sub, filters, convs, wide)


def _counted(key: str, shapes: Mapping[str, object]) -> int:
    return next(k for k in count() if key.format(k) not in shapes)


class Conv(nn.Module):
    """A convolution that keeps the size (2 x 2: padded right and below), and LeakyReLU or not."""

    def __init__(self, given: int, made: int, side: int, active: bool = True) -> None:
        super().__init__()
        self.conv, self.active = nn.Conv2d(given, made, side), active
        before = (side - 1) // 2
        self.pad = (before, side - 1 - before) * 2

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(functional.pad(x, self.pad) if any(self.pad) else x)
        return functional.leaky_relu_(x, 0.2) if self.active else x


class Convs(nn.Module):
    """Convolutions under the name that the published weights have for them."""

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
        # Any: these only give the published names to what lies in them
        self.extract: Any = nn.Module()
        self.predict_flow: Any = nn.Module()
        self.fuse: Any = nn.Module()
        self.extract.extract_sublevels = nn.Module()
        self.extract.extract_sublevels.convs = nn.ModuleList(
            nn.Sequential(Conv(given, made, 3), Conv(made, made, 3)) for given, made in sides
        )
        self.predict_flow._predictor = self._predictor(s.specialized)
        self.predict_flow._predictors = nn.ModuleList(
            self._predictor(level) for level in reversed(range(s.specialized))
        )
        self.fuse.convs = nn.ModuleList()
        for level in reversed(range(s.fusion - 1)):
            made = s.filters << min(level, s.specialized)
            below = s.filters << min(level + 1, s.specialized)
            given = self._aligned(level + 1) if level == s.fusion - 2 else below
            both = self._aligned(level) + made
            self.fuse.convs.append(
                nn.Sequential(
                    Conv(given, made, 2, active=False), Conv(both, made, 3), Conv(made, made, 3)
                )
            )
        self.fuse.output_conv = nn.Conv2d(s.filters, 3, 1)

    def _predictor(self, level: int) -> Convs:
        s, made = self.shape, self.shape.flow_filters[level]
        convs = [Conv(2 * s.features(level), made, 3)]
        convs += [Conv(made, made, 3) for _ in range(s.flow_convs[level] - 1)]
        return Convs(*convs, Conv(made, made // 2, 1), Conv(made // 2, 2, 1, active=False))

    def _aligned(self, level: int) -> int:
        return 2 * (3 + self.shape.features(level)) + 4

    # --- features ---------------------------------------------------------------------------------

    def pyramid(self, image: Tensor) -> Pyramid:
        """The image (1, 3, H, W) at each level, half as large each time."""
        images = [image]
        while len(images) < self.shape.levels:
            images.append(functional.avg_pool2d(images[-1], 2))
        return images

    def features(self, images: Pyramid, rows: int | None = None) -> Pyramid:
        """Feature levels: what extractors that began at this level and at finer ones give here.

        `rows` of the finest level at a time, which gives the same numbers; None: all at once.
        """
        s, parts = self.shape, list[Pyramid]()
        for level, image in enumerate(images):
            count = min(s.levels - level, s.sub)
            if rows is None or level >= TILED:
                parts.append(list(self._extracted(image, count)))
                continue
            grid = 1 << s.sub - 1
            tile = Tile(*(-(-side // grid) * grid for side in (rows >> level, image.shape[3])))
            halves = [Fraction(1, 1 << k) for k in range(count)]
            way = tiled(partial(self._extracted, count=count), halo=SEEN, grid=grid, out=halves,
                        tile=tile)  # fmt: skip
            parts.append(list(way(image)))
        levels: Pyramid = []
        for level in range(s.levels):
            own = [parts[level - k][k] for k in range(min(level + 1, s.sub))]
            for k in range(len(own)):  # each is wanted by one level only
                parts[level - k][k] = own[k][:0]
            levels.append(torch.cat(own, 1) if len(own) > 1 else own[0])
        return levels

    def _extracted(self, x: Tensor, count: int) -> tuple[Tensor, ...]:
        """What the extractor finds in an image, at its size and `count` - 1 times half of that."""
        found = list[Tensor]()
        for convs in self.extract.extract_sublevels.convs[:count]:
            found.append(convs(functional.avg_pool2d(found[-1], 2) if found else x))
        return tuple(found)

    # --- flow -------------------------------------------------------------------------------------

    def flows(self, a: Pyramid, b: Pyramid, rows: int | None = None) -> tuple[Pyramid, Pyramid]:
        """(flows, residuals) from the features `a` to `b`, finest first, pixels of each level.

        `rows` of the finest level at a time, which gives the same numbers; None: all at once.
        """
        s, v = self.shape, None
        flows: Pyramid = []
        residuals: Pyramid = []
        for level in reversed(range(s.levels)):
            if v is not None:
                v = functional.interpolate(2 * v, a[level].shape[2:], mode="bilinear")
            band = max(1, rows >> level) if rows and level < TILED else a[level].shape[2]
            found = self._residual(level, a[level], b[level], v, band)
            v = found if v is None else v + found
            flows.insert(0, v)
            residuals.insert(0, found)
        return flows, residuals

    def _residual(self, level: int, a: Tensor, b: Tensor, v: Tensor | None, band: int) -> Tensor:
        s, height, parts = self.shape, a.shape[2], list[Tensor]()
        own = self.predict_flow._predictors
        predictor = own[s.specialized - 1 - level] if level < s.specialized else (
            self.predict_flow._predictor)  # fmt: skip
        for first in range(0, height, band):
            low, high = max(0, first - FLOW_HALO), min(height, first + band + FLOW_HALO)
            other = b[:, :, low:high] if v is None else warp(b, v[:, :, low:high], low)
            found = predictor(torch.cat([a[:, :, low:high], other], 1))
            parts.append(found[:, :, first - low : min(height, first + band) - low])
        return torch.cat(parts, 2)

    # --- fusion -----------------------------------------------------------------------------------

    def fused(
        self, a: tuple[Pyramid, Pyramid], b: tuple[Pyramid, Pyramid],
        forward: Pyramid, backward: Pyramid, t: float, rows: int | None = None,
    ) -> Tensor:  # fmt: skip
        """The picture (1, 3, H, W) at `t` of the way, unclipped; `a`, `b`: images and features.

        `rows` (a multiple of the coarsest grid) at a time, which gives the same numbers within the
        last bits; None: all at once.
        """
        height = forward[0].shape[2]
        band, parts = rows or height, list[Tensor]()
        for first in range(0, height, band):
            low, high = max(0, first - HALO), min(height, first + band + HALO)
            if rows is None:
                low, high = 0, height
            made = self._band(a, b, forward, backward, t, low, high)
            parts.append(made[:, :, first - low : min(height, first + band) - low])
        return torch.cat(parts, 2)

    def _band(
        self, a: tuple[Pyramid, Pyramid], b: tuple[Pyramid, Pyramid],
        forward: Pyramid, backward: Pyramid, t: float, low: int, high: int,
    ) -> Tensor:  # fmt: skip
        s, net = self.shape, torch.empty(0)
        convs = self.fuse.convs
        whole = forward[0].shape[2]
        for level in reversed(range(s.fusion)):
            top = low >> level
            end = forward[level].shape[2] if high == whole else high >> level
            to_a, to_b = backward[level][:, :, top:end] * t, forward[level][:, :, top:end] * (1 - t)
            aligned = [warp(x[level], flow, top) for pyramids, flow in ((a, to_a), (b, to_b))
                       for x in pyramids]  # fmt: skip
            aligned += [to_a, to_b]
            if level == s.fusion - 1:
                net = torch.cat(aligned, 1)
                continue
            first, second, third = convs[s.fusion - 2 - level]
            net = first(functional.interpolate(net, aligned[0].shape[2:], mode="nearest-exact"))
            joined = torch.cat([*aligned, net], 1)
            del aligned, net
            net = third(second(joined))
        return self.fuse.output_conv(net)  # type: ignore[no-any-return]
