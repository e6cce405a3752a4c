"""Decode one image file: its size is checked first, and a damaged file is refused."""

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
from filmgate.media.options import check_frame_size
from filmgate.media.pixels.formats import find_planar_format
from filmgate.storage.file_kind import check_input_file

_PNG = b"\x89PNG\r\n\x1a\n"
# Chunks that samples and colours need; texts and profiles may unpack to any size.
_CHUNKS = frozenset(b"IHDR PLTE tRNS IDAT IEND cICP sRGB gAMA cHRM".split())

# Formats with alpha to which files without any are decoded; JPEGs of CMYK are made RGB by FFmpeg.
_OPAQUE = MappingProxyType({"pal8": "gbrp", "argb": "gbrp", "gbrap": "gbrp",
                            "yuva444p": "yuv444p"})  # fmt: skip
# Tags about the layout of samples in a TIFF and the meaning of colours.
_TAGS = frozenset((254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317,
                   320, 322, 323, 324, 325, 347, 529, 530, 532))  # fmt: skip
_MAX_PAGES = 1000  # of a TIFF that are looked at
# EXIF's orientations as display matrices: x' = a x + c y, y' = b x + d y.
_DISPLAY_MATRICES = MappingProxyType(
    {
        orientation: (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
        for orientation, a, b, c, d in (
            (2, -1, 0, 0, 1), (3, -1, 0, 0, -1), (4, 1, 0, 0, -1), (5, 0, 1, 1, 0),
            (6, 0, 1, -1, 0), (7, 0, -1, -1, 0), (8, 0, -1, 1, 0),
        )
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Header:
    """What a file's header says; `data` is what the decoder gets."""

    codec: str
    width: int
    height: int
    opaque: bool
    data: bytes
    orientation: int = 1  # EXIF's


def decode_image(path: Path, max_pixels: int) -> tuple[VideoFrame, tuple[int, ...] | None]:
    """Decode a PNG, JPEG, WebP or TIFF; return a planar frame and the display matrix of its EXIF.

    The size is read first, so a decompression bomb is refused before it unpacks. Raises BadInput,
    Unsupported.
    """
    header = _read_header(path, _read_file(path, max_pixels))
    check_frame_size(path, header.width, header.height, max_pixels)
    context = CodecContext.create(header.codec, "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_count = 1
    context.options = {
        "err_detect": "crccheck+bitstream+buffer+explode",
        "max_pixels": str(max_pixels),
    }
    try:
        frames = context.decode(Packet(header.data)) + context.decode(None)
    except av.FFmpegError as error:
        reason = error.strerror or type(error).__name__
        raise BadInput(f"{path} is damaged: FFmpeg said '{reason}'; get an intact copy") from error
    if len(frames) != 1 or frames[0].is_corrupt:
        raise BadInput(f"{path} is damaged: it can't be decoded completely; get an intact copy")
    name = frames[0].format.name
    # no planar format is grey with alpha; a palette and WebP have alpha even where it is unused
    grey_alpha = {"ya8": "gbrap", "ya16be": "gbrap16le", "ya16le": "gbrap16le"}
    pixels = grey_alpha.get(name) or find_planar_format(name)
    if header.opaque and name in _OPAQUE:
        pixels = _OPAQUE[name]
    same = name.replace("yuvj", "yuv") == pixels
    matrix = _DISPLAY_MATRICES.get(header.orientation)
    return frames[0] if same else frames[0].reformat(format=pixels), matrix


def _read_file(path: Path, max_pixels: int) -> bytes:
    check_input_file(path, "an image")
    try:
        size = path.stat().st_size
        if size > 8 * max_pixels + (1 << 24):  # 16 bits, four channels, and a profile
            raise Unsupported(
                f"{path} has {size} bytes, more than an image of {max_pixels} pixels can need: "
                "raise --max-pixels if you trust it"
            )
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} can't be read: {error.strerror}") from error


def _read_header(path: Path, data: bytes) -> _Header:
    try:
        if data.startswith(_PNG):
            return _read_png(data)
        if data.startswith(b"\xff\xd8"):
            return _read_jpeg(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _read_webp(data)
        if data[:4] in (b"II*\0", b"MM\0*"):
            return _read_tiff(data)
    except (struct.error, IndexError, StopIteration) as error:
        raise BadInput(
            f"{path} is truncated: it has {len(data)} bytes; get an intact copy"
        ) from error
    except ValueError as error:
        joined = "" if str(error).endswith(" or") else ";"  # it names another way
        raise BadInput(
            f"{path} is damaged or unsupported: {error}{joined} convert it to PNG"
        ) from error
    found = f"it starts with {data[:8]!r}" if data else "it is empty"
    raise BadInput(f"{path} is no supported image: {found}, wanted PNG, JPEG, WebP or TIFF; "
                   "convert it to PNG, or pass another")  # fmt: skip


def _read_png(data: bytes) -> _Header:
    """Follow the chunks (PNG 3rd edition, 5.3) and check each one's checksum."""
    kept, at, transparent, orientation = [_PNG], len(_PNG), False, 1
    width, height = struct.unpack(">II", data[16:24])
    while True:
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        chunk = data[at : at + length + 12]
        if zlib.crc32(chunk[4:-4]) != struct.unpack(">I", chunk[-4:])[0]:
            raise ValueError(f"the chunk at byte {at} has a wrong checksum")
        if kind == b"acTL" and int.from_bytes(chunk[8:12], "big") > 1:
            raise ValueError("it is an animated PNG: pass it by itself, as a video, or")
        if kind in _CHUNKS:
            kept.append(chunk)
        transparent = transparent or kind == b"tRNS"
        if kind == b"eXIf":
            orientation = _read_orientation(chunk[8:-4])
        if kind == b"IEND":
            return _Header("png", width, height, not transparent, b"".join(kept), orientation)
        at += length + 12


def _read_jpeg(data: bytes) -> _Header:
    """Follow the segments up to the first scan (ITU-T T.81, B.1)."""
    at, size, orientation = 2, (0, 0), 1
    while True:
        if data[at] != 0xFF:
            raise ValueError(f"no segment starts at byte {at}")
        kind = data[at + 1]
        if kind == 0xFF:  # padding
            at += 1
            continue
        (length,) = struct.unpack(">H", data[at + 2 : at + 4])
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            size = (width, height)
        if kind == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            orientation = _read_orientation(data[at + 10 : at + 2 + length])
        if kind == 0xDA:
            break
        at += 2 + length
    if data.find(b"\xff\xd9", at) < 0:
        raise IndexError
    return _Header("mjpeg", *size, True, data, orientation)


def _read_webp(data: bytes) -> _Header:
    """Read the first image chunk, or the canvas and its properties (RFC 9649, 2.5 to 2.7)."""
    if struct.unpack("<I", data[4:8])[0] + 8 > len(data):
        raise IndexError
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X":
        if body[0] & 2:
            raise ValueError("it is an animated WebP: pass it by itself, as a video, or")
        width, height = (int.from_bytes(body[n : n + 3], "little") + 1 for n in (4, 7))
        at, orientation = 12, 1
        while at + 8 <= len(data):
            name, length = struct.unpack("<4sI", data[at : at + 8])
            if name == b"EXIF":
                orientation = _read_orientation(
                    data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0")
                )
            at += 8 + length + length % 2
        return _Header("webp", width, height, not body[0] & 16, data, orientation)
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", body[1:5])
        alpha = bits >> 28 & 1
        return _Header("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, not alpha, data)
    width, height = struct.unpack("<HH", body[6:10])
    return _Header("webp", width & 0x3FFF, height & 0x3FFF, True, data)


def _read_tiff(data: bytes) -> _Header:
    """Read the first directory (TIFF 6.0, section 2), without the tags that FFmpeg rejects."""
    at = _find_directory(data)
    entries = _read_directory(data, at)
    tags = {entry.tag: entry.value for entry in entries}
    if tags.get(339, 1) != 1:
        raise ValueError(f"its samples are of kind {tags[339]}, wanted unsigned integers")
    if pages := _count_other_pages(data):
        raise ValueError(f"it has {pages + 1} pages, wanted one: save each as a file, or")
    kept = [entry.data for entry in entries if entry.tag in _TAGS]
    order = "<" if data.startswith(b"II") else ">"
    directory = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)
    file = data[:at] + directory + data[at + len(directory) :]
    return _Header("tiff", tags.get(256, 0), tags.get(257, 0), True, file, tags.get(274, 1))


def _count_other_pages(data: bytes) -> int:
    """Return the number of a TIFF's further images, without thumbnails and masks."""
    order = "<" if data.startswith(b"II") else ">"
    count, at, seen = 0, _find_directory(data), set[int]()
    while at not in seen and len(seen) < _MAX_PAGES:
        seen.add(at)
        tags = {entry.tag: entry.value for entry in _read_directory(data, at)}
        is_page = not tags.get(254, 0) & 5 and tags.get(255, 1) != 2
        count += is_page and len(seen) > 1
        end = at + 2 + 12 * struct.unpack(f"{order}H", data[at : at + 2])[0]
        following = data[end : end + 4]  # some programs omit it
        (at,) = struct.unpack(f"{order}I", following) if len(following) == 4 else (0,)
        if at == 0 or at >= len(data):
            break
    return count


class _Entry(NamedTuple):
    """An entry of a TIFF's directory and the first of its values."""

    tag: int
    value: int
    data: bytes


def _find_directory(data: bytes) -> int:
    """Return the offset of a TIFF's first directory."""
    return int(struct.unpack("<I" if data.startswith(b"II") else ">I", data[4:8])[0])


def _read_directory(data: bytes, at: int) -> list[_Entry]:
    """Return the entries of a TIFF's directory; `value` is set for short and long numbers."""
    order = "<" if data.startswith(b"II") else ">"
    (count,) = struct.unpack(f"{order}H", data[at : at + 2])
    entries = []
    for start in range(at + 2, at + 2 + 12 * count, 12):
        entry = data[start : start + 12]
        tag, kind, length, offset = struct.unpack(f"{order}HHII", entry)
        short = kind == 3
        where = offset if length > (2 if short else 1) else start + 8
        held = data[where : where + (2 if short else 4)]
        value = struct.unpack(f"{order}{'H' if short else 'I'}", held)[0] if kind in (3, 4) else 0
        entries.append(_Entry(tag, value, entry))
    return entries


def _read_orientation(exif: bytes) -> int:
    """Return EXIF's orientation; 1 if the EXIF is broken, which does not affect the image."""
    try:
        entries = _read_directory(exif, _find_directory(exif))
        return next((entry.value for entry in entries if entry.tag == 274), 1)
    except struct.error:
        return 1
