"""One image file as a decoded picture: measured before it is decoded, and whole or refused."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import av
from av.codec.context import CodecContext
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from filmgate.errors import BadInput, Unsupported
from filmgate.media.pixels.formats import planar

_PNG = b"\x89PNG\r\n\x1a\n"
# What a picture needs, and what its colours mean. Texts and profiles may unpack to any size.
_CHUNKS = frozenset(b"IHDR PLTE tRNS IDAT IEND cICP sRGB gAMA cHRM".split())

# Tags that say how samples lie in a TIFF, and what colours they mean.
_TAGS = frozenset((254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317,
                   320, 322, 323, 324, 325, 347, 529, 530, 532))  # fmt: skip
# EXIF's orientations as display matrices: x' = a x + c y, y' = b x + d y.
_TURNS = MappingProxyType(
    {
        way: (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
        for way, a, b, c, d in (
            (2, -1, 0, 0, 1), (3, -1, 0, 0, -1), (4, 1, 0, 0, -1), (5, 0, 1, 1, 0),
            (6, 0, 1, -1, 0), (7, 0, -1, -1, 0), (8, 0, -1, 1, 0),
        )
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Head:
    """What a file says of itself; `data` is what the decoder gets."""

    codec: str
    width: int
    height: int
    opaque: bool
    data: bytes
    way_up: int = 1  # EXIF's orientation


def picture(path: Path, max_pixels: int) -> tuple[VideoFrame, tuple[int, ...] | None]:
    """The picture in a PNG, JPEG, WebP or TIFF file in a planar format, and its display matrix.

    It is measured first, so a bomb is refused before it unpacks. Raises BadInput, Unsupported.
    """
    head = _head(path, _bytes(path, max_pixels))
    if head.width * head.height > max_pixels or not head.width * head.height:
        raise Unsupported(
            f"{path} is {head.width}x{head.height}, and pictures of 1 to {max_pixels} pixels are "
            "read: raise --max-pixels if you trust it"
        )
    context = CodecContext.create(head.codec, "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_count = 1
    context.options = {
        "err_detect": "crccheck+bitstream+buffer+explode",
        "max_pixels": str(max_pixels),
    }
    try:
        frames = context.decode(Packet(head.data)) + context.decode(None)
    except av.FFmpegError as error:
        said = error.strerror or type(error).__name__
        raise BadInput(f"{path} is damaged: FFmpeg said '{said}'; get it anew") from error
    if len(frames) != 1 or frames[0].is_corrupt:
        raise BadInput(f"{path} is damaged: it can't be decoded whole; get it anew")
    name = frames[0].format.name
    # no planar format is grey with alpha; a palette and WebP have alpha even where they use none
    held = {"ya8": "gbrap", "ya16be": "gbrap16le", "ya16le": "gbrap16le"}.get(name) or planar(name)
    if head.opaque and name in ("pal8", "argb"):
        held = "gbrp"
    same = name.replace("yuvj", "yuv") == held
    turn = _TURNS.get(head.way_up)
    return frames[0] if same else frames[0].reformat(format=held), turn


def _bytes(path: Path, max_pixels: int) -> bytes:
    try:
        if not path.is_file():
            found = "no file" if path.exists() else "missing"
            raise BadInput(f"{path} is {found}, wanted an image: check the name")
        size = path.stat().st_size
        if size > 8 * max_pixels + (1 << 24):  # sixteen bits, four channels, and a profile
            raise Unsupported(
                f"{path} has {size} bytes, more than a picture of {max_pixels} pixels can need: "
                "raise --max-pixels if you trust it"
            )
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} can't be read: {error.strerror}") from error


def _head(path: Path, data: bytes) -> _Head:
    try:
        if data.startswith(_PNG):
            return _png(data)
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
        if data[:4] in (b"II*\0", b"MM\0*"):
            return _tiff(data)
    except (struct.error, IndexError, StopIteration) as error:
        raise BadInput(f"{path} is cut short: it has {len(data)} bytes; get it anew") from error
    except ValueError as error:
        raise BadInput(f"{path} is damaged: {error}; get it anew") from error
    raise BadInput(
        f"{path} is no image that can be read: it begins with {data[:8]!r}, wanted PNG, JPEG, WebP "
        "or TIFF"
    )


def _png(data: bytes) -> _Head:
    """Follows the chunks (PNG 3rd edition, 5.3) and checks each one's sum."""
    kept, at, clear, way_up = [_PNG], len(_PNG), False, 1
    width, height = struct.unpack(">II", data[16:24])
    while True:
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        chunk = data[at : at + length + 12]
        if zlib.crc32(chunk[4:-4]) != struct.unpack(">I", chunk[-4:])[0]:
            raise ValueError(f"the chunk at byte {at} has another checksum")
        if kind in _CHUNKS:
            kept.append(chunk)
        clear = clear or kind == b"tRNS"
        if kind == b"eXIf":
            way_up = _way_up(chunk[8:-4])
        if kind == b"IEND":
            return _Head("png", width, height, not clear, b"".join(kept), way_up)
        at += length + 12


