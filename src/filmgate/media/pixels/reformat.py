"""Planes to other sides and to other pixel formats: what an encoder or a user asks for."""

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
from filmgate.errors import BadSetting, Unsupported
from filmgate.media.options import Fit
from filmgate.media.pixels import formats
from filmgate.media.pixels.planes import Plane, Planes, bits_of, has_alpha, steps_of
from filmgate.media.pixels.rgb import (
    codes,
    is_full,
    levels,
    matrix_of,
    resampled,
    shared,
    to_planes,
    to_rgb,
)

# The matrix that goes with primaries, for a film that comes without: RGB.
_MATRICES = MappingProxyType(
    {"bt709": "bt709", "bt470bg": "bt470bg", "smpte170m": "smpte170m", "bt2020": "bt2020nc"}
)


def shaped(spec: StreamSpec, codec: str, pixels: str, fit: Fit | None) -> tuple[AnyStage, ...]:
    """The stages that give `codec` planes of `pixels` with sides it takes; none where none is due.

    Without `fit` the sides are left alone. Raises BadSetting, Unsupported.
    """
    try:
        wanted = formats.planar(pixels)
    except Unsupported as error:
        raise BadSetting(
            f"pix_fmt is {pixels}: wanted a format of 8 to 16 bits such as yuv420p or yuv422p10le"
        ) from error
    stages: tuple[AnyStage, ...] = ()
    sizes = formats.fits(spec, codec, wanted)
    if fit and sizes:
        stages = (fitted(*sizes[fit]),)
    return stages if wanted == spec.pixels else (*stages, converted(wanted))


