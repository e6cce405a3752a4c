"""Convert HDR (ITU-R BT.2100: PQ and HLG) to SDR (BT.709), for models made for SDR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log10

import torch
from torch import Tensor

from filmgate.core.adapters import each
from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.errors import BadSetting, Unsupported
from filmgate.media.pixels.format_names import is_hdr
from filmgate.media.pixels.planes import Planes
from filmgate.media.pixels.rgb import convert_to_rgb as into_rgb
from filmgate.media.pixels.rgb import to_planes, to_rgb

SDR_NITS = 203.0  # becomes SDR white: HDR reference white (BT.2408), so that mid tones stay
PQ_NITS = 10000.0  # PQ 1.0 (SMPTE ST 2084)
# Constants of ST 2084.
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
# Constants of HLG (BT.2100, table 5).
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073
# Luminance of BT.2020 and BT.709 primaries; linear BT.2020 to linear BT.709 (BT.2087).
_WIDE, _NARROW = (0.2627, 0.6780, 0.0593), (0.2126, 0.7152, 0.0722)
_TO_NARROW = (
    (1.660491, -0.587641, -0.072850),
    (-0.124550, 1.132900, -0.008350),
    (-0.018151, -0.100579, 1.118730),
)
_ROWS = 64  # converted at once, so that intermediate values are small


def tonemap_to_sdr(colour: ColorTags, peak_nits: float = 1000.0) -> AnyStage:
    """Return a stage that converts HDR planes to SDR, same pixel format, matrix BT.709.

    Light above `peak_nits` (at least 203) is clipped. Raises BadSetting; Unsupported if it is not
    HDR or the primaries are other than BT.2020 and BT.709.
    """
    if peak_nits <= SDR_NITS:
        raise BadSetting(
            f"peak_nits is {peak_nits}, wanted more than {SDR_NITS}, which becomes SDR white"
        )
    if not is_hdr(colour):
        raise Unsupported(f"transfer is {colour.transfer}, wanted HDR: smpte2084 or arib-std-b67")
    if colour.primaries not in ("unknown", "bt2020", "bt709"):
        raise Unsupported(f"the video is HDR in {colour.primaries} colours, wanted bt2020: convert "
                          "it first")  # fmt: skip
    hdr = replace(colour, matrix="bt2020nc") if colour.matrix == "unknown" else colour
    sdr = replace(colour, matrix="bt709", primaries="bt709", transfer="bt709")

    def convert(frames: Sequence[Frame]) -> list[Frame]:
        return [f.with_image(tonemap(f.image), keep=tuple(f.extras)) for f in frames]

    def tonemap(image: object) -> Planes:
        assert isinstance(image, Planes)
        rgb = to_rgb(replace(image, colour=hdr))
        for first in range(0, rgb.shape[1], _ROWS):
            rows = rgb[:, first : first + _ROWS]
            rows.copy_(to_sdr(rows, hdr, peak_nits))
        return to_planes(rgb, image.pixels, sdr)

    def output(spec: StreamSpec) -> StreamSpec:
        into_rgb(hdr=True).output(replace(spec, colour=hdr))  # raises if it cannot
        return replace(spec, colour=sdr)

    return each(convert, name="tonemap", output=output)


def samples() -> tuple[AnyStage, ...]:
    """Return stages for the property tests: one for each transfer."""
    return tuple(tonemap_to_sdr(ColorTags(transfer=name)) for name in ("smpte2084", "arib-std-b67"))


def to_sdr(rgb: Tensor, colour: ColorTags, peak_nits: float) -> Tensor:
    """Convert HDR code (3, H, W) in [0, 1] to SDR code in [0, 1] for a BT.1886 display.

    The curve of BT.2390 (EETF) is applied to the largest of R, G and B, and all are scaled alike.
    Colours outside BT.709 then lose saturation, not luminance.
    """
    narrow = colour.primaries == "bt709"
    weights = _NARROW if narrow else _WIDE
    nits = decode_pq(rgb) if colour.transfer == "smpte2084" else decode_hlg(rgb, peak_nits, weights)
    bright = nits.amax(0)
    light = nits * (compress_highlights(bright, peak_nits) / SDR_NITS / bright.clamp_min(1e-6))
    if not narrow:
        matrix = torch.tensor(_TO_NARROW, device=rgb.device)
        light = torch.mm(matrix, light.reshape(3, -1)).view(rgb.shape)
    grey = _luminance(light, _NARROW)
    above = (1 - grey) / (light.amax(0) - grey).clamp_min(1e-6)
    below = grey / (grey - light.amin(0)).clamp_min(1e-6)
    share = torch.minimum(above, below).clamp_(0, 1)
    inside = torch.lerp(grey.expand_as(light), light, share.expand_as(light))
    return inside.clamp_(0, 1) ** (1 / 2.4)


def decode_pq(code: Tensor) -> Tensor:
    """Convert PQ code in [0, 1] to cd/m2, 0 to 10000 (ST 2084, EOTF)."""
    root = code.clamp(0, 1) ** (1 / _M2)
    return PQ_NITS * ((root - _C1).clamp_min(0) / (_C2 - _C3 * root)) ** (1 / _M1)


def encode_pq(nits: Tensor) -> Tensor:
    """Convert cd/m2 to PQ code in [0, 1], the inverse of `decode_pq`."""
    root = (nits / PQ_NITS).clamp(0, 1) ** _M1
    return ((_C1 + _C2 * root) / (1 + _C3 * root)) ** _M2


def decode_hlg_scene(code: Tensor) -> Tensor:
    """Convert HLG code in [0, 1] to scene light in [0, 1] (BT.2100, inverse OETF)."""
    return torch.where(code <= 0.5, code**2 / 3, (((code - _C) / _A).exp() + _B) / 12)


def decode_hlg(
    code: Tensor, peak_nits: float, weights: tuple[float, float, float] = _WIDE
) -> Tensor:
    """Convert HLG code (3, H, W) to cd/m2 on a display of `peak_nits` (BT.2100, OOTF)."""
    scene = decode_hlg_scene(code)
    gamma = 1.2 + 0.42 * log10(peak_nits / 1000)
    return peak_nits * scene * _luminance(scene, weights).clamp_min(1e-9) ** (gamma - 1)


def compress_highlights(nits: Tensor, peak_nits: float) -> Tensor:
    """Compress light up to `peak_nits` to at most `SDR_NITS` (BT.2390, 5.4.1; black stays 0)."""
    top, white = encode_pq(torch.tensor([peak_nits, SDR_NITS], dtype=torch.float64)).tolist()
    most = white / top
    knee = 1.5 * most - 0.5
    e = (encode_pq(nits) / top).clamp(0, 1)
    t = ((e - knee) / (1 - knee)).clamp_min(0)
    spline = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (-2 * t**3 + 3 * t**2) * most
    )
    return decode_pq(torch.where(e < knee, e, spline) * top)


def _luminance(light: Tensor, weights: tuple[float, float, float]) -> Tensor:
    return weights[0] * light[0] + weights[1] * light[1] + weights[2] * light[2]
