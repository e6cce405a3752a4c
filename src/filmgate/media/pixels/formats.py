"""FFmpeg's names of colours (ITU-T H.273) and of pixel formats."""

from types import MappingProxyType

import av
from av.video.format import VideoFormat

from filmgate.core.frame import StreamSpec
from filmgate.errors import Unsupported
from filmgate.media.options import Fit
from filmgate.media.pixels.format_names import (
    PLANAR_FORMATS,
    find_equivalent,
    get_subsampling,
)

MATRICES = MappingProxyType(
    {0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco",
     9: "bt2020nc", 10: "bt2020c", 11: "smpte2085", 12: "chroma-derived-nc",
     13: "chroma-derived-c", 14: "ictcp"}
)  # fmt: skip
PRIMARIES = MappingProxyType(
    {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film",
     9: "bt2020", 10: "smpte428", 11: "smpte431", 12: "smpte432", 22: "ebu3213"}
)  # fmt: skip
TRANSFERS = MappingProxyType(
    {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "linear",
     9: "log100", 10: "log316", 11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1",
     14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084", 17: "smpte428", 18: "arib-std-b67"}
)  # fmt: skip
RANGES = MappingProxyType({1: "tv", 2: "pc"})


def find_code(names: MappingProxyType[int, str], name: str, unknown: int = 2) -> int:
    """Return the number of a name in H.273; `unknown` for "unknown"."""
    return next((code for code, known in names.items() if known == name), unknown)


def find_planar_format(pixels: str) -> str:
    """Return the planar, little-endian format that stores `pixels` exactly. Raises Unsupported."""
    if equivalent := find_equivalent(pixels):
        return equivalent
    raise Unsupported(
        f"the video's pixel format is {pixels}, which no planar format of 8 to 16 bits can store: "
        "convert it first, for example to yuv444p10le"
    )


def find_encoder_formats(pixels: str, encoder: str) -> tuple[str, ...]:
    """Return the formats that `encoder` accepts and that store `pixels` exactly, itself first."""
    accepted = av.Codec(encoder, "w").video_formats
    if accepted is None:  # any format
        return (pixels,)
    formats = [format.name for format in accepted]
    exact = [name for name in formats if _holds(name, pixels)]
    return tuple(sorted(exact, key=lambda name: name != pixels))


def find_nearest_format(pixels: str, encoder: str) -> str:
    """Return the planar format that `encoder` accepts and that loses least of `pixels`.

    Chroma samples count most, then alpha, bits and the colour model; then the fewest bytes win.
    """
    want = VideoFormat(pixels, 64, 64)
    names = {f.name for f in av.Codec(encoder, "w").video_formats or [] if f.name in PLANAR_FORMATS}

    def loss(name: str) -> tuple[int, bool, int, bool, int]:
        have = VideoFormat(name, 64, 64)
        bits = have.components[0].bits - want.components[0].bits
        chroma = _chroma(want) - _chroma(have)
        alpha = len(want.components) in (2, 4) and len(have.components) not in (2, 4)
        return (
            max(0, chroma),
            alpha,
            max(0, -bits),
            want.is_rgb != have.is_rgb,
            have.bits_per_pixel,
        )

    return min(sorted(names), key=loss)


def get_size_multiples(codec: str, pixels: str) -> tuple[int, int]:
    """Return what must divide the width and the height of frames for `codec`; ffv1 takes any."""
    return (1, 1) if codec in ("ffv1", "rawvideo") else get_subsampling(pixels)


def find_fitting_sizes(spec: StreamSpec, codec: str, pixels: str) -> dict[Fit, tuple[int, int]]:
    """Return sizes (width, height) that `codec` accepts; empty if it accepts the video's own."""
    across, down = get_size_multiples(codec, pixels)
    crop = (spec.width // across * across, spec.height // down * down)
    pad = (-(-spec.width // across) * across, -(-spec.height // down) * down)
    return {} if crop == (spec.width, spec.height) else {"pad": pad, "crop": crop}


def explain_size_mismatch(spec: StreamSpec, codec: str, pixels: str) -> str:
    """Return why `codec` does not accept the video's size and what to do; empty if it does."""
    sizes = find_fitting_sizes(spec, codec, pixels)
    if not sizes:
        return ""
    across, down = get_size_multiples(codec, pixels)
    wanted = {(2, 2): "even sides", (2, 1): "an even width"}.get(
        (across, down), f"a width that {across} divides and a height that {down} divides"
    )
    options = [f"--fit {mode} ({w}x{h})" for mode, (w, h) in sizes.items() if w and h]
    return (
        f"the video is {spec.width}x{spec.height} and {codec} in {pixels} needs {wanted}: pass "
        f"{' or '.join(options)}"
    )


def _chroma(format: VideoFormat) -> int:
    if len(format.components) < 3:
        return 0
    return 64 * 64 if format.is_rgb else format.chroma_width(64) * format.chroma_height(64)


def _holds(name: str, pixels: str) -> bool:
    try:
        return find_planar_format(name) == pixels and "yuvj" not in name and "555" not in name
    except Unsupported:
        return False
