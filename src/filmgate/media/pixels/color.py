"""RGB from planes and back, by matrix, range, chroma siting and bit depth (ITU-T H.273)."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from filmgate.core.frame import ColorTags
from filmgate.errors import Unsupported
from filmgate.media.pixels.color_tags import choose_matrix as choose_matrix
from filmgate.media.pixels.color_tags import is_cosited as is_cosited
from filmgate.media.pixels.color_tags import is_full_range as is_full_range
from filmgate.media.pixels.format_names import get_bit_depth, get_subsampling, has_alpha

Plane = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

# Weights of red and blue in luma (ITU-T H.273, table 4).
_LUMA = MappingProxyType(
    {"bt709": (0.2126, 0.0722), "fcc": (0.30, 0.11), "bt470bg": (0.299, 0.114),
     "smpte170m": (0.299, 0.114), "smpte240m": (0.212, 0.087), "bt2020nc": (0.2627, 0.0593)}
)  # fmt: skip


class PlanarImage(Protocol):
    """An image as planes: see `planes.Planes`."""

    @property
    def arrays(self) -> tuple[Plane, ...]:
        """The planes, (rows, columns)."""
        ...

    @property
    def pixels(self) -> str:
        """FFmpeg's name of the format."""
        ...

    @property
    def colour(self) -> ColorTags:
        """What the values mean."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        ...


def to_rgb(image: PlanarImage, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
    """Return RGB (3, H, W) in [0, 1], by ITU-T H.273; chroma is interpolated linearly.

    An unknown matrix is BT.709 from 1280 x 720 pixels on, else BT.601; an unknown range is limited
    for YUV, full for RGB and grey; unknown siting is "left". Raises Unsupported (alpha, YCgCo ...).
    """
    across, down = _steps(image.pixels)
    width, height = image.size
    parts = [share_memory(array).to(device) for array in image.arrays]
    (low, luma), _ = get_code_levels(image.pixels, image.colour)
    if len(parts) == 1 or image.pixels.startswith("gbr"):
        order = (0, 0, 0) if len(parts) == 1 else (2, 0, 1)
        stacked = torch.stack([parts[n].float() for n in order])
        return stacked.sub_(low).mul_(1 / luma).clamp_(0, 1).to(dtype)
    left, top = is_cosited(image.colour.siting)
    exact, zero = _to_rgb_matrix(image.pixels, image.colour, width, height)
    gain, matrix = float(exact[0, 0]), torch.from_numpy(exact[:, 1:]).float().to(device)
    result = torch.empty(3, height, width, device=device)
    for first, last in _strips(height, device):
        # one more chroma row on either side, so that strips have no seams
        begin, end = max(0, first // down - 1), min(-(-height // down), -(-last // down) + 1)
        chroma = torch.stack([part[begin:end].float() for part in parts[1:]]).sub_(zero[1])
        # chroma's share of R, G and B is linear, so it is computed before upsampling
        added = torch.mm(matrix, chroma.view(2, -1)).view(3, end - begin, -1)
        added = _upsample(added, -2, down, top, (end - begin) * down)
        added = added[:, first - begin * down : last - begin * down]
        strip = _upsample(added, -1, across, left, width, out=result[:, first:last])
        strip.add_(parts[0][first:last].float().sub_(zero[0]), alpha=gain).clamp_(0, 1)
    return result.to(dtype)


def share_memory(array: Plane) -> Tensor:
    """Return a tensor that shares the array's memory; a copy if it is read-only (a snapshot's)."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def from_rgb(image: Tensor, pixels: str, colour: ColorTags) -> tuple[Plane, ...]:
    """Return the planes of RGB (3, H, W), clipped to [0, 1]; the inverse of `to_rgb`."""
    across, down = _steps(pixels)
    height, width = image.shape[1:]
    device = image.device
    (low, luma), _ = get_code_levels(pixels, colour)
    if pixels.startswith("gbr"):
        channels = [image[n].float().clamp(0, 1).mul_(luma).add_(low) for n in (1, 2, 0)]
        return tuple(quantize(c, pixels) for c in channels)
    left, top = is_cosited(colour.siting)
    exact, zero = _to_rgb_matrix(pixels, colour, width, height)
    back = torch.from_numpy(np.linalg.inv(exact)).float().to(device)
    strips: list[list[Any]] = []
    halo = down if top else 0  # the triangle filter of a row reaches its neighbours
    for first, last in _strips(height, str(device)):
        begin, end = max(0, first - halo), min(height, last + halo)
        rows = image[:, begin:end].float().clamp(0, 1)
        yuv = torch.mm(back, rows.reshape(3, -1)).view(3, end - begin, width)
        made = [quantize(yuv[0, first - begin : last - begin].add_(zero[0]), pixels)]
        if not pixels.startswith("gray"):
            chroma = _downsample(_downsample(yuv[1:], -2, down, top), -1, across, left).add_(
                zero[1]
            )
            kept = slice((first - begin) // down, -(-(last - begin) // down))
            made += [quantize(part[kept], pixels) for part in chroma]
        strips.append(made)
    return tuple(np.concatenate(parts) for parts in zip(*strips, strict=True))


def check_rgb(rgb: object) -> Tensor:
    """Return `rgb` if it is a finite floating-point tensor (3, H, W).

    Raises Unsupported, or FloatingPointError for NaN and infinity, which planes would hide.
    """
    if not isinstance(rgb, Tensor) or rgb.ndim != 3 or len(rgb) != 3 or not rgb.is_floating_point():
        shape = getattr(rgb, "shape", None)
        form = "" if shape is None else f" {tuple(shape)} of {getattr(rgb, 'dtype', '?')}"
        raise Unsupported(f"an image of RGB is {type(rgb).__name__}{form}: pass a floating-point "
                          "tensor (3, H, W) with R, G and B in [0, 1]")  # fmt: skip
    if not bool(torch.isfinite(rgb).all()):
        raise FloatingPointError("the RGB image has values that are NaN or infinite")
    return rgb


def quantize(values: Tensor, pixels: str) -> Any:
    """Round to code values; `values` is overwritten."""
    bits = get_bit_depth(pixels)
    rounded = values.round_().clamp_(0, 2**bits - 1)
    if values.device.type != "cpu":  # fewer bytes to copy; on the CPU numpy's cast is faster
        rounded = rounded.to(torch.uint8 if bits == 8 else torch.int32).cpu()
    return rounded.numpy().astype(np.uint8 if bits == 8 else np.uint16)


def _strips(height: int, device: str) -> list[tuple[int, int]]:
    """Return rows (first, last) to convert at once: on the CPU few enough for its cache."""
    rows = 64 if device == "cpu" else height
    return [(first, min(height, first + rows)) for first in range(0, height, rows)]


def _steps(pixels: str) -> tuple[int, int]:
    if has_alpha(pixels):
        raise Unsupported(
            f"the video has an alpha channel ({pixels}) and models take opaque frames only: put it "
            "over a background first and save it without alpha, for example as yuv420p"
        )
    if pixels.startswith(("yuv", "gray", "gbrp")):
        return get_subsampling(pixels)
    raise Unsupported(f"{pixels} cannot be converted to RGB: wanted planar YUV, RGB or grey")


def check_convertible(pixels: str, colour: ColorTags, width: int, height: int) -> None:
    """Raise Unsupported if `to_rgb` cannot take such an image."""
    _steps(pixels)
    _to_rgb_matrix(pixels, colour, width, height)


def resample_chroma(
    chroma: Tensor, old: tuple[int, int], new: tuple[int, int], siting: str, size: tuple[int, int]
) -> Tensor:
    """Return chroma (2, rows, columns) with new subsampling (across, down); `size`: of luma."""
    for n, axis, cosited in zip((1, 0), (-2, -1), reversed(is_cosited(siting)), strict=True):
        if old[n] != new[n]:
            full = _upsample(chroma, axis, old[n], cosited, size[n])
            chroma = _downsample(full, axis, new[n], cosited)
    return chroma


def get_code_levels(
    pixels: str, colour: ColorTags
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return offset and scale of luma (or RGB) and of chroma, in code values (H.273, 8.3)."""
    bits = get_bit_depth(pixels)
    if is_full_range(pixels, colour):
        top = float(2**bits - 1)
        return (0.0, top), (float(2 ** (bits - 1)), top)
    step = float(2 ** (bits - 8))
    return (16 * step, 219 * step), (128 * step, 224 * step)


def _to_rgb_matrix(
    pixels: str, colour: ColorTags, width: int, height: int
) -> tuple[npt.NDArray[np.float64], tuple[float, float]]:
    """Return the matrix (3, 3) from Y, Cb, Cr codes less their zeros to R, G, B, and the zeros."""
    name = choose_matrix(colour, width, height)
    if name not in _LUMA and pixels.startswith("yuv"):
        raise Unsupported(f"the video's colour matrix is {name}, wanted one of {', '.join(_LUMA)}: "
                          "convert it first")  # fmt: skip
    red, blue = _LUMA.get(name, _LUMA["bt709"])
    green = 1 - red - blue
    (low, luma), (middle, chroma) = get_code_levels(pixels, colour)
    u, v = 2 * (1 - blue), 2 * (1 - red)
    unit = [[1, 0, v], [1, -u * blue / green, -v * red / green], [1, u, 0]]
    return np.array(unit) / np.array([luma, chroma, chroma]), (low, middle)


def _upsample(
    values: Tensor, axis: int, step: int, cosited: bool, size: int, out: Tensor | None = None
) -> Tensor:
    """Interpolate linearly along `axis` to `size` samples, `step` for each; edges repeat."""
    if step == 1:
        return values if out is None else out.copy_(values)
    count = values.shape[axis]
    shape = list(values.shape)
    shape[axis] = size
    result = values.new_empty(shape) if out is None else out
    for phase in range(step):
        at = (phase - (0 if cosited else (step - 1) / 2)) / step
        place = _take_every(result, axis, phase, step)
        size = place.shape[axis]
        if at == 0:
            place.copy_(values.narrow(axis, 0, size))
            continue
        # samples between two others, and the one outside the edge
        pairs = min(size, count) - 1 if at < 0 else min(size, count - 1)
        here, there = (1, 0) if at < 0 else (0, 1)
        torch.lerp(
            values.narrow(axis, here, pairs),
            values.narrow(axis, there, pairs),
            abs(at),
            out=place.narrow(axis, here, pairs),
        )
        if size > pairs:
            edge = 0 if at < 0 else size - 1
            place.narrow(axis, edge, 1).copy_(values.narrow(axis, edge, 1))
    return result


def _downsample(values: Tensor, axis: int, step: int, cosited: bool) -> Tensor:
    """Return one sample for each `step` along `axis`: their mean, or a triangle filter."""
    if step == 1:
        return values
    size = values.shape[axis]
    count = -(-size // step)
    ramp = [float(n) for n in range(1, step)]
    weights = [*ramp, float(step), *reversed(ramp)] if cosited else [1.0] * step
    before = step - 1 if cosited else 0
    after = (count - 1) * step + len(weights) - before - size
    edges = [values.narrow(axis, 0, 1)] * before, [values.narrow(axis, size - 1, 1)] * after
    held = torch.cat((*edges[0], values, *edges[1]), axis) if before + after > 0 else values
    parts = [_take_every(held, axis, n, step).narrow(axis, 0, count) for n in range(len(weights))]
    total = parts[0] * (weights[0] / sum(weights))
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        total.add_(part, alpha=weight / sum(weights))
    return total


def _take_every(values: Tensor, axis: int, first: int, step: int) -> Tensor:
    """Return a view of each `step`-th sample along `axis` (-1 or -2) from `first` on."""
    return values[..., first::step] if axis == -1 else values[..., first::step, :]
