"""What an output takes over from its source besides the frames."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

# Larger frames are refused by default: a run with them would need more than 3 GiB (predicted).
MAX_PIXELS = 8192 * 6144


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceMetadata:
    """Where other streams, chapters and metadata are copied from, and properties of the video.

    `path` None: nothing is copied. `audio`: its audio replaces that of `path` (`is_audio`: `path`
    is audio itself). Video time 0 is at `offset` seconds on the container's timeline; what is at
    `until` or later was trimmed (None: nothing was). `aspect` is that of a pixel, `display_matrix`
    FFmpeg's 9 integers, `hdr_side_data` its mastering display and content light level. `images` are
    the files of an image sequence, and `images_path` names them all.
    """

    path: Path | None = None
    stream: int = 0
    offset: Fraction = Fraction(0)
    trimmed: bool = False
    until: Fraction | None = None
    aspect: Fraction | None = None
    display_matrix: tuple[int, ...] | None = None
    hdr_side_data: tuple[bytes | None, bytes | None] = (None, None)
    max_pixels: int = MAX_PIXELS
    images: tuple[Path, ...] = ()
    images_path: Path | None = None
    audio: Path | None = None
    is_audio: bool = False
    parts: tuple[Path, ...] = ()

    @property
    def output_offset(self) -> Fraction:
        """Video time 0 on the output's timeline: as in the source, but 0 after a trim.

        And 0 if the source starts before 0, which few containers store.
        """
        return Fraction(0) if self.trimmed else max(Fraction(0), self.offset)
