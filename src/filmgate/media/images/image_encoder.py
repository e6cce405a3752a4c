"""Frames to the bytes of lossless image files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType

import numpy as np
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.errors import Unsupported
from filmgate.media.options import LOSSLESS_SUFFIXES
from filmgate.media.pixels import formats
from filmgate.media.pixels.av_frames import check_planes, make_av_frame
from filmgate.media.pixels.format_names import get_bit_depth
from filmgate.media.pixels.planes import Plane

# The planar formats that each encoder stores exactly, and the interleaved one that it is given.
_INTERLEAVED: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "png": {"gbrp": "rgb24", "gbrap": "rgba", "gray": "gray", "gbrp16le": "rgb48be",
                "gbrap16le": "rgba64be", "gray16le": "gray16be"},
        "libwebp": {"gbrp": "bgra"},
        "tiff": {"gbrp": "rgb24", "gbrap": "rgba", "gray": "gray", "gbrp16le": "rgb48le",
                 "gbrap16le": "rgba64le", "gray16le": "gray16le"},
    }
)  # fmt: skip
_ENCODERS = MappingProxyType(
    dict(zip(LOSSLESS_SUFFIXES, ("png", "libwebp", "tiff", "tiff"), strict=True))
)


class ImageEncoder:
    """Encodes frames of `spec` for files that end in `suffix`, upright by `display_matrix`.

    `suffix` is one of LOSSLESS_SUFFIXES. `png_level` is 0 (fast) to 9 (small). Raises Unsupported.
    """

    def __init__(
        self,
        suffix: str,
        spec: StreamSpec,
        display_matrix: tuple[int, ...] | None = None,
        png_level: int = 4,
    ) -> None:
        self._spec, self._display_matrix = spec, display_matrix
        self._name = _ENCODERS[suffix]
        if spec.pixels not in _INTERLEAVED[self._name]:
            raise Unsupported(
                f"{suffix} cannot store {spec.pixels} without loss, wanted "
                f"{', '.join(_INTERLEAVED[self._name])}: choose another format of images"
            )
        self._options = {
            "png": {"compression_level": str(png_level), "pred": "mixed"},
            "libwebp": {"lossless": "1", "compression_level": "0"},
            "tiff": {"compression_algo": "deflate"},
        }[self._name]

    @property
    def bytes_per_frame(self) -> int:
        """The size of a file without any compression, but for its header."""
        spec = self._spec
        planes = {"gray": 1, "gbrp": 3, "gbra": 4}[spec.pixels[:4]]
        return spec.width * spec.height * planes * get_bit_depth(spec.pixels) // 8

    def encode(self, frame: Frame) -> bytes:
        """Return the content of the file. May be called by several threads."""
        spec = self._spec
        planes = check_planes(frame, spec)
        upright = planes.with_arrays(
            tuple(turn_upright(array, self._display_matrix) for array in planes.arrays)
        )
        image = make_av_frame(upright).reformat(format=_INTERLEAVED[self._name][spec.pixels])
        primaries = formats.find_code(formats.PRIMARIES, spec.colour.primaries)
        transfer = formats.find_code(formats.TRANSFERS, spec.colour.transfer)
        context = CodecContext.create(self._name, "w")
        assert isinstance(context, VideoCodecContext)
        context.width, context.height = upright.size
        context.pix_fmt = image.format.name
        context.time_base, context.thread_count = Fraction(1, 25), 1
        context.color_primaries, context.color_trc = primaries, transfer
        image.color_primaries, image.color_trc, image.color_range = primaries, transfer, 2
        context.options = dict(self._options)
        image.pts = 0
        return b"".join(bytes(p) for p in (*context.encode(image), *context.encode(None)))


def build_image_stages(suffix: str, spec: StreamSpec) -> tuple[AnyStage, ...]:
    """Return the stages that convert to what the files store: RGB or grey of 8 or 16 bits.

    `suffix` is one of LOSSLESS_SUFFIXES. Raises Unsupported.
    """
    stored, bits = _INTERLEAVED[_ENCODERS[suffix]], get_bit_depth(spec.pixels)
    grey = spec.pixels.startswith("gray")
    if spec.pixels in stored and spec.colour.range != "tv":
        return ()
    if bits > 8 and "gbrp16le" not in stored:
        raise Unsupported(
            f"the video has {bits} bits and {suffix} stores 8: choose .png or .tiff for the output"
        )
    deep = "16le" if bits > 8 else ""
    pixels = f"gray{deep}" if grey and "gray" in stored else f"gbrp{deep}"
    full = replace(spec.colour, range="pc", siting="unknown")
    full = full if pixels.startswith("gray") else replace(full, matrix="gbr")
    from filmgate.media.pixels import rgb  # imports torch

    to_planes = rgb.convert_to_planes(pixels, full)
    return (to_planes,) if spec.pixels == "rgb" else (rgb.convert_to_rgb(), to_planes)


def turn_upright(array: Plane, display_matrix: tuple[int, ...] | None) -> Plane:
    """Return a plane as a display matrix shows it: x' = a x + c y, y' = b x + d y."""
    if display_matrix is None:
        return array
    a, b, _, c, d = np.sign(display_matrix[:5])
    if not a and not d:
        array, a, d = array.T, c, b
    return array[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
