"""Planes to RGB tensors and back: matrix, range, chroma siting and depth as the film says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from filmgate.core.adapters import each
from filmgate.core.chain import Chain
from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.errors import Unsupported
from filmgate.media.pixels.planes import Plane, Planes, bits_of, has_alpha, is_hdr, steps_of

# Weights of red and blue in luma (ITU-T H.273, table 4).
_LUMA = MappingProxyType(
    {"bt709": (0.2126, 0.0722), "fcc": (0.30, 0.11), "bt470bg": (0.299, 0.114),
     "smpte170m": (0.299, 0.114), "smpte240m": (0.212, 0.087), "bt2020nc": (0.2627, 0.0593)}
)  # fmt: skip
_DTYPES = MappingProxyType(
    {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
)


def rgb(dtype: str = "float32", device: str = "cpu", hdr: bool = False) -> AnyStage:
    """A stage that turns planes into tensors (3, H, W), RGB in [0, 1].

    The numbers of an HDR film (PQ, HLG) mean something else to a model made for SDR: without `hdr`
    they are refused. Raises Unsupported, before the first frame.
    """

    def convert(frames: Sequence[Frame]) -> list[Frame]:
        return [
            f.made(to_rgb(_planes(f), _DTYPES[dtype], device), keep=tuple(f.extras)) for f in frames
        ]

    def output(spec: StreamSpec) -> StreamSpec:
        _steps(spec.pixels)
        _to_rgb_matrix(spec.pixels, spec.colour, spec.width, spec.height)
        if is_hdr(spec.colour) and not hdr:
            raise Unsupported(
                f"the film is HDR (transfer {spec.colour.transfer}) and the model knows only SDR: "
                "pass --tonemap to bring it to BT.709"
            )
        return replace(spec, pixels="rgb", dtype=dtype, device=device)

    return each(convert, name="rgb", output=output)


def planes(pixels: str, colour: ColorTags) -> AnyStage:
    """A stage that turns RGB tensors into planes of the format `pixels` in memory."""

    def convert(frames: Sequence[Frame]) -> list[Frame]:
        return [f.made(to_planes(_tensor(f), pixels, colour), keep=tuple(f.extras)) for f in frames]

    def output(spec: StreamSpec) -> StreamSpec:
        dtype = "uint8" if bits_of(pixels) == 8 else "uint16"
        return replace(spec, pixels=pixels, colour=colour, dtype=dtype, device="cpu")

    return each(convert, name="planes", output=output)


def resized(spec: StreamSpec, width: int, height: int) -> ColorTags:
    """The colour of the stream at another size, the numbers of its pictures being the same.

    An untold matrix depends on the size (`matrix_of`): where it would be another, it is named.
    """
    was = matrix_of(spec.colour, spec.width, spec.height)
    if was == matrix_of(spec.colour, width, height) or not spec.pixels.startswith("yuv"):
        return spec.colour
    return replace(spec.colour, matrix=was)


def named(colour: ColorTags) -> AnyStage:
    """A stage that says this of its planes' colour, and leaves their numbers as they are."""

    def convert(frames: Sequence[Frame]) -> list[Frame]:
        return [f.made(replace(_planes(f), colour=colour), keep=tuple(f.extras)) for f in frames]

    def output(spec: StreamSpec) -> StreamSpec:
        return replace(spec, colour=colour)

    return each(convert, name="named", output=output)


def samples() -> tuple[AnyStage, ...]:
    """For trials: to RGB and back."""
    to_and_fro = (Chain((rgb(), planes(pixels, ColorTags()))) for pixels in ("yuv420p", "gbrp"))
    return (*to_and_fro, named(ColorTags(matrix="smpte170m")))


