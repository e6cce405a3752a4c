"""The family `film`: frames between frames by FILM, for large motion; its weights are a download.

Reda et al., "FILM: Frame Interpolation for Large Motion", ECCV 2022. UNPROVEN with published
weights: none could be fetched where this was written. Numbers recorded from the published code,
with weights made by rule, are matched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from filmgate.core.frame import StreamSpec
from filmgate.errors import BadWeights, Unsupported
from filmgate.media.pixels import rgb as colour
from filmgate.media.pixels.planes import Planes
from filmgate.models.contracts import Knobs
from filmgate.models.families.film.net import Film, Pyramid, Shape
from filmgate.weights.definitions import Weights
from filmgate.weights.state_dict import fitting, tensors
from filmgate.weights.store import WeightsStore

KNOBS = ("dtype", "tile")
DEEPEST = 16  # positions k / 2, 4, 8, 16 are midpoints of midpoints; others scale the flow
LARGE = 1 << 19  # pixels from which on flow and fusion go by bands, where nobody says otherwise
BAND = 1 << 18  # pixels of one, about
HALF = Fraction(1, 2)


@dataclass(frozen=True, slots=True)
class End:
    """One end of an interval: the picture at each level (1, 3, H, W), and its features."""

    images: Pyramid
    features: Pyramid


@dataclass(frozen=True)
class Draw:
    """Draws pictures between two.

    Its memo holds the features of the last picture that it was given, which is the next one's
    first; they are found again, bit for bit, where it holds others, so it is no state. `rows` go
    through flow and fusion at a time (None: all, up to a size).
    """

    net: Film
    device: str
    dtype: torch.dtype
    rows: int | None = None
    memo: list[tuple[object, End]] = field(default_factory=list, compare=False, repr=False)

    def between(self, a: object, b: object, positions: Sequence[Fraction]) -> list[Planes]:
        """Planes at `positions` (0 to 1, both excluded) of the way from `a` to `b`.

        Halves, quarters ... are midpoints of midpoints, for which the network was trained; at other
        positions the flow is scaled. Raises Unsupported for pictures that are no Planes.
        """
        if not isinstance(a, Planes) or not isinstance(b, Planes) or a.size != b.size:
            raise Unsupported("film draws between two pictures of one size, as planes")
        with torch.inference_mode():
            ends = self._end(a), self._end(b)
            self.memo[:] = [(b, ends[1])]
            drawn = {at: self._planes(made, a) for at, made in self._drawn(*ends, list(positions))}
        return [drawn[position] for position in positions]

    def _drawn(self, a: End, b: End, wanted: list[Fraction]) -> Iterator[tuple[Fraction, Tensor]]:
        """Depth first, so that one picture of each depth is alive."""
        rows = self._rows(a.images[0])
        flows = (
            self.net.flows(a.features, b.features, rows)[0],
            self.net.flows(b.features, a.features, rows)[0],
        )
        pairs = (a.images, a.features), (b.images, b.features)
        halves = [at for at in wanted if _is_half(at)]
        for at in wanted:
            if at not in halves:
                yield at, self.net.fused(*pairs, *flows, float(at), rows)
        if not halves:
            return
        middle = self.net.fused(*pairs, *flows, 0.5, rows)
        del flows
        if HALF in halves:
            yield HALF, middle
        sides = [at for at in halves if at < HALF], [at for at in halves if at > HALF]
        if any(sides):
            between = self._seen(middle)
            del middle
            if sides[0]:
                for at, made in self._drawn(a, between, [2 * at for at in sides[0]]):
                    yield at / 2, made
            if sides[1]:
                for at, made in self._drawn(between, b, [2 * at - 1 for at in sides[1]]):
                    yield (at + 1) / 2, made

    def _end(self, picture: Planes) -> End:
        for known, end in self.memo:
            if known is picture:
                return end
        rgb = colour.to_rgb(picture, self.dtype, self.device)[None]
        return self._seen(functional.pad(rgb, _padding(picture.size, self.net.shape.align)))

    def _seen(self, image: Tensor) -> End:
        images = self.net.pyramid(image)
        return End(images, self.net.features(images, self._rows(image)))

    def _rows(self, image: Tensor) -> int | None:
        height, width = image.shape[2:]
        return self.rows or (band(width) if height * width > LARGE else None)

    def _planes(self, made: Tensor, like: Planes) -> Planes:
        left, _, top, _ = _padding(like.size, self.net.shape.align)
        width, height = like.size
        picture = made[0, :, top : top + height, left : left + width].float()
        if not torch.isfinite(picture).all():  # as planes it would be a picture, of noise
            raise FloatingPointError("film drew numbers that are NaN or infinite")
        return colour.to_planes(picture, like.pixels, like.colour)


def band(width: int) -> int:
    """Rows that go through the network at a time where a picture is large, in steps of 64."""
    return min(256, max(64, BAND // width // 64 * 64))


def _is_half(at: Fraction) -> bool:
    return at.denominator <= DEEPEST and at.denominator & (at.denominator - 1) == 0


def _padding(size: tuple[int, int], align: int) -> tuple[int, int, int, int]:
    """Black rows and columns around it: left, right, top, bottom, half on each side."""
    across, down = (-side % align for side in size)
    return across // 2, across - across // 2, down // 2, down - down // 2


def weights() -> tuple[Weights, ...]:
    """The published file: half precision, made from the TensorFlow originals ("Style")."""
    return (
        Weights(
            name="film",
            family="film",
            file="film_net_fp16.safetensors",
            size_bytes=68_882_302,
            licence="Apache-2.0",
            commercial=True,
            hub="Comfy-Org/frame_interpolation",
            path="frame_interpolation/film_net_fp16.safetensors",
        ),
    )


def shapes(weights: Weights) -> Mapping[str, tuple[int, ...]]:
    """The 82 tensors of the published network."""
    return _shapes(Film(Shape(), "meta"))


def claims(shapes: Mapping[str, Sequence[int]]) -> bool:
    """Whether these are the tensors of a FILM of any size."""
    try:
        wanted = _shapes(Film(Shape.of(shapes), "meta"))
    except (BadWeights, RuntimeError, ValueError, IndexError):
        return False
    return wanted == {name: tuple(shape) for name, shape in shapes.items()}


def opened(path: Path, dtype: torch.dtype, device: str) -> Film:
    """The network that a file holds, its numbers as `dtype` whatever they were. Raises BadWeights.

    Its sizes are read from the tensors, so a smaller network of the same kind opens too.
    """
    found = tensors(path)
    net = Film(Shape.of({name: tensor.shape for name, tensor in found.items()}))
    net.load_state_dict(fitting(found, _shapes(net), path))
    return net.to(device, dtype).eval().requires_grad_(False)


def interpolator(spec: StreamSpec, knobs: Knobs) -> object:
    """See `filmgate.models.interpolator`. Numbers are float16 on a GPU and float32 elsewhere."""
    colour.rgb().output(spec)  # alpha, HDR: refused with words before the first frame
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, knobs.dtype or ("float16" if device == "cuda" else "float32"))
    file = WeightsStore.here().verified(weights()[0], knobs.weights)
    return Draw(opened(file, dtype, device), device, dtype, knobs.tile).between


def _shapes(net: Film) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
