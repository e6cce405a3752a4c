"""Mastering display and light level of HDR video, as options of each encoder."""

from __future__ import annotations

import struct
from fractions import Fraction

from filmgate.core.source_metadata import SourceMetadata

_PRIMARIES = ("R", "G", "B")  # in the order of FFmpeg's side data

Display = dict[str, tuple[Fraction, Fraction]]


def build_hdr_options(encoder: str, source: SourceMetadata) -> dict[str, str]:
    """Return options that make `encoder` write the source's mastering display and light level.

    SMPTE ST 2086 and CTA-861.3. Empty if the source has none or the encoder cannot write them.
    """
    display = _parse_display(source.hdr_side_data[0])
    level = _parse_light_level(source.hdr_side_data[1])
    if encoder == "libx264":
        options = {"mastering-display": display and _format_integers(display), "cll": level}
    elif encoder == "libx265":
        options = {"master-display": display and _format_integers(display), "max-cll": level}
    elif encoder == "libsvtav1":
        options = {"mastering-display": display and _format_floats(display), "content-light": level}
    else:
        return {}
    return {name: text for name, text in options.items() if text}


def _parse_display(data: bytes | None) -> Display | None:
    """Return the chromaticities of R, G, B and white (WP), and L (max, min) in cd/m2."""
    if data is None or len(data) < 88:
        return None
    numbers = struct.unpack("=20i2i", data[:88])
    if not all(numbers[20:]) or not all(numbers[1:20:2]):
        return None
    ratios = [Fraction(*numbers[n : n + 2]) for n in range(0, 20, 2)]
    points = {name: (ratios[2 * n], ratios[2 * n + 1]) for n, name in enumerate(_PRIMARIES)}
    return points | {"WP": (ratios[6], ratios[7]), "L": (ratios[9], ratios[8])}


def _parse_light_level(data: bytes | None) -> str:
    """Return "MaxCLL,MaxFALL"."""
    if data is None or len(data) < 8:
        return ""
    most, average = struct.unpack("=2I", data[:8])
    return f"{most},{average}"


def _format_integers(display: Display) -> str:
    """Format in steps of 0.00002, and of 0.0001 cd/m2."""
    parts = []
    for name in ("G", "B", "R", "WP", "L"):
        step = 10_000 if name == "L" else 50_000
        a, b = (round(value * step) for value in display[name])
        parts.append(f"{name}({a},{b})")
    return "".join(parts)


def _format_floats(display: Display) -> str:
    return "".join(
        f"{name}({float(a):.5f},{float(b):.5f})"
        for name, (a, b) in ((name, display[name]) for name in ("G", "B", "R", "WP", "L"))
    )
