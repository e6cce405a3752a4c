"""How light a film was mastered for: FFmpeg's side data, in the words of each encoder."""

from __future__ import annotations

import struct
from fractions import Fraction

from filmgate.media.source_metadata import SourceMetadata

_PLACES = ("R", "G", "B")  # order of FFmpeg's display primaries


def light_options(encoder: str, origin: SourceMetadata) -> dict[str, str]:
    """Options that make `encoder` write the mastering display and light level of `origin`.

    SMPTE ST 2086 and CTA-861.3. Empty where there is none, or the encoder has no words for it.
    """
    display, level = _display(origin.light[0]), _level(origin.light[1])
    if encoder == "libx264":
        words = {"mastering-display": display and _whole(display), "cll": level}
    elif encoder == "libx265":
        words = {"master-display": display and _whole(display), "max-cll": level}
    elif encoder == "libsvtav1":
        words = {"mastering-display": display and _real(display), "content-light": level}
    else:
        return {}
    return {name: text for name, text in words.items() if text}


Display = dict[str, tuple[Fraction, Fraction]]


def _display(data: bytes | None) -> Display | None:
    """Points of the colour diagram by name, WP the white one, and L (most, least) in cd/m2."""
    if data is None or len(data) < 88:
        return None
    numbers = struct.unpack("=20i2i", data[:88])
    if not all(numbers[20:]) or not all(numbers[1:20:2]):
        return None
    ratios = [Fraction(*numbers[n : n + 2]) for n in range(0, 20, 2)]
    found = {name: (ratios[2 * n], ratios[2 * n + 1]) for n, name in enumerate(_PLACES)}
    return found | {"WP": (ratios[6], ratios[7]), "L": (ratios[9], ratios[8])}


def _level(data: bytes | None) -> str:
    if data is None or len(data) < 8:
        return ""
    most, average = struct.unpack("=2I", data[:8])
    return f"{most},{average}"


def _whole(display: Display) -> str:
    """In steps of 0.00002, and of 0.0001 cd/m2."""
    parts = []
    for name in ("G", "B", "R", "WP", "L"):
        step = 10_000 if name == "L" else 50_000
        a, b = (round(value * step) for value in display[name])
        parts.append(f"{name}({a},{b})")
    return "".join(parts)


def _real(display: Display) -> str:
    return "".join(
        f"{name}({float(a):.5f},{float(b):.5f})"
        for name, (a, b) in ((name, display[name]) for name in ("G", "B", "R", "WP", "L"))
    )
