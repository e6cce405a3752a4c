"""What a result takes from where its pictures came from, beside the pictures."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from filmgate.media.options import MAX_PIXELS


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceMetadata:
    """Where other tracks, chapters and metadata come from, and what the picture says of itself.

    `path` None: nothing else goes along. Film time 0 lies at `offset` on the container's timeline
    (seconds); what lies at `until` or later was trimmed away (None: nothing was). `aspect` is that
    of a pixel, `turn` the display matrix (9 integers as FFmpeg has them). `light` holds HDR side
    data as FFmpeg lays it out: mastering display, content light level.
    """

    path: Path | None = None
    video: int = 0
    offset: Fraction = Fraction(0)
    trimmed: bool = False
    until: Fraction | None = None
    aspect: Fraction | None = None
    turn: tuple[int, ...] | None = None
    light: tuple[bytes | None, bytes | None] = (None, None)
    max_pixels: int = MAX_PIXELS

    @property
    def place(self) -> Fraction:
        """Where film time 0 lies on the result's timeline: as before, or at 0 after a trim."""
        return Fraction(0) if self.trimmed else self.offset
