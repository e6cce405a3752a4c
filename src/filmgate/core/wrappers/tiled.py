"""`tiled`: a function of whole pictures, done in pieces, each with what it sees around it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import lcm
from typing import Any, Literal

from filmgate.errors import BadSetting, DoesNotFit, StageContractError

Axes = Literal["chw", "hwc"]
Picture = Any  # an array or a tensor, (..., C, H, W) or (..., H, W, C)
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile's size in pixels of the finest input, without what it sees around it."""

    height: int
    width: int


@dataclass(frozen=True)
class Tiled:
    """See `tiled`."""

    fn: Callable[..., Any]
    halo: int
    grid: int
    scales: tuple[Fraction, ...]
    out: tuple[Fraction, ...]
    tile: Tile | None
    bytes_per_pixel: float
    budget_bytes: int
    axes: Axes

    def __call__(self, *pictures: Picture) -> Any:
        """What `fn` makes of the whole pictures."""
        if len(pictures) != len(self.scales):
            raise BadSetting(f"{len(pictures)} pictures came and scales are "
                             f"{_said(self.scales)}: wanted one for each")  # fmt: skip
        height, width = self._size(pictures)
        tile = self.tile or tile_for(
            height, width, halo=self.halo, grid=self.grid,
            bytes_per_pixel=self.bytes_per_pixel, budget_bytes=self.budget_bytes,
        )  # fmt: skip
        rows, columns = _cuts(height, tile.height), _cuts(width, tile.width)
        if len(rows) == len(columns) == 1:
            return self.fn(*pictures)
        made: list[Any] = []
        single = True
        # From the last one back: it says how large the whole result is.
        for down in reversed(rows):
            for right in reversed(columns):
                given = [self._seen(p, s, down, right, height, width)
                         for p, s in zip(pictures, self.scales, strict=True)]  # fmt: skip
                results = self.fn(*given)
                single = not isinstance(results, tuple)
                parts = (results,) if single else results
                if len(parts) != len(self.out):
                    raise StageContractError(f"{len(parts)} results came out and scales out are "
                                      f"{_said(self.out)}: wanted one for each")  # fmt: skip
                cores = [self._core(part, scale, down, right, height, width)
                         for part, scale in zip(parts, self.out, strict=True)]  # fmt: skip
                if not made:
                    made = [self._whole(core, scale, down, right)
                            for core, scale in zip(cores, self.out, strict=True)]  # fmt: skip
                for whole, core, scale in zip(made, cores, self.out, strict=True):
                    self._put(whole, core, int(down[0] * scale), int(right[0] * scale))
        return made[0] if single else tuple(made)

    def _size(self, pictures: Sequence[Picture]) -> Span:
        """Height and width on the finest input's grid, and that all pictures agree on them."""
        y, x = self._axes(pictures[0])
        finest = max(range(len(pictures)), key=lambda k: self.scales[k])
        height, width = (int(n / self.scales[finest]) for n in
                         (pictures[finest].shape[y], pictures[finest].shape[x]))  # fmt: skip
        for picture, scale in zip(pictures, self.scales, strict=True):
            for axis, whole in ((y, height), (x, width)):
                if not whole * scale - 1 < picture.shape[axis] < whole * scale + 1:
                    raise BadSetting(
                        f"a picture of scale {scale} is {tuple(picture.shape)} beside one of "
                        f"{height}x{width}: wanted {float(whole * scale):g} along axis {axis}"
                    )
        return height, width

    def _axes(self, picture: Picture) -> tuple[int, int]:
        return (-2, -1) if self.axes == "chw" else (-3, -2)

    def _around(self, span: Span) -> int:
        """Where what a tile sees begins: on the grid, the halo before its first pixel."""
        return max(0, (span[0] - self.halo) // self.grid * self.grid)

    def _seen(
        self, picture: Picture, scale: Fraction, down: Span, right: Span, height: int, width: int
    ) -> Picture:
        """The part of one input that a tile sees; at the picture's edge it ends as that does."""
        y, x = self._axes(picture)
        slices = []
        for span, whole, axis in ((down, height, y), (right, width, x)):
            end = -(-(span[1] + self.halo) // self.grid) * self.grid
            stop = picture.shape[axis] if end >= whole else int(end * scale)
            slices.append(slice(int(self._around(span) * scale), stop))
        return self._cut(picture, slices[0], slices[1])

    def _core(
        self, part: Picture, scale: Fraction, down: Span, right: Span, height: int, width: int
    ) -> Picture:
        """A tile's result without what it was only there to see; the last ones keep all."""
        y, x = self._axes(part)
        slices = []
        for span, whole, axis in ((down, height, y), (right, width, x)):
            begin = int((span[0] - self._around(span)) * scale)
            long = int((span[1] - span[0]) * scale)
            slices.append(slice(begin, part.shape[axis] if span[1] == whole else begin + long))
        return self._cut(part, slices[0], slices[1])

    def _whole(self, last: Picture, scale: Fraction, down: Span, right: Span) -> Picture:
        """Room for the whole result, from its last tile."""
        y, x = self._axes(last)
        shape = list(last.shape)
        shape[y] += int(down[0] * scale)
        shape[x] += int(right[0] * scale)
        if hasattr(last, "new_empty"):
            return last.new_empty(shape)
        import numpy as np

        return np.empty(shape, last.dtype)

    def _put(self, whole: Picture, core: Picture, top: int, left: int) -> None:
        y, x = self._axes(core)
        rows, columns = slice(top, top + core.shape[y]), slice(left, left + core.shape[x])
        self._cut(whole, rows, columns)[...] = core

    def _cut(self, picture: Picture, rows: slice, columns: slice) -> Picture:
        tail = () if self.axes == "chw" else (slice(None),)
        return picture[(..., rows, columns, *tail)]


def tiled(
    fn: Callable[..., Any],
    *,
    halo: int,
    grid: int = 1,
    scales: Sequence[Fraction | int] = (1,),
    out: Sequence[Fraction | int] = (1,),
    tile: Tile | None = None,
    bytes_per_pixel: float = 0.0,
    budget_bytes: int = 0,
    axes: Axes = "chw",
) -> Tiled:
    """The pure function `fn` of whole pictures, done in tiles; the same result for a local one.

    `halo` is how far (finest input's pixels) a result sees, and tiles begin on multiples of
    `grid`, which is what `fn` halves and doubles by. `scales` are the inputs' sizes, `out` the
    results', against picture 1. Without `tile`, `budget_bytes` at `bytes_per_pixel` of what one
    call sees say how large tiles are. At a picture's edge `fn` sees the same edge as in the whole.
    """
    inputs, outs = tuple(map(Fraction, scales)), tuple(map(Fraction, out))
    if halo < 0 or grid < 1:
        raise BadSetting(f"halo is {halo} and grid {grid}: wanted 0 or more and 1 or more")
    if not inputs or not outs or min(*inputs, *outs, Fraction(1)) <= 0:
        raise BadSetting(f"scales are {_said(inputs)} and out {_said(outs)}: wanted more than 0")
    if tile is None and not (bytes_per_pixel > 0 and budget_bytes > 0):
        raise BadSetting(f"bytes_per_pixel is {bytes_per_pixel} and budget_bytes {budget_bytes}: "
                         "wanted both, or a tile")  # fmt: skip
    step = lcm(grid, *(scale.denominator for scale in (*inputs, *outs)))
    if tile is not None and (min(tile.height, tile.width) < 1
                             or tile.height % step or tile.width % step):  # fmt: skip
        raise BadSetting(f"the tile is {tile.width}x{tile.height}: wanted multiples of {step}, "
                         "which the grid and the scales ask for")  # fmt: skip
    return Tiled(fn, halo, step, inputs, outs, tile, bytes_per_pixel, budget_bytes, axes)


@lru_cache(64)
def tile_for(
    height: int, width: int, *, halo: int, grid: int, bytes_per_pixel: float, budget_bytes: int
) -> Tile:
    """The tile whose calls keep the budget and, in all, see the fewest pixels.

    Raises DoesNotFit where a tile of one step of the grid is too large.
    """
    room = int(budget_bytes / bytes_per_pixel)
    high, wide = (
        [(size, _spans(whole, size, halo, grid)) for size in _sizes(whole, grid)]
        for whole in (height, width)
    )
    kept = [
        (sum(down) * sum(right), len(down) * len(right), rows, columns)
        for rows, down in high
        for columns, right in wide
        if max(down) * max(right) <= room
    ]
    if not kept:
        needed = int(max(high[-1][1]) * max(wide[-1][1]) * bytes_per_pixel) + 1
        raise DoesNotFit(f"a tile of {grid}x{grid} with {halo} pixels around it needs "
                         f"{needed / 1e6:.0f} MB and the budget is {budget_bytes / 1e6:.0f} MB: "
                         "give more, or make the picture smaller", needed)  # fmt: skip
    _, _, rows, columns = min(kept)
    return Tile(rows, columns)


def _sizes(whole: int, grid: int) -> list[int]:
    """Each size on the grid that cuts a side into pieces as even as can be."""
    steps = -(-whole // grid)
    return sorted({-(-steps // n) * grid for n in range(1, steps + 1)}, reverse=True)


def _cuts(whole: int, size: int) -> list[Span]:
    return [(begin, min(begin + size, whole)) for begin in range(0, whole, size)]


def _spans(whole: int, size: int, halo: int, grid: int) -> list[int]:
    """How many pixels along one side each tile sees."""
    return [
        min(whole, -(-(end + halo) // grid) * grid) - max(0, (begin - halo) // grid * grid)
        for begin, end in _cuts(whole, size)
    ]


def _said(scales: Sequence[Fraction]) -> str:
    return f"({', '.join(map(str, scales))})"
