"""`tiled`: a function of complete images, computed in tiles that overlap."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import lcm
from typing import Any, Literal

from filmgate.errors import BadSetting, DoesNotFit, StageContractError

Axes = Literal["chw", "hwc"]
Image = Any  # an array or a tensor, (..., C, H, W) or (..., H, W, C)
Span = tuple[int, int]  # start and end along one axis, in pixels of the finest input


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile's size in pixels of the finest input, without the halo."""

    height: int
    width: int


@dataclass(frozen=True)
class TiledFunction:
    """The function made by `tiled`."""

    fn: Callable[..., Any]
    halo: int
    grid: int
    scales: tuple[Fraction, ...]
    out: tuple[Fraction, ...]
    tile: Tile | None
    bytes_per_pixel: float
    budget_bytes: int
    axes: Axes

    def __call__(self, *images: Image) -> Any:
        """Return what `fn` would return for the complete images."""
        if len(images) != len(self.scales):
            raise BadSetting(f"{len(images)} images for scales {_format_scales(self.scales)}: "
                             "pass one image per scale")  # fmt: skip
        height, width = self._check_size(images)
        tile = self.tile or choose_tile(
            height, width, halo=self.halo, grid=self.grid,
            bytes_per_pixel=self.bytes_per_pixel, budget_bytes=self.budget_bytes,
        )  # fmt: skip
        rows, columns = _split(height, tile.height), _split(width, tile.width)
        if len(rows) == len(columns) == 1:
            return self.fn(*images)
        results: list[Any] = []
        single = True
        # From the last tile back: it shows how large the results are.
        for row in reversed(rows):
            for column in reversed(columns):
                area = (row, column, height, width)
                outputs = self.fn(*(
                    self._crop_input(image, scale, *area)
                    for image, scale in zip(images, self.scales, strict=True)
                ))  # fmt: skip
                single = not isinstance(outputs, tuple)
                cores = self._crop_outputs((outputs,) if single else outputs, *area)
                results = results or [
                    self._allocate(core, scale, row, column)
                    for core, scale in zip(cores, self.out, strict=True)
                ]
                for result, core, scale in zip(results, cores, self.out, strict=True):
                    self._paste(result, core, int(row[0] * scale), int(column[0] * scale))
        return results[0] if single else tuple(results)

    def _check_size(self, images: Sequence[Image]) -> Span:
        """Return height and width of the finest input. Raises BadSetting if another disagrees."""
        y, x = self._get_axes()
        finest = max(range(len(images)), key=lambda k: self.scales[k])
        height, width = (int(n / self.scales[finest]) for n in
                         (images[finest].shape[y], images[finest].shape[x]))  # fmt: skip
        for image, scale in zip(images, self.scales, strict=True):
            for axis, length in ((y, height), (x, width)):
                if not length * scale - 1 < image.shape[axis] < length * scale + 1:
                    raise BadSetting(
                        f"an image of scale {scale} is {tuple(image.shape)}, and one of scale 1 is "
                        f"{height}x{width}: wanted {float(length * scale):g} along axis {axis}"
                    )
        return height, width

    def _get_axes(self) -> tuple[int, int]:
        return (-2, -1) if self.axes == "chw" else (-3, -2)

    def _get_start(self, span: Span) -> int:
        """Return where the input of a tile starts: on the grid, the halo before its first pixel."""
        return max(0, (span[0] - self.halo) // self.grid * self.grid)

    def _crop_input(
        self, image: Image, scale: Fraction, row: Span, column: Span, height: int, width: int
    ) -> Image:
        """Return a tile of an input with its halo, which ends at the image's edge."""
        y, x = self._get_axes()
        slices = []
        for span, length, axis in ((row, height, y), (column, width, x)):
            end = -(-(span[1] + self.halo) // self.grid) * self.grid
            stop = image.shape[axis] if end >= length else int(end * scale)
            slices.append(slice(int(self._get_start(span) * scale), stop))
        return self._slice(image, slices[0], slices[1])

    def _crop_outputs(
        self, outputs: tuple[Image, ...], row: Span, column: Span, height: int, width: int
    ) -> list[Image]:
        """Return the outputs of a tile without the halo; the last tiles keep all up to the edge."""
        if len(outputs) != len(self.out):
            raise StageContractError(
                f"{len(outputs)} results for out scales {_format_scales(self.out)}: the function "
                "must return one result per scale"
            )
        y, x = self._get_axes()
        cores = []
        for output, scale in zip(outputs, self.out, strict=True):
            slices = []
            for span, length, axis in ((row, height, y), (column, width, x)):
                start = int((span[0] - self._get_start(span)) * scale)
                stop = start + int((span[1] - span[0]) * scale)
                slices.append(slice(start, output.shape[axis] if span[1] == length else stop))
            cores.append(self._slice(output, slices[0], slices[1]))
        return cores

    def _allocate(self, last: Image, scale: Fraction, row: Span, column: Span) -> Image:
        """Return an empty image for a complete result, given its last tile."""
        y, x = self._get_axes()
        shape = list(last.shape)
        shape[y] += int(row[0] * scale)
        shape[x] += int(column[0] * scale)
        if hasattr(last, "new_empty"):
            return last.new_empty(shape)
        import numpy as np

        return np.empty(shape, last.dtype)

    def _paste(self, result: Image, core: Image, top: int, left: int) -> None:
        y, x = self._get_axes()
        rows, columns = slice(top, top + core.shape[y]), slice(left, left + core.shape[x])
        self._slice(result, rows, columns)[...] = core

    def _slice(self, image: Image, rows: slice, columns: slice) -> Image:
        tail = () if self.axes == "chw" else (slice(None),)
        return image[(..., rows, columns, *tail)]


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
) -> TiledFunction:
    """Return a function that computes the pure, local `fn` in tiles, with the same result.

    Each tile gets `halo` pixels (of the finest input) around it and starts on a multiple of
    `grid`, by which `fn` downscales. `scales` and `out` are the sizes of inputs and results
    relative to scale 1. Without `tile`, tiles are as large as `budget_bytes` allows at
    `bytes_per_pixel` of input. `fn` sees the image's own edges.
    """
    inputs, outs = tuple(map(Fraction, scales)), tuple(map(Fraction, out))
    if halo < 0 or grid < 1:
        raise BadSetting(f"halo is {halo} and grid {grid}: wanted halo >= 0 and grid >= 1")
    if not inputs or not outs or min(*inputs, *outs, Fraction(1)) <= 0:
        raise BadSetting(f"scales are {_format_scales(inputs)} and out {_format_scales(outs)}: "
                         "each must be more than 0")  # fmt: skip
    if tile is None and not (bytes_per_pixel > 0 and budget_bytes > 0):
        raise BadSetting(f"bytes_per_pixel is {bytes_per_pixel} and budget_bytes {budget_bytes}: "
                         "give both, or a tile")  # fmt: skip
    step = lcm(grid, *(scale.denominator for scale in (*inputs, *outs)))
    if tile is not None and (min(tile.height, tile.width) < 1
                             or tile.height % step or tile.width % step):  # fmt: skip
        raise BadSetting(f"the tile is {tile.width}x{tile.height}: with this grid and these scales "
                         f"both sides must be multiples of {step}")  # fmt: skip
    return TiledFunction(fn, halo, step, inputs, outs, tile, bytes_per_pixel, budget_bytes, axes)


@lru_cache(64)
def choose_tile(
    height: int, width: int, *, halo: int, grid: int, bytes_per_pixel: float, budget_bytes: int
) -> Tile:
    """Return the tile that fits the budget and processes the fewest pixels in total.

    Raises DoesNotFit if even a tile of one grid step is too large.
    """
    room = int(budget_bytes / bytes_per_pixel)
    high, wide = (
        [(size, _measure_inputs(length, size, halo, grid)) for size in _list_sizes(length, grid)]
        for length in (height, width)
    )
    fitting = [
        (sum(down) * sum(right), len(down) * len(right), rows, columns)
        for rows, down in high
        for columns, right in wide
        if max(down) * max(right) <= room
    ]
    if not fitting:
        needed = int(max(high[-1][1]) * max(wide[-1][1]) * bytes_per_pixel) + 1
        raise DoesNotFit(f"a tile of {grid}x{grid} with {halo} pixels around it needs "
                         f"{needed / 1e6:.0f} MB and the budget is {budget_bytes / 1e6:.0f} MB: "
                         "raise the budget, or use smaller images", needed)  # fmt: skip
    _, _, rows, columns = min(fitting)
    return Tile(rows, columns)


def _list_sizes(length: int, grid: int) -> list[int]:
    """Return each size on the grid that splits a side into pieces as even as possible."""
    steps = -(-length // grid)
    return sorted({-(-steps // n) * grid for n in range(1, steps + 1)}, reverse=True)


def _split(length: int, size: int) -> list[Span]:
    return [(start, min(start + size, length)) for start in range(0, length, size)]


def _measure_inputs(length: int, size: int, halo: int, grid: int) -> list[int]:
    """Return how many pixels along one side each tile's input has, halo included."""
    return [
        min(length, -(-(end + halo) // grid) * grid) - max(0, (start - halo) // grid * grid)
        for start, end in _split(length, size)
    ]


def _format_scales(scales: Sequence[Fraction]) -> str:
    return f"({', '.join(map(str, scales))})"
