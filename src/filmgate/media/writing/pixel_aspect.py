"""Store the shape of pixels in headers to which FFmpeg's muxers write none.

They ask the stream of an output for it, which PyAV cannot set.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from filmgate.media.containers.ebml import SEGMENT, read_element
from filmgate.media.streams.output_container import is_mp4

if TYPE_CHECKING:
    from av.video.stream import VideoStream

_CODECS = ("h264", "hevc")  # that store the shape themselves
_MATROSKA = (".mkv", ".webm")
TOLERANCE = Fraction(4, 1000)  # of a shape in WebM, which stores integers
_TRACKS, _TRACK, _NAME, _VIDEO, _CHECKSUM, _VOID = 0x1654AE6B, 0xAE, 0x536E, 0xE0, 0xBF, 0xEC
_WIDTH, _HEIGHT, _UNIT = 0x54B0, 0x54BA, 0x54B2  # of the display size
_SHAPE = 3  # the unit of a display size that is a shape, and not a number of pixels
_MAX_SIDE, _MAX_INT = 1 << 20, (1 << 31) - 1
_HEAD_BYTES = 16 << 20  # that hold the tracks
_ROOM = "room for the shape of pixels, "  # 30 bytes: more than what is stored in their place
_Y4M_UNKNOWN = b" A0:0 "


class AspectStore:
    """How an output of `video` stores the shape of its pixels, by its container.

    The muxers of mp4 and mov store it, and so do H.264 and HEVC. Matroska: the track gets a title
    with room for it, which is put there when the file is complete. `message` says if it is lost.
    """

    def __init__(
        self,
        file: Path | io.BufferedIOBase,
        suffix: str,
        video: VideoStream,
        aspect: Fraction | None,
    ) -> None:
        self._file, self._suffix = file, suffix
        context = video.codec_context
        self._width, self._height = context.width, context.height
        codec = context.codec.canonical_name
        known = aspect in (None, 1) or is_mp4(suffix) or codec in _CODECS
        self._aspect = Fraction(0) if known or aspect is None else aspect
        self._in_matroska = bool(self._aspect) and suffix in _MATROSKA and isinstance(file, Path)
        self.message = ""
        if self._aspect and not self._in_matroska and suffix != ".y4m":
            what = "a pipe" if suffix in _MATROSKA else suffix
            self.message = (
                f"the pixel aspect {aspect} is left out: {what} cannot store it with {codec}"
            )

    def open(self, stack: ExitStack) -> Path | io.BufferedIOBase:
        """Return the file to give to the muxer; `stack` closes it."""
        if not self._aspect or self._suffix != ".y4m":
            return self._file
        file = self._file
        raw = stack.enter_context(file.open("wb")) if isinstance(file, Path) else file
        return _Y4mFile(raw, self._aspect)

    def reserve(self, metadata: dict[str, str]) -> None:
        """Make room in the header, in the title of the video."""
        if self._in_matroska:
            titles = [metadata.pop(key) for key in list(metadata) if key.lower() == "title"]
            metadata["title"] = _ROOM + "".join(titles[-1:])

    def finish(self) -> None:
        """Store the shape in the file, which is complete."""
        if self._in_matroska and isinstance(self._file, Path):
            size = _size_display(self._width, self._height, self._aspect, self._suffix)
            _store_in_matroska(self._file, size)


def _store_in_matroska(path: Path, size: bytes) -> None:
    """Put the display `size` in the track whose title has room for it (RFC 9559, 5.1.4.1.28).

    The file keeps its length, and all other elements their places.
    """
    with open(path, "r+b") as file:
        data = file.read(_HEAD_BYTES)
        start, end = _find_tracks(data)
        made = bytearray()
        for kind, element, content in _split(data[start:end]):
            named = kind == _TRACK and _ROOM.encode() in content
            made += _resize_track(element, content, size) if named else element
        if made[0] == _CHECKSUM:  # of 4 bytes, behind 2
            made[2:6] = zlib.crc32(made[6:]).to_bytes(4, "little")
        file.seek(start)
        file.write(made)


class _Y4mFile(io.BufferedIOBase):
    """Passes a y4m on to a file, with the pixel aspect in its first line."""

    def __init__(self, file: BinaryIO | io.BufferedIOBase, aspect: Fraction) -> None:
        self._file = file
        self._known: bytes | None = f" A{aspect.numerator}:{aspect.denominator} ".encode()

    def write(self, data: Any) -> int:
        if self._known is not None:  # the first line comes first
            self._file.write(bytes(data).replace(_Y4M_UNKNOWN, self._known, 1))
            self._known = None
            return len(data)
        return self._file.write(data)

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()


def _find_tracks(data: bytes) -> tuple[int, int]:
    """Return where the content of the tracks starts and ends."""
    kind, at, length = read_element(data, 0)
    while kind != _TRACKS:
        kind, at, length = read_element(data, at if kind == SEGMENT else at + (length or 0))
        assert kind, "FFmpeg writes the tracks first"
    return at, at + (length or 0)


def _split(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (kind, the complete element, its content) of each element."""
    end = 0
    while end < len(data):
        kind, at, length = read_element(data, end)
        start, end = end, at + (length or 0)
        yield kind, data[start:end], data[at:end]


def _resize_track(track: bytes, content: bytes, size: bytes) -> bytes:
    """Return a track of the same length with the display `size` of its video."""
    made = b""
    for kind, element, inside in _split(content):
        if kind == _NAME:
            title = inside.removeprefix(_ROOM.encode())
            made += _write(_NAME, title) if title else b""
        elif kind == _VIDEO:
            kept = (part for k, part, _ in _split(inside) if k not in (_WIDTH, _HEIGHT, _UNIT))
            made += _write(_VIDEO, b"".join(kept) + size)
        else:
            made += element
    spare = len(content) - len(made)
    return track[: -len(content)] + made + _write(_VOID, bytes(spare - 2))


def _write(kind: int, content: bytes) -> bytes:
    """Return an element; its length takes as few bytes as it can."""
    head = kind.to_bytes((kind.bit_length() + 7) // 8, "big")
    wide = next(n for n in range(1, 9) if len(content) < (1 << 7 * n) - 1)
    return head + (1 << 7 * wide | len(content)).to_bytes(wide, "big") + content


def _size_display(width: int, height: int, aspect: Fraction, suffix: str) -> bytes:
    """Return the elements of a display size. WebM has no shapes, only numbers of pixels."""
    if suffix == ".webm":
        across, down = _count_pixels(width * aspect, height)
        unit = b""
    else:
        shape = (aspect * width / height).limit_denominator(_MAX_SIDE)
        across, down = shape.as_integer_ratio()
        unit = _write(_UNIT, bytes([_SHAPE]))
    sides = ((_WIDTH, max(1, min(across, _MAX_INT))), (_HEIGHT, down))
    return b"".join(_write(kind, side.to_bytes(4, "big")) for kind, side in sides) + unit


def _count_pixels(width: Fraction, height: int) -> tuple[int, int]:
    """Return integers of that shape; of a small video some times as large, to be exact enough."""
    for times in range(1, 9):
        across = round(times * width)
        if abs(across - times * width) * 2 < TOLERANCE * times * width:
            break
    return across, times * height
