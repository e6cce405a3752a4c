"""The tiny VAE of Stream-DiffVSR: factor 4, corrected by features of the previous picture.

Shiu et al., "Stream-DiffVSR", arXiv 2512.23709; the layout is AutoencoderTiny's, with a temporal
processor in every block. Keys and shapes are those of the published file (166 tensors).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.core.wrappers.tiled import Tile, tiled

POOL = 4  # features meet in squares of so many pixels a side
SHARE = 0.1  # of what the temporal processor says, in a block's result
# How far results see: the encoder's 21 convolutions and 2 halvings, in pixels; a decoder block with
# the convolutions before and after it. Rounded up to what tiles begin on.
ENCODER_HALO, ENCODER_GRID = 64, 16
BLOCK_HALO, BLOCK_GRID = 8, 8
WHOLE = Tile(1 << 30, 1 << 30)


class Block(nn.Module):
    """Three convolutions and what was there; the decoder's also hear of the previous picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(True),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(True),
            nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip
        self.alpha = nn.Parameter(torch.tensor(0.5))
        self.temporal_processor = nn.Sequential(
            nn.Conv1d(width, width, 3, padding=1), nn.ReLU(True),
            nn.Conv1d(width, width, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor, before: Tensor | None = None) -> Tensor:
        """`before`: the previous picture's features (B, C, H/4, W/4), pooled."""
        y = self.conv(x)
        return self.joined(x, y, None if before is None else self.fused(pooled(y), before))

    def fused(self, now: Tensor, before: Tensor) -> Tensor:
        """Both pooled maps (B, C, h, w) through the processor, mixed.

        They are one row of numbers, `now` and then `before`: rows touch at their ends, so this
        wants the whole picture.
        """
        both = self.temporal_processor(torch.cat([now.flatten(2), before.flatten(2)], 2))
        first, last = both.chunk(2, 2)
        mixed: Tensor = self.alpha * first + (1 - self.alpha) * last
        return mixed.view_as(now)

    def joined(self, x: Tensor, y: Tensor, fused: Tensor | None) -> Tensor:
        """The block's result from its input, its convolutions' result (used up), and `fused`."""
        if fused is not None:
            y.add_(_enlarged(fused, y), alpha=SHARE)
        return y.add_(x).relu_()


class TinyVae(nn.Module):
    """The network: pictures (1, 3, 4h, 4w) to latents (1, 4, h, w) and back."""

    def __init__(self, width: int = 64, device: str = "cpu") -> None:
        with torch.device(device):
            super().__init__()
            self.encoder, self.decoder = nn.Module(), nn.Module()
            self.encoder.layers = nn.Sequential(
                nn.Conv2d(3, width, 3, padding=1), *_blocks(1, width),
                nn.Conv2d(width, width, 3, 2, 1, bias=False), *_blocks(3, width),
                nn.Conv2d(width, width, 3, 2, 1, bias=False), *_blocks(3, width),
                nn.Conv2d(width, 4, 3, padding=1),
            )  # fmt: skip
            self.decoder.layers = nn.Sequential(
                nn.Conv2d(4, width, 3, padding=1), nn.ReLU(True), *_blocks(3, width),
                nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1, bias=False),
                *_blocks(3, width),
                nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1, bias=False),
                *_blocks(1, width), nn.Conv2d(width, 3, 3, padding=1),
            )  # fmt: skip

    def encode(self, picture: Tensor) -> Tensor:
        """Latents (1, 4, h, w) of a picture in [-1, 1]."""
        return self._layers("encoder")((picture + 1) / 2)  # type: ignore[no-any-return]

    def features(self, picture: Tensor) -> list[Tensor]:
        """What the encoder's seven blocks make of a picture in [-1, 1], finest first.

        Not brought to [0, 1] before, as `encode` does it: so the network was trained.
        """
        found = []
        for layer in self._layers("encoder")[:-1]:
            picture = layer(picture)
            if isinstance(layer, Block):
                found.append(picture)
        return found

    def pooled(self, picture: Tensor, tile: Tile = WHOLE) -> list[Tensor]:
        """The seven features, pooled, as the decoder wants them: coarsest first.

        `tile` (pixels of the picture, whose sides are multiples of 16) is what goes through at a
        time; the result is that of the whole, and no map of the picture's size is alive.
        """
        out = [Fraction(1, POOL << k) for k in (0, 1, 1, 1, 2, 2, 2)]
        done = tiled(self._pooled, halo=ENCODER_HALO, grid=ENCODER_GRID, out=out, tile=tile)
        return list(reversed(done(picture)))

    def _pooled(self, x: Tensor) -> tuple[Tensor, ...]:
        found = []
        for layer in self._layers("encoder")[:-1]:
            x = layer(x)
            if isinstance(layer, Block):
                found.append(pooled(x))
        return tuple(found)

    def decode(
        self, latent: Tensor, before: Sequence[Tensor] | None = None, tile: Tile = WHOLE
    ) -> Tensor:
        """The picture (1, 3, 4h, 4w) of a latent, in [-1, 1] and a little beyond.

        `before` is `pooled` of the previous picture, warped. `tile` (pixels of the result; then h
        and w are multiples of 4) goes through at a time, but for the temporal processors, which see
        the whole: the same picture, within 1e-5.
        """
        x = torch.tanh(latent / 3) * 3
        layers, at, scale = self._layers("decoder"), 0, 4
        blocks = [(n, layer) for n, layer in enumerate(layers) if isinstance(layer, Block)]
        for k, (place, block) in enumerate(blocks):
            head = layers[at:place]
            tail = layers[place + 1 :] if k == len(blocks) - 1 else nn.Sequential()
            up = 2 if any(isinstance(layer, nn.Upsample) for layer in head) else 1
            sides = (n // scale // BLOCK_GRID * BLOCK_GRID for n in (tile.height, tile.width))
            own = Tile(*(max(BLOCK_GRID, side) for side in sides))
            x = _part(x, head, block, tail, up, own, before[k] if before else None)
            at, scale = place + 1, scale // up
        return x * 2 - 1

    def _layers(self, half: str) -> nn.Sequential:
        layers = getattr(self, half).layers
        assert isinstance(layers, nn.Sequential)
        return layers


def _blocks(count: int, width: int) -> list[Block]:
    return [Block(width) for _ in range(count)]


def pooled(features: Tensor) -> Tensor:
    """Means of 4 x 4 squares; rows and columns that fill none are left out."""
    return functional.avg_pool2d(features, POOL)


def _part(
    x: Tensor, head: nn.Module, block: Block, tail: nn.Module, up: int, tile: Tile,
    before: Tensor | None,
) -> Tensor:  # fmt: skip
    """Tail of block of head of x, where head makes it `up` times as large, tile by tile."""
    height, width = x.shape[2:]
    if tile.height >= height and tile.width >= width:
        return tail(block(head(x), before))  # type: ignore[no-any-return]
    fine = Fraction(up)
    if before is None:
        plain = tiled(lambda x: tail(block(head(x))), halo=BLOCK_HALO, grid=BLOCK_GRID, out=(fine,),
                      tile=tile)  # fmt: skip
        return plain(x)  # type: ignore[no-any-return]

    def second(x: Tensor, fused: Tensor) -> Tensor:
        given = head(x)
        return tail(block.joined(given, block.conv(given), fused))  # type: ignore[no-any-return]

    coarse = fine / POOL
    first = tiled(lambda x: pooled(block.conv(head(x))), halo=BLOCK_HALO, grid=BLOCK_GRID,
                  out=(coarse,), tile=tile)  # fmt: skip
    again = tiled(second, halo=BLOCK_HALO, grid=BLOCK_GRID, scales=(1, coarse), out=(fine,),
                  tile=tile)  # fmt: skip
    return again(x, block.fused(first(x), before))  # type: ignore[no-any-return]


def _enlarged(small: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(small, like.shape[2:], mode="bilinear")
