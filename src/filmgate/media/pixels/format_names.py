"""The names of planar pixel formats and what they say, and what colour tags mean."""

import re
from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType

from filmgate.core.frame import ColorTags
from filmgate.errors import BadSetting

# Luma samples per chroma sample, across and down, by the digits of the format's name.
_SUBSAMPLING = MappingProxyType(
    {"444": (1, 1), "440": (1, 2), "422": (2, 1), "420": (2, 2), "411": (4, 1), "410": (4, 4)}
)

_ALL = (8, 9, 10, 12, 14, 16)
# FFmpeg's planar formats of 8 to 16 bits, without the bits and the byte order.
_BIT_DEPTHS = MappingProxyType(
    {"yuv420p": _ALL, "yuv422p": _ALL, "yuv444p": _ALL, "yuv440p": (8, 10, 12), "yuv411p": (8,),
     "yuv410p": (8,), "yuva420p": (8, 9, 10, 16), "yuva422p": (8, 9, 10, 12, 16),
     "yuva444p": (8, 9, 10, 12, 16), "gbrp": _ALL, "gbrap": (8, 10, 12, 14, 16), "gray": _ALL}
)  # fmt: skip
PLANAR_FORMATS = tuple(
    name if bits == 8 else f"{name}{bits}le"
    for name, depths in _BIT_DEPTHS.items()
    for bits in depths
)
# The planar format that holds each of these exactly.
_EQUIVALENTS = (
    (r"nv12|nv21", "yuv420p"),
    (r"nv16|yuyv422|uyvy422|yvyu422", "yuv422p"),
    (r"nv24|nv42|vuyx|vyu444", "yuv444p"),
    (r"p010[lb]e", "yuv420p10le"),
    (r"p012[lb]e", "yuv420p12le"),
    (r"p016[lb]e", "yuv420p16le"),
    (r"p210[lb]e|y210le|nv20[lb]e", "yuv422p10le"),
    (r"(p|y)212[lb]e", "yuv422p12le"),
    (r"(p|y)216[lb]e", "yuv422p16le"),
    (r"p410[lb]e|v30xle|xv30le", "yuv444p10le"),
    (r"(p412|xv36)[lb]e", "yuv444p12le"),
    (r"(p416|xv48)[lb]e", "yuv444p16le"),
    (r"vuya|uyva|ayuv", "yuva444p"),
    (r"ayuv64[lb]e", "yuva444p16le"),
    (r"(rgb|bgr)(24|0)|0(rgb|bgr)|(rgb|bgr)(555|565|444|8|4|4_byte)([lb]e)?", "gbrp"),
    (r"rgba|bgra|argb|abgr|pal8", "gbrap"),
    (r"x2(rgb|bgr)10[lb]e", "gbrp10le"),
    (r"(rgb|bgr)48[lb]e", "gbrp16le"),
    (r"(rgb|bgr)a64[lb]e", "gbrap16le"),
    (r"mono[wb]", "gray"),
)


@lru_cache(maxsize=100)
def find_equivalent(pixels: str) -> str | None:
    """Return the planar, little-endian format that stores `pixels` exactly; None: there is none.

    A name without byte order, such as yuv420p10, is that of the machine's: little-endian.
    """
    name = pixels.replace("yuvj", "yuv")
    for planar in (name, f"{name}le", f"{name.removesuffix('be')}le"):
        if planar in PLANAR_FORMATS:
            return planar
    return next((planar for pattern, planar in _EQUIVALENTS if re.fullmatch(pattern, name)), None)


def check_pixel_format(pixels: str) -> None:
    """Raise BadSetting, with the names nearest to it, for a format that cannot be written."""
    if find_equivalent(pixels):
        return
    near = get_close_matches(pixels.lower(), PLANAR_FORMATS, 3) or ("yuv420p", "yuv422p10le")
    raise BadSetting(
        f"pix_fmt is {pixels}, wanted a format of 8 to 16 bits such as {' or '.join(near)}"
    )


@lru_cache(maxsize=100)
def get_bit_depth(pixels: str) -> int:
    """Return the bits per sample of a planar format: "yuv420p10le" -> 10, "gray" -> 8."""
    digits = pixels.removesuffix("le").removesuffix("be")
    for bits in (9, 10, 12, 14, 16):
        if digits.endswith((f"p{bits}", f"gray{bits}")):
            return bits
    return 8


def get_subsampling(pixels: str) -> tuple[int, int]:
    """Return luma samples per chroma sample, across and down: "yuv420p" -> (2, 2)."""
    return (
        _SUBSAMPLING[pixels.removeprefix("yuv").removeprefix("a")[:3]]
        if "yuv" in pixels
        else (1, 1)
    )


def has_alpha(pixels: str) -> bool:
    """Return whether a planar format has an alpha channel."""
    return pixels.startswith(("yuva", "gbrap"))


def is_hdr(colour: ColorTags) -> bool:
    """Return whether the transfer is that of ITU-R BT.2100: PQ or HLG."""
    return colour.transfer in ("smpte2084", "arib-std-b67")
