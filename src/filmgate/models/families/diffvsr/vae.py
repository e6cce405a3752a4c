"""The tiny VAE of Stream-DiffVSR: factor 4, corrected by features of the previous image.

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

POOL = 4  # side of the squares in which features are averaged
TEMPORAL_WEIGHT = 0.1  # weight of the temporal processor in a block's result
# Receptive fields: the encoder's 21 convolutions and 2 halvings, in pixels; a decoder block with
# the convolutions before and after it. Rounded up to multiples of the grid.
ENCODER_HALO, ENCODER_GRID = 64, 16
BLOCK_HALO, BLOCK_GRID = 8, 8
NO_TILING = Tile(1 << 30, 1 << 30)


class Block(nn.Module):
    """Three convolutions and a shortcut; in the decoder also features of the previous image."""

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
        """`before`: the previous image's features (B, C, H/4, W/4), pooled."""
        y = self.conv(x)
        return self.combine(x, y, None if before is None else self.fuse(pool(y), before))

    def fuse(self, now: Tensor, before: Tensor) -> Tensor:
        """Return both pooled maps (B, C, h, w) after the temporal processor, mixed.

        It convolves one sequence, `now` and then `before`, whose rows are adjacent: this needs the
        complete image.
        """
        both = self.temporal_processor(torch.cat([now.flatten(2), before.flatten(2)], 2))
        first, last = both.chunk(2, 2)
        mixed: Tensor = self.alpha * first + (1 - self.alpha) * last
        return mixed.view_as(now)

    def combine(self, x: Tensor, y: Tensor, fused: Tensor | None) -> Tensor:
        """Return the result from the input, that of the convolutions (overwritten), and `fused`."""
        if fused is not None:
            y.add_(_resize_like(fused, y), alpha=TEMPORAL_WEIGHT)
        return y.add_(x).relu_()


class TinyVae(nn.Module):
    """The network: images (1, 3, 4h, 4w) to latents (1, 4, h, w) and back."""

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

    def encode(self, image: Tensor) -> Tensor:
        """Return the latents (1, 4, h, w) of an image in [-1, 1]."""
        return self._layers("encoder")((image + 1) / 2)  # type: ignore[no-any-return]

    def extract_features(self, image: Tensor) -> list[Tensor]:
        """Return the results of the encoder's seven blocks for an image in [-1, 1], finest first.

        As in training, the image is not scaled to [0, 1] as `encode` does.
        """
        features = []
        for layer in self._layers("encoder")[:-1]:
            image = layer(image)
            if isinstance(layer, Block):
                features.append(image)
        return features

    def pool_features(self, image: Tensor, tile: Tile = NO_TILING) -> list[Tensor]:
        """Return the seven features, pooled, coarsest first as the decoder takes them.

        `tile` (pixels of the image, whose sides are multiples of 16) is processed at a time, with
        the same result and no map of the image's size in memory.
        """
        out = [Fraction(1, POOL << k) for k in (0, 1, 1, 1, 2, 2, 2)]
        done = tiled(self._pool_features, halo=ENCODER_HALO, grid=ENCODER_GRID, out=out, tile=tile)
        return list(reversed(done(image)))

    def _pool_features(self, x: Tensor) -> tuple[Tensor, ...]:
        features = []
        for layer in self._layers("encoder")[:-1]:
            x = layer(x)
            if isinstance(layer, Block):
                features.append(pool(x))
        return tuple(features)

    def decode(
        self, latent: Tensor, before: Sequence[Tensor] | None = None, tile: Tile = NO_TILING
    ) -> Tensor:
        """Return the image (1, 3, 4h, 4w) of a latent, in [-1, 1] and slightly outside.

        `before`: `pool_features` of the previous image, warped. `tile` (pixels of the result; then
        h and w are multiples of 4) is processed at a time, but by the temporal processors, which
        need the complete image: the same result within 1e-5.
        """
        x = torch.tanh(latent / 3) * 3
        layers, at, scale = self._layers("decoder"), 0, 4
        blocks = [(n, layer) for n, layer in enumerate(layers) if isinstance(layer, Block)]
        for k, (index, block) in enumerate(blocks):
            head = layers[at:index]
            tail = layers[index + 1 :] if k == len(blocks) - 1 else nn.Sequential()
            up = 2 if any(isinstance(layer, nn.Upsample) for layer in head) else 1
            sides = (n // scale // BLOCK_GRID * BLOCK_GRID for n in (tile.height, tile.width))
            own = Tile(*(max(BLOCK_GRID, side) for side in sides))
            x = _run_block(x, head, block, tail, up, own, before[k] if before else None)
            at, scale = index + 1, scale // up
        return x * 2 - 1

    def _layers(self, half: str) -> nn.Sequential:
        layers = getattr(self, half).layers
        assert isinstance(layers, nn.Sequential)
        return layers


def _blocks(count: int, width: int) -> list[Block]:
    return [Block(width) for _ in range(count)]


def pool(features: Tensor) -> Tensor:
    """Return the means of 4 x 4 squares, without incomplete ones."""
    return functional.avg_pool2d(features, POOL)


def _run_block(
    x: Tensor, head: nn.Module, block: Block, tail: nn.Module, up: int, tile: Tile,
    before: Tensor | None,
) -> Tensor:  # fmt: skip
    """Return tail(block(head(x))) in tiles; `head` enlarges `up` times."""
    height, width = x.shape[2:]
    if tile.height >= height and tile.width >= width:
        return tail(block(head(x), before))  # type: ignore[no-any-return]
    fine = Fraction(up)
    if before is None:
        plain = tiled(lambda x: tail(block(head(x))), halo=BLOCK_HALO, grid=BLOCK_GRID, out=(fine,),
                      tile=tile)  # fmt: skip
        return plain(x)  # type: ignore[no-any-return]

    def second(x: Tensor, fused: Tensor) -> Tensor:
        inputs = head(x)
        return tail(block.combine(inputs, block.conv(inputs), fused))  # type: ignore[no-any-return]

    coarse = fine / POOL
    first = tiled(lambda x: pool(block.conv(head(x))), halo=BLOCK_HALO, grid=BLOCK_GRID,
                  out=(coarse,), tile=tile)  # fmt: skip
    again = tiled(second, halo=BLOCK_HALO, grid=BLOCK_GRID, scales=(1, coarse), out=(fine,),
                  tile=tile)  # fmt: skip
    return again(x, block.fuse(first(x), before))  # type: ignore[no-any-return]


def _resize_like(small: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(small, like.shape[2:], mode="bilinear")
