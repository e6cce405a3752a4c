"""FILM as a function: images between two images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from filmgate.errors import Unsupported
from filmgate.media.pixels import rgb as colour
from filmgate.media.pixels.planes import Planes
from filmgate.models.families.film.net import Film, Pyramid, Shape
from filmgate.weights.state_dict import check_tensors, list_shapes, load_tensors

MAX_DENOMINATOR = 16  # positions k/2, k/4, k/8, k/16 are midpoints of midpoints
# Larger images are processed in bands by default, of about so many pixels. Small bands take less
# memory; a GPU loses time with them: on an H100 1920x1080 took 0.20 s in them, 0.10 s without.
SMALL_BANDS, LARGE_BANDS = (1 << 19, 1 << 18), (1 << 20, 1 << 19)
HALF = Fraction(1, 2)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of an interval: the image at each level (1, 3, H, W), and its features."""

    images: Pyramid
    features: Pyramid


@dataclass(frozen=True)
class FilmInterpolator:
    """Makes images between two.

    `memo` holds the features of the last image, which is the first of the next pair. Without it
    they are computed again with the same bits, so it is not state. `rows`: of the image in flow
    and fusion at a time (None: by its size, and more of them with `large_bands`).
    """

    net: Film
    device: str
    dtype: torch.dtype
    rows: int | None = None
    large_bands: bool = False
    memo: list[tuple[object, Endpoint]] = field(default_factory=list, compare=False, repr=False)

    def low_memory(self) -> FilmInterpolator:
        """See `LowMemoryInterpolator`."""
        small = replace(self, large_bands=False, memo=[])
        return small if self.large_bands and self.rows is None else self

    def __call__(self, a: object, b: object, positions: Sequence[Fraction]) -> list[Planes]:
        """Return planes at `positions` (0 to 1, both excluded) of the way from `a` to `b`.

        Halves, quarters ... are midpoints of midpoints, for which the network was trained; at other
        positions the flow is scaled. Raises Unsupported for images that are not Planes, and
        FloatingPointError for results that are not finite.
        """
        if not isinstance(a, Planes) or not isinstance(b, Planes) or a.size != b.size:
            raise Unsupported("film cannot interpolate these images: pass planes of one size")
        with torch.inference_mode():
            ends = self._encode(a), self._encode(b)
            self.memo[:] = [(b, ends[1])]
            outputs = {
                at: self._to_planes(image, a)
                for at, image in self._interpolate(*ends, list(positions))
            }
        return [outputs[position] for position in positions]

    def _interpolate(
        self, a: Endpoint, b: Endpoint, wanted: list[Fraction]
    ) -> Iterator[tuple[Fraction, Tensor]]:
        """Yield position and image, depth first, so that one image of each depth is alive."""
        rows = self._choose_rows(a.images[0])
        flows = (
            self.net.estimate_flows(a.features, b.features, rows)[0],
            self.net.estimate_flows(b.features, a.features, rows)[0],
        )
        pairs = (a.images, a.features), (b.images, b.features)
        halves = [at for at in wanted if _is_dyadic(at)]
        for at in wanted:
            if at not in halves:
                yield at, self.net.fuse_images(*pairs, *flows, float(at), rows)
        if not halves:
            return
        middle = self.net.fuse_images(*pairs, *flows, 0.5, rows)
        del flows
        if HALF in halves:
            yield HALF, middle
        sides = [at for at in halves if at < HALF], [at for at in halves if at > HALF]
        if any(sides):
            between = self._encode_image(middle)
            del middle
            if sides[0]:
                for at, image in self._interpolate(a, between, [2 * at for at in sides[0]]):
                    yield at / 2, image
            if sides[1]:
                for at, image in self._interpolate(between, b, [2 * at - 1 for at in sides[1]]):
                    yield (at + 1) / 2, image

    def _encode(self, planes: Planes) -> Endpoint:
        for known, end in self.memo:
            if known is planes:
                return end
        rgb = colour.to_rgb(planes, self.dtype, self.device)[None]
        return self._encode_image(
            functional.pad(rgb, _compute_padding(planes.size, self.net.shape.align))
        )

    def _encode_image(self, image: Tensor) -> Endpoint:
        images = self.net.build_pyramid(image)
        return Endpoint(images, self.net.extract_features(images, self._choose_rows(image)))

    def _choose_rows(self, image: Tensor) -> int | None:
        height, width = image.shape[2:]
        return self.rows or choose_band_rows(height, width, large=self.large_bands)

    def _to_planes(self, image: Tensor, like: Planes) -> Planes:
        left, _, top, _ = _compute_padding(like.size, self.net.shape.align)
        width, height = like.size
        visible = image[0, :, top : top + height, left : left + width].float()
        if not torch.isfinite(visible).all():  # planes would hide it as noise
            raise FloatingPointError("film returned values that are NaN or infinite")
        return colour.to_planes(visible, like.pixels, like.colour)


def choose_band_rows(height: int, width: int, *, large: bool = False) -> int | None:
    """Return the rows of a large image to process at a time, a multiple of 64; None: all."""
    banded, band = LARGE_BANDS if large else SMALL_BANDS
    if height * width <= banded:
        return None
    return min(256, max(64, band // width // 64 * 64))


def _is_dyadic(at: Fraction) -> bool:
    return at.denominator <= MAX_DENOMINATOR and at.denominator & (at.denominator - 1) == 0


def _compute_padding(size: tuple[int, int], align: int) -> tuple[int, int, int, int]:
    """Return black columns and rows to add: left, right, top, bottom, half on each side."""
    across, down = (-side % align for side in size)
    return across // 2, across - across // 2, down // 2, down - down // 2


def open_network(path: Path, dtype: torch.dtype, device: str) -> Film:
    """Return the network that a file holds, converted to `dtype`. Raises BadWeights.

    Its sizes are read from the tensors, so a smaller network of the same kind opens too.
    """
    stored = load_tensors(path)
    net = Film(Shape.of({name: tensor.shape for name, tensor in stored.items()}))
    net.load_state_dict(check_tensors(stored, list_shapes(net), path))
    return net.to(device, dtype).eval().requires_grad_(False)