def to_rgb(picture: Planes, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
    """RGB (3, H, W) in [0, 1], as ITU-T H.273 has it; linear interpolation between chroma samples.

    An unknown matrix is BT.709 from 1280 x 720 pixels on, else BT.601; an unknown range is limited
    for YUV, full for RGB and grey; unknown siting is "left". Raises Unsupported (alpha, YCgCo ...).
    """
    across, down = _steps(picture.pixels)
    width, height = picture.size
    parts = [shared(array).to(device) for array in picture.arrays]
    (low, luma), _ = levels(picture.pixels, picture.colour)
    if len(parts) == 1 or picture.pixels.startswith("gbr"):
        order = (0, 0, 0) if len(parts) == 1 else (2, 0, 1)
        stacked = torch.stack([parts[n].float() for n in order])
        return stacked.sub_(low).mul_(1 / luma).clamp_(0, 1).to(dtype)
    left, top = on_first(picture.colour.siting)
    exact, zero = _to_rgb_matrix(picture.pixels, picture.colour, width, height)
    gain, matrix = float(exact[0, 0]), torch.from_numpy(exact[:, 1:]).float().to(device)
    found = torch.empty(3, height, width, device=device)
    for first, last in _strips(height, device):
        # one chroma row more on either side, so that no strip shows
        begin, end = max(0, first // down - 1), min(-(-height // down), -(-last // down) + 1)
        chroma = torch.stack([part[begin:end].float() for part in parts[1:]]).sub_(zero[1])
        # what chroma adds to R, G and B: linear, so found before there are more samples of it
        added = torch.mm(matrix, chroma.view(2, -1)).view(3, end - begin, -1)
        added = _stretched(added, -2, down, top, (end - begin) * down)
        added = added[:, first - begin * down : last - begin * down]
        strip = _stretched(added, -1, across, left, width, out=found[:, first:last])
        strip.add_(parts[0][first:last].float().sub_(zero[0]), alpha=gain).clamp_(0, 1)
    return found.to(dtype)


def shared(array: Plane) -> Tensor:
    """The array as a tensor: its memory, or a copy where it is read-only (a snapshot's)."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def to_planes(picture: Tensor, pixels: str, colour: ColorTags) -> Planes:
    """Planes in memory from RGB (3, H, W); values beyond [0, 1] are clipped. See `to_rgb`."""
    across, down = _steps(pixels)
    height, width = picture.shape[1:]
    device = picture.device
    (low, luma), _ = levels(pixels, colour)
    if pixels.startswith("gbr"):
        channels = [picture[n].float().clamp(0, 1).mul_(luma).add_(low) for n in (1, 2, 0)]
        return Planes(tuple(codes(c, pixels) for c in channels), pixels, colour)
    left, top = on_first(colour.siting)
    exact, zero = _to_rgb_matrix(pixels, colour, width, height)
    back = torch.from_numpy(np.linalg.inv(exact)).float().to(device)
    strips: list[list[Any]] = []
    halo = down if top else 0  # the triangle around a row reaches into its neighbours
    for first, last in _strips(height, str(device)):
        begin, end = max(0, first - halo), min(height, last + halo)
        rows = picture[:, begin:end].float().clamp(0, 1)
        yuv = torch.mm(back, rows.reshape(3, -1)).view(3, end - begin, width)
        made = [codes(yuv[0, first - begin : last - begin].add_(zero[0]), pixels)]
        if not pixels.startswith("gray"):
            chroma = _shrunk(_shrunk(yuv[1:], -2, down, top), -1, across, left).add_(zero[1])
            kept = slice((first - begin) // down, -(-(last - begin) // down))
            made += [codes(part[kept], pixels) for part in chroma]
        strips.append(made)
    arrays = tuple(np.concatenate(parts) for parts in zip(*strips, strict=True))
    return Planes(arrays, pixels, colour)


def _planes(frame: Frame) -> Planes:
    assert isinstance(frame.image, Planes)
    return frame.image


def _tensor(frame: Frame) -> Tensor:
    assert isinstance(frame.image, Tensor)
    return frame.image


def codes(values: Tensor, pixels: str) -> Any:
    """Code values as an array; `values` is used up."""
    bits = bits_of(pixels)
    whole = values.round_().clamp_(0, 2**bits - 1)
    if values.device.type != "cpu":  # fewer bytes to bring here; numpy's own cast is quicker
        whole = whole.to(torch.uint8 if bits == 8 else torch.int32).cpu()
    return whole.numpy().astype(np.uint8 if bits == 8 else np.uint16)


def _strips(height: int, device: str) -> list[tuple[int, int]]:
    """Rows (first, last) that are done together: on the CPU few enough to stay in its cache."""
    rows = 64 if device == "cpu" else height
    return [(first, min(height, first + rows)) for first in range(0, height, rows)]


def _steps(pixels: str) -> tuple[int, int]:
    if has_alpha(pixels):
        raise Unsupported(
            f"the film has transparency ({pixels}) and models see opaque pictures only: lay it "
            "over a background first and save it without alpha, for example as yuv420p"
        )
    if pixels.startswith(("yuv", "gray", "gbrp")):
        return steps_of(pixels)
    raise Unsupported(f"{pixels} can't be made RGB: wanted planar YUV, RGB or grey")


def on_first(siting: str) -> tuple[bool, bool]:
    """Whether chroma lies on the first luma sample, across and down."""
    return siting not in ("center", "top"), siting in ("topleft", "top")


def is_full(pixels: str, colour: ColorTags) -> bool:
    """Whether codes use the full range; where it is untold, RGB and grey do and YUV does not."""
    return colour.range == "pc" or (colour.range == "unknown" and not pixels.startswith("yuv"))


def matrix_of(colour: ColorTags, width: int, height: int) -> str:
    """The matrix by name; where it is untold, BT.709 from 1280 x 720 pixels on, else BT.601."""
    if colour.matrix != "unknown":
        return colour.matrix
    return "bt709" if width >= 1280 or height >= 720 else "smpte170m"


def resampled(
    chroma: Tensor, old: tuple[int, int], new: tuple[int, int], siting: str, size: tuple[int, int]
) -> Tensor:
    """Chroma (2, rows, columns) float with other steps (across, down); `size` is that of luma."""
    for n, axis, cosited in zip((1, 0), (-2, -1), reversed(on_first(siting)), strict=True):
        if old[n] != new[n]:
            whole = _stretched(chroma, axis, old[n], cosited, size[n])
            chroma = _shrunk(whole, axis, new[n], cosited)
    return chroma


def levels(pixels: str, colour: ColorTags) -> tuple[tuple[float, float], tuple[float, float]]:
    """Offset and scale of luma (or RGB) and of chroma, in code values (H.273, 8.3)."""
    bits = bits_of(pixels)
    if is_full(pixels, colour):
        top = float(2**bits - 1)
        return (0.0, top), (float(2 ** (bits - 1)), top)
    step = float(2 ** (bits - 8))
    return (16 * step, 219 * step), (128 * step, 224 * step)


def _to_rgb_matrix(
    pixels: str, colour: ColorTags, width: int, height: int
) -> tuple[npt.NDArray[np.float64], tuple[float, float]]:
    """The matrix (3, 3) that takes code values Y, Cb, Cr, less their zeros, to R, G, B."""
    name = matrix_of(colour, width, height)
    if name not in _LUMA and pixels.startswith("yuv"):
        raise Unsupported(f"the film's colour matrix is {name}, wanted one of {', '.join(_LUMA)}: "
                          "convert it first")  # fmt: skip
    red, blue = _LUMA.get(name, _LUMA["bt709"])
    green = 1 - red - blue
    (low, luma), (middle, chroma) = levels(pixels, colour)
    u, v = 2 * (1 - blue), 2 * (1 - red)
    unit = [[1, 0, v], [1, -u * blue / green, -v * red / green], [1, u, 0]]
    return np.array(unit) / np.array([luma, chroma, chroma]), (low, middle)


def _stretched(
    values: Tensor, axis: int, step: int, cosited: bool, size: int, out: Tensor | None = None
) -> Tensor:
    """Linear interpolation along `axis` to `size` samples, `step` for each; edges are held."""
    if step == 1:
        return values if out is None else out.copy_(values)
    count = values.shape[axis]
    shape = list(values.shape)
    shape[axis] = size
    found = values.new_empty(shape) if out is None else out
    for phase in range(step):
        at = (phase - (0 if cosited else (step - 1) / 2)) / step
        place = _every(found, axis, phase, step)
        size = place.shape[axis]
        if at == 0:
            place.copy_(values.narrow(axis, 0, size))
            continue
        # samples between two others, and the one beyond the edge
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
    return found


def _shrunk(values: Tensor, axis: int, step: int, cosited: bool) -> Tensor:
    """One sample for each `step` along `axis`: their mean, or a triangle around the first."""
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
    parts = [_every(held, axis, n, step).narrow(axis, 0, count) for n in range(len(weights))]
    total = parts[0] * (weights[0] / sum(weights))
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        total.add_(part, alpha=weight / sum(weights))
    return total


def _every(values: Tensor, axis: int, first: int, step: int) -> Tensor:
    """A view of each `step`-th sample along `axis` (-1 or -2) from `first` on."""
    return values[..., first::step] if axis == -1 else values[..., first::step, :]