def _jpeg(data: bytes) -> _Head:
    """Follows the segments up to the first scan (ITU-T T.81, B.1)."""
    at, size, way_up = 2, (0, 0), 1
    while True:
        if data[at] != 0xFF:
            raise ValueError(f"no segment begins at byte {at}")
        kind = data[at + 1]
        if kind == 0xFF:  # padding
            at += 1
            continue
        (length,) = struct.unpack(">H", data[at + 2 : at + 4])
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            size = (width, height)
        if kind == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            way_up = _way_up(data[at + 10 : at + 2 + length])
        if kind == 0xDA:
            break
        at += 2 + length
    if data.find(b"\xff\xd9", at) < 0:
        raise IndexError
    return _Head("mjpeg", *size, True, data, way_up)


def _webp(data: bytes) -> _Head:
    """The first picture chunk, or the canvas and what is said of it (RFC 9649, 2.5 to 2.7)."""
    if struct.unpack("<I", data[4:8])[0] + 8 > len(data):
        raise IndexError
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X":
        if body[0] & 2:
            raise ValueError("it moves, and only still WebP pictures are read")
        width, height = (int.from_bytes(body[n : n + 3], "little") + 1 for n in (4, 7))
        at, way_up = 12, 1
        while at + 8 <= len(data):
            name, length = struct.unpack("<4sI", data[at : at + 8])
            if name == b"EXIF":
                way_up = _way_up(data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0"))
            at += 8 + length + length % 2
        return _Head("webp", width, height, not body[0] & 16, data, way_up)
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", body[1:5])
        clear = bits >> 28 & 1
        return _Head("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, not clear, data)
    width, height = struct.unpack("<HH", body[6:10])
    return _Head("webp", width & 0x3FFF, height & 0x3FFF, True, data)


def _tiff(data: bytes) -> _Head:
    """The first directory (TIFF 6.0, section 2), rid of what FFmpeg takes for an error."""
    at, entries = _directory(data)
    said = {entry.tag: entry.value for entry in entries}
    if said.get(339, 1) != 1:
        raise ValueError(f"its samples are of kind {said[339]}, and only whole numbers are read")
    kept = [entry.data for entry in entries if entry.tag in _TAGS]
    order = "<" if data.startswith(b"II") else ">"
    told = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)
    whole = data[:at] + told + data[at + len(told) :]
    return _Head("tiff", said.get(256, 0), said.get(257, 0), True, whole, said.get(274, 1))


class _Entry(NamedTuple):
    """An entry of a TIFF's directory and the first of its values."""

    tag: int
    value: int
    data: bytes


def _directory(data: bytes) -> tuple[int, list[_Entry]]:
    """Where a TIFF's first directory lies, and its entries of short and long numbers."""
    order = "<" if data.startswith(b"II") else ">"
    (at,) = struct.unpack(f"{order}I", data[4:8])
    (count,) = struct.unpack(f"{order}H", data[at : at + 2])
    found = []
    for begin in range(at + 2, at + 2 + 12 * count, 12):
        entry = data[begin : begin + 12]
        tag, kind, length, place = struct.unpack(f"{order}HHII", entry)
        short = kind == 3
        where = place if length > (2 if short else 1) else begin + 8
        held = data[where : where + (2 if short else 4)]
        value = struct.unpack(f"{order}{'H' if short else 'I'}", held)[0] if kind in (3, 4) else 0
        found.append(_Entry(tag, value, entry))
    return at, found


def _way_up(exif: bytes) -> int:
    """The orientation that EXIF tells, 1 where it is broken: it is not the picture."""
    try:
        return next((entry.value for entry in _directory(exif)[1] if entry.tag == 274), 1)
    except struct.error:
        return 1