def fitted(width: int, height: int) -> AnyStage:
    """A stage that makes pictures `width` x `height`: rows and columns at the right and below.

    Too many are dropped; missing ones repeat the last. Pixels keep their place and their aspect.
    Raises Unsupported if nothing would be left.
    """
    if width < 1 or height < 1:
        raise Unsupported(f"nothing is left of the film at {width}x{height}: pass --fit pad")

    def convert(frames: Sequence[Frame]) -> list[Frame]:
        return [f.made(picture(_planes(f)), keep=tuple(f.extras)) for f in frames]

    def picture(image: Planes) -> Planes:
        steps = steps_of(image.pixels)
        chroma = (-(-width // steps[0]), -(-height // steps[1]))
        small = len(image.arrays) > 2  # the second and the third plane are chroma
        wanted = [chroma if small and n in (1, 2) else (width, height) for n in range(4)]
        return image.with_arrays(
            tuple(_resized(array, *size) for array, size in zip(image.arrays, wanted, strict=False))
        )

    def output(spec: StreamSpec) -> StreamSpec:
        return replace(spec, width=width, height=height)

    return each(convert, name="fit", output=output)


def converted(pixels: str) -> AnyStage:
    """A stage that turns planes into planar `pixels`.

    YUV stays YUV with its matrix and range: only bits and chroma samples change, rounded to the
    nearest. RGB comes and goes by the matrix. Raises Unsupported if transparency would be lost.
    """

    def picture(image: Planes) -> Planes:
        return _change(image.pixels, image.colour, image.size, pixels)[0](image)

    def convert(frames: Sequence[Frame]) -> list[Frame]:
        return [f.made(picture(_planes(f)), keep=tuple(f.extras)) for f in frames]

    def output(spec: StreamSpec) -> StreamSpec:
        colour = _change(spec.pixels, spec.colour, (spec.width, spec.height), pixels)[1]
        dtype = "uint8" if bits_of(pixels) == 8 else "uint16"
        return replace(spec, pixels=pixels, colour=colour, dtype=dtype)

    return each(convert, name=f"to {pixels}", output=output)


@lru_cache(maxsize=16)
def _change(
    given: str, told: ColorTags, size: tuple[int, int], pixels: str
) -> tuple[Callable[[Planes], Planes], ColorTags]:
    """What makes planes of `pixels` from those `given`, and how the new numbers mean colours."""
    if has_alpha(given) and not has_alpha(pixels):
        raise Unsupported(
            f"the film has transparency ({given}), which {pixels} would lose: choose a pixel "
            "format with alpha (yuva444p10le and codec prores, yuva420p and codec ffv1), or lay "
            "the film over a background first"
        )
    base, wanted = _opaque(given), _opaque(pixels)
    colour = _colour(told, size, base, wanted)
    by_rgb = base.startswith("gbr") != wanted.startswith("gbr")
    samples = _by_samples(base, wanted, told, colour)
    alpha = _table(_alpha(base), _alpha(wanted), bits_of(base), bits_of(wanted))

    def change(image: Planes) -> Planes:
        seen = image.arrays[:3] if len(image.arrays) > 2 else image.arrays[:1]
        opaque = Planes(seen, base, image.colour)
        made = to_planes(to_rgb(opaque), wanted, colour) if by_rgb else samples(opaque)
        arrays: tuple[Plane, ...] = made.arrays
        if has_alpha(image.pixels):
            arrays += (alpha[image.arrays[3]],)
        elif has_alpha(pixels):
            arrays += (np.full_like(arrays[0], 2 ** bits_of(pixels) - 1),)
        return Planes(arrays, pixels, colour)

    return change, colour


def samples() -> tuple[AnyStage, ...]:
    """For trials: smaller, larger, more samples, other bits, other kinds."""
    names = ("yuv444p10le", "yuv422p", "gbrp", "gray", "yuva420p")
    return (fitted(46, 42), *(converted(name) for name in names))


def _by_samples(
    base: str, wanted: str, given: ColorTags, colour: ColorTags
) -> Callable[[Planes], Planes]:
    """What changes bits, range and chroma samples of YUV, of grey or of RGB."""
    old, new = levels(base, given), levels(wanted, colour)
    bits = bits_of(base), bits_of(wanted)
    luma, chroma = (_table(one, other, *bits) for one, other in zip(old, new, strict=True))
    steps = steps_of(base), steps_of(wanted)
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
            values = torch.stack([shared(array).float() for array in rest])
            values = resampled(values, *steps, given.siting, image.size)
            scale = new[1][1] / old[1][1]
            values = values.sub_(old[1][0]).mul_(scale).add_(new[1][0])
            arrays = (first, *(codes(part, wanted) for part in values))
        return Planes(arrays, wanted, colour)

    return change


def _table(
    old: tuple[float, float], new: tuple[float, float], bits: int, made_bits: int
) -> npt.NDArray[Any]:
    """The new code for every old one, from the offset and the scale of both."""
    values = (np.arange(2**bits) - old[0]) * (new[1] / old[1]) + new[0]
    whole = np.floor(values + 0.5).clip(0, 2**made_bits - 1)
    return whole.astype(np.uint8 if made_bits == 8 else np.uint16)


def _colour(colour: ColorTags, size: tuple[int, int], base: str, wanted: str) -> ColorTags:
    if wanted.startswith("gbr"):
        return colour if base.startswith("gbr") else replace(
            colour, matrix="gbr", range="pc", siting="unknown"
        )  # fmt: skip
    if base.startswith("gbr"):
        untold = replace(colour, matrix=_MATRICES.get(colour.primaries, "unknown"))
        matrix = matrix_of(untold, *size)
        return replace(colour, matrix=matrix, range="tv", siting="left")
    return replace(colour, range="pc" if is_full(base, colour) else "tv")


def _alpha(pixels: str) -> tuple[float, float]:
    return 0.0, float(2 ** bits_of(pixels) - 1)


def _opaque(pixels: str) -> str:
    return pixels.replace("yuva", "yuv").replace("gbrap", "gbrp")


def _planes(frame: Frame) -> Planes:
    assert isinstance(frame.image, Planes)
    return frame.image


def _resized(array: Plane, width: int, height: int) -> Any:
    more = (max(0, height - array.shape[0]), max(0, width - array.shape[1]))
    kept = array[:height, :width]
    return np.pad(kept, ((0, more[0]), (0, more[1])), mode="edge") if any(more) else kept
