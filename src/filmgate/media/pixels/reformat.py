"""Change the size or the pixel format of planes to what an encoder or the user wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from filmgate.core.adapters import each
from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.errors import Unsupported
from filmgate.media.options import Fit
from filmgate.media.pixels import formats
from filmgate.media.pixels.color import (
    choose_matrix,
    get_code_levels,
    is_full_range,
    quantize,
    resample_chroma,
    share_memory,
)
from filmgate.media.pixels.format_names import (
    check_pixel_format,
    get_bit_depth,
    get_subsampling,
    has_alpha,
)
from filmgate.media.pixels.planes import Plane, Planes
from filmgate.media.pixels.rgb import to_planes, to_rgb

# The matrix that goes with primaries, for RGB video, which has none.
_MATRICES = MappingProxyType(
    {"bt709": "bt709", "bt470bg": "bt470bg", "smpte170m": "smpte170m", "bt2020": "bt2020nc"}
)


def build_output_stages(
    spec: StreamSpec, codec: str, pixels: str, fit: Fit | None
) -> tuple[AnyStage, ...]:
    """Return the stages that convert to `pixels` and, with `fit`, to a size that `codec` accepts.

    Empty if nothing needs to change. Raises BadSetting, Unsupported.
    """
    check_pixel_format(pixels)
    wanted = formats.find_planar_format(pixels)
    stages: tuple[AnyStage, ...] = ()
    sizes = formats.find_fitting_sizes(spec, codec, wanted)
    if fit and sizes:
        stages = (fit_size(*sizes[fit]),)
    return stages if wanted == spec.pixels else (*stages, convert_pixels(wanted))


def fit_size(width: int, height: int) -> AnyStage:
    """Return a stage that crops or pads frames to `width` x `height`, at the right and bottom.

    Padding repeats the last column and row. Raises Unsupported if nothing would be left.
    """
    if width < 1 or height < 1:
        raise Unsupported(
            f"cropping to {width}x{height} leaves nothing of the video: pass --fit pad"
        )

    def convert(frames: Sequence[Frame]) -> list[Frame]:
        return [f.with_image(change(_planes(f)), keep=tuple(f.extras)) for f in frames]

    def change(image: Planes) -> Planes:
        steps = get_subsampling(image.pixels)
        chroma = (-(-width // steps[0]), -(-height // steps[1]))
        has_chroma = len(image.arrays) > 2  # the second and third planes
        wanted = [chroma if has_chroma and n in (1, 2) else (width, height) for n in range(4)]
        return image.with_arrays(
            tuple(_resize(array, *size) for array, size in zip(image.arrays, wanted, strict=False))
        )

    def output(spec: StreamSpec) -> StreamSpec:
        return replace(spec, width=width, height=height)

    return each(convert, name="fit", output=output)


def convert_pixels(pixels: str) -> AnyStage:
    """Return a stage that converts planes to planar `pixels`.

    YUV to YUV keeps matrix and range: only bit depth and subsampling change, rounded to nearest.
    To and from RGB uses the matrix. Raises Unsupported if an alpha channel would be lost.
    """

    def change(image: Planes) -> Planes:
        return _change(image.pixels, image.colour, image.size, pixels)[0](image)

    def convert(frames: Sequence[Frame]) -> list[Frame]:
        return [f.with_image(change(_planes(f)), keep=tuple(f.extras)) for f in frames]

    def output(spec: StreamSpec) -> StreamSpec:
        colour = _change(spec.pixels, spec.colour, (spec.width, spec.height), pixels)[1]
        dtype = "uint8" if get_bit_depth(pixels) == 8 else "uint16"
        return replace(spec, pixels=pixels, colour=colour, dtype=dtype)

    return each(convert, name=f"to {pixels}", output=output)


@lru_cache(maxsize=16)
def _change(
    old: str, tags: ColorTags, size: tuple[int, int], pixels: str
) -> tuple[Callable[[Planes], Planes], ColorTags]:
    """Return a function from planes of format `old` to `pixels`, and the new colour tags."""
    if has_alpha(old) and not has_alpha(pixels):
        raise Unsupported(
            f"the video has an alpha channel ({old}), which {pixels} would lose: choose a pixel "
            "format with alpha (yuva444p10le with codec prores, yuva420p with codec ffv1), or put "
            "the video over a background first"
        )
    base, wanted = _without_alpha(old), _without_alpha(pixels)
    colour = _convert_tags(tags, size, base, wanted)
    by_rgb = base.startswith("gbr") != wanted.startswith("gbr")
    convert = _convert_samples(base, wanted, tags, colour)
    alpha = _make_table(
        _alpha_levels(base), _alpha_levels(wanted), get_bit_depth(base), get_bit_depth(wanted)
    )

    def change(image: Planes) -> Planes:
        visible = image.arrays[:3] if len(image.arrays) > 2 else image.arrays[:1]
        opaque = Planes(visible, base, image.colour)
        converted = to_planes(to_rgb(opaque), wanted, colour) if by_rgb else convert(opaque)
        arrays: tuple[Plane, ...] = converted.arrays
        if has_alpha(image.pixels):
            arrays += (alpha[image.arrays[3]],)
        elif has_alpha(pixels):
            arrays += (np.full_like(arrays[0], 2 ** get_bit_depth(pixels) - 1),)
        return Planes(arrays, pixels, colour)

    return change, colour


def samples() -> tuple[AnyStage, ...]:
    """Return stages for the property tests: other sizes, subsampling, bit depths and models."""
    names = ("yuv444p10le", "yuv422p", "gbrp", "gray", "yuva420p")
    return (fit_size(46, 42), *(convert_pixels(name) for name in names))


def _convert_samples(
    base: str, wanted: str, tags: ColorTags, colour: ColorTags
) -> Callable[[Planes], Planes]:
    """Return a function that changes bit depth, range and subsampling of YUV, grey or RGB."""
    old, new = get_code_levels(base, tags), get_code_levels(wanted, colour)
    bits = get_bit_depth(base), get_bit_depth(wanted)
    luma, chroma = (_make_table(one, other, *bits) for one, other in zip(old, new, strict=True))
    steps = get_subsampling(base), get_subsampling(wanted)
    if base.startswith("gbr"):
        chroma = luma

    def change(image: Planes) -> Planes:
        first, rest = luma[image.arrays[0]], image.arrays[1:]
        if wanted.startswith("gray"):
            arrays: tuple[Any, ...] = (first,)
        elif not rest:
            height, width = first.shape
            shape = (-(-height // steps[1][1]), -(-width // steps[1][0]))
            arrays = (first, *(np.full(shape, new[1][0], first.dtype) for _ in range(2)))
        elif steps[0] == steps[1]:
            arrays = (first, *(chroma[array] for array in rest))
        else:
            values = torch.stack([share_memory(array).float() for array in rest])
            values = resample_chroma(values, *steps, tags.siting, image.size)
            scale = new[1][1] / old[1][1]
            values = values.sub_(old[1][0]).mul_(scale).add_(new[1][0])
            arrays = (first, *(quantize(part, wanted) for part in values))
        return Planes(arrays, wanted, colour)

    return change


def _make_table(
    old: tuple[float, float], new: tuple[float, float], bits: int, new_bits: int
) -> npt.NDArray[Any]:
    """Return the new code for every old one, from the offset and the scale of both."""
    values = (np.arange(2**bits) - old[0]) * (new[1] / old[1]) + new[0]
    rounded = np.floor(values + 0.5).clip(0, 2**new_bits - 1)
    return rounded.astype(np.uint8 if new_bits == 8 else np.uint16)


def _convert_tags(colour: ColorTags, size: tuple[int, int], base: str, wanted: str) -> ColorTags:
    if wanted.startswith("gbr"):
        return colour if base.startswith("gbr") else replace(
            colour, matrix="gbr", range="pc", siting="unknown"
        )  # fmt: skip
    if base.startswith("gbr"):
        likely = replace(colour, matrix=_MATRICES.get(colour.primaries, "unknown"))
        matrix = choose_matrix(likely, *size)
        return replace(colour, matrix=matrix, range="tv", siting="left")
    return replace(colour, range="pc" if is_full_range(base, colour) else "tv")


def _alpha_levels(pixels: str) -> tuple[float, float]:
    return 0.0, float(2 ** get_bit_depth(pixels) - 1)


def _without_alpha(pixels: str) -> str:
    return pixels.replace("yuva", "yuv").replace("gbrap", "gbrp")


def _planes(frame: Frame) -> Planes:
    assert isinstance(frame.image, Planes)
    return frame.image


def _resize(array: Plane, width: int, height: int) -> Any:
    more = (max(0, height - array.shape[0]), max(0, width - array.shape[1]))
    kept = array[:height, :width]
    return np.pad(kept, ((0, more[0]), (0, more[1])), mode="edge") if any(more) else kept
