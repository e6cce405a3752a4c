"""Predict the memory of Wan's autoencoder on a GPU from its settings alone, without torch.

Counted are the tensors of bands.py when most of them are alive: around a convolution of each level,
and while an image is enlarged or halved. In 16 bits a convolution also counts cuDNN's copies for
its layout. Nothing grows with the number of frames: from the third latent frame on, each needs the
same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from types import MappingProxyType

from filmgate.models.families.wan22.published import Settings, Variant

MIN_ROWS = 8  # of a band: fewer can leave nothing of it behind the convolutions of a level
_BYTES = MappingProxyType({"bfloat16": 2, "float16": 2, "float32": 4})
_CUBE, _SQUARE, _TIME = 27, 9, 3  # weights of a convolution for a pair of channels
_KEPT = 2  # frames that a convolution remembers


def split_rows(heights: Iterable[int], bands: int) -> tuple[int, ...]:
    """Return how many rows at a time each level takes, whose inputs have these heights."""
    return tuple(max(MIN_ROWS, -(-height // bands)) for height in heights)


def predict_decode(
    variant: Variant, size: tuple[int, int], dtype: str, bands: int = 1, park: bool = False
) -> int:
    """Return the peak bytes on the device of decoding a video of `size` (width, height).

    Includes the decoder's weights and, unless they are parked, its caches; see StreamDecoder.
    """
    return _predict(list(_list_decoder(variant.vae)), variant, size, _BYTES[dtype], bands, park)


def predict_encode(
    variant: Variant, size: tuple[int, int], dtype: str, bands: int = 1, park: bool = False
) -> int:
    """Return the peak bytes on the device of encoding the condition, like `predict_decode`."""
    alone = variant.replaces_first  # the image is encoded alone, and nothing is remembered
    levels = list(_list_encoder(variant.vae, 1 if alone else variant.temporal))
    return _predict(levels, variant, size, _BYTES[dtype], bands, park)


def count_parked(variant: Variant, size: tuple[int, int], dtype: str) -> int:
    """Return the bytes of the decoder's caches between two latent frames, on the CPU if parked."""
    area = prod(side // variant.spatial for side in size)
    return _BYTES[dtype] * area * sum(one.cached for one in _list_decoder(variant.vae))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Level:
    """Layers for one size of images.

    `scale`: rows for each latent row. `frames`: of a chunk. `convs`: channels in and out of
    convolutions over 3 frames, in order. `resize`: channels in and out of the change of size
    behind them, which makes `resized` rows of one and `frames_out` frames of `frames`; `pairs`:
    through a convolution in time of so many inputs and outputs. `shortcut`: a sum past all of it.
    `leading`: convolutions before the residual blocks, of two each. `banded`: bands of rows are
    possible.
    """

    scale: int
    frames: int
    convs: tuple[tuple[int, int], ...]
    resize: tuple[int, int] | None = None
    resized: float = 1.0
    frames_out: int = 0
    pairs: tuple[int, int] | None = None
    shortcut: bool = False
    leading: int = 0
    banded: bool = True

    @property
    def cached(self) -> int:
        """Numbers remembered for each latent position."""
        kept = sum(inputs for inputs, _ in self.convs) * _KEPT
        if self.pairs and self.resized > 1:
            kept += self.pairs[0] * _KEPT
        elif self.pairs:
            kept += int(self.pairs[0] * self.resized**2)
        return kept * self.scale**2

    @property
    def weights(self) -> int:
        """Numbers in its convolutions; norms are small."""
        each = [(one, _CUBE) for one in self.convs]
        each += [(self.resize, _SQUARE)] if self.resize else []
        each += [(self.pairs, _TIME)] if self.pairs else []
        # a residual block of other outputs than inputs has a convolution of one position besides
        blocks = self.convs[self.leading :: 2]
        changed = [(one, 1) for one in blocks if one[0] != one[1] and len(blocks) > 1]
        return sum(a * b * size + b for (a, b), size in each + changed)

    def count_waiting(self, columns: int) -> int:
        """Return the numbers in rows that wait for the next band, besides those of its input."""
        waiting = sum(2 * inputs * (self.frames + _KEPT) + outputs * self.frames
                      for inputs, outputs in self.convs)  # fmt: skip
        if self.resize and self.shortcut:
            late = len(self.convs) * self.resized**2
            waiting += int(late * self.resize[1] * self.frames_out)
        return waiting * columns

    def _find_block(self, at: int) -> int:
        """Return the first convolution of the block that convolution `at` is in."""
        return max(0, self.leading + (at - self.leading) // 2 * 2)

    def count_peak(self, rows: int, columns: int, number: int) -> int:
        """Return the most bytes besides its input while it runs on so many rows of that."""
        copies = 2 if number == 2 else 1  # of what a convolution reads and writes
        norm = 5 if number == 2 else 4  # images around a norm, which 16 bits compute in 32
        area, peaks = rows * columns, [0]
        for at, (inputs, outputs) in enumerate(self.convs):
            image, result = inputs * self.frames * area, outputs * self.frames * area
            padded = inputs * (self.frames + _KEPT) * (rows + 2) * (columns + 2)
            start = self._find_block(at)  # its input is alive; that of the first is the level's
            before = self.convs[start][0] * self.frames * area if start else 0
            peaks += [before + copies * (padded + result),
                      before + image + padded + 2 * _KEPT * inputs * area,
                      before + (norm - (at == start)) * image]  # fmt: skip
        if self.resize:
            inputs, outputs = self.resize
            image = inputs * self.frames * area
            doubled = inputs * max(self.frames, self.frames_out) * area
            larger = int(doubled * self.resized**2) if self.resized > 1 else doubled
            result = int(outputs * self.frames_out * area * self.resized**2)
            peaks.append(image + doubled + copies * (larger + result))
            if self.shortcut:
                peaks.append(image + 4 * result)
        return number * max(peaks)


def _predict(
    levels: list[_Level], variant: Variant, size: tuple[int, int], number: int, bands: int,
    park: bool,
) -> int:  # fmt: skip
    columns, height = (side // variant.spatial for side in size)
    weights = sum(level.weights for level in levels)
    caches = 0 if park else columns * height * sum(level.cached for level in levels)
    held, peak, arriving = 0, 0, height
    for level in levels:
        full, wide = height * level.scale, columns * level.scale
        (rows,) = split_rows([full], bands if level.banded else 1)
        joined = min(full, arriving + rows - 1)  # rows that wait until their band is complete
        held += number * level.convs[0][0] * level.frames * joined * wide
        held += number * level.count_waiting(wide) if rows < full else 0
        most = min(full, rows + len(level.convs))  # the last band gets the rows that waited
        peak = max(peak, held + level.count_peak(most, wide, number))
        arriving = int(most * level.resized)
        if not level.banded:
            held, arriving = 0, full
    return number * (weights + caches) + peak


def _list_resnets(inputs: int, outputs: int, count: int) -> list[tuple[int, int]]:
    """Return the convolutions of so many residual blocks."""
    pairs = [(inputs, outputs), (outputs, outputs)]
    return [*pairs, *[(outputs, outputs)] * (2 * (count - 1))]


def _list_decoder(vae: Settings) -> Iterator[_Level]:
    """Yield the middle of the decoder, complete latent frames, and the levels above it."""
    multiples, count = tuple(reversed(vae["dim_mult"])), vae["num_res_blocks"]
    residual, base = bool(vae["is_residual"]), vae["decoder_base_dim"] or vae["base_dim"]
    doubling = tuple(reversed(vae["temperal_downsample"]))
    widths = [base * multiple for multiple in (multiples[0], *multiples)]
    middle = _list_resnets(widths[0], widths[0], 2)
    yield _Level(scale=1, frames=1, convs=((vae["z_dim"], widths[0]), *middle), leading=1,
                 banded=False)  # fmt: skip
    frames = 1
    for at, (inputs, outputs) in enumerate(pairwise(widths)):
        if at and not residual:
            inputs //= 2
        convs = _list_resnets(inputs, outputs, count + 1)
        if at == len(multiples) - 1:
            convs.append((outputs, vae["out_channels"]))
            yield _Level(scale=1 << at, frames=frames, convs=tuple(convs))
            return
        after = frames * 2 if doubling[at] else frames
        yield _Level(
            scale=1 << at, frames=frames, convs=tuple(convs), resized=2.0, frames_out=after,
            resize=(outputs, outputs if residual else outputs // 2),
            pairs=(outputs, 2 * outputs) if doubling[at] else None, shortcut=residual,
        )  # fmt: skip
        frames = after


def _list_encoder(vae: Settings, frames: int) -> Iterator[_Level]:
    """Yield the levels of the encoder, and its middle, which sees complete latent frames."""
    multiples, count = tuple(vae["dim_mult"]), vae["num_res_blocks"]
    widths = [vae["base_dim"] * multiple for multiple in (1, *multiples)]
    last = len(multiples) - 1
    for at, (inputs, outputs) in enumerate(pairwise(widths)):
        convs = _list_resnets(inputs, outputs, count)
        if not at:
            convs.insert(0, (vae["in_channels"], inputs))
        halved = at < last and bool(vae["temperal_downsample"][at])
        after = max(1, frames // 2) if halved else frames
        yield _Level(
            scale=1 << (last - at), frames=frames, convs=tuple(convs), resized=0.5,
            frames_out=after, resize=(outputs, outputs) if at < last else None, leading=int(not at),
            pairs=(outputs, outputs) if halved else None, shortcut=bool(vae["is_residual"]),
        )  # fmt: skip
        frames = after
    middle = _list_resnets(widths[-1], widths[-1], 2)
    yield _Level(scale=1, frames=1, convs=(*middle, (widths[-1], 2 * vae["z_dim"])), banded=False)
