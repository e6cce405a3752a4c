"""Tell containers and bare streams by their first bytes, whatever their names."""

from __future__ import annotations

import mmap
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from filmgate.media.containers.animated_png import PNG, is_animated_png
from filmgate.media.containers.animated_webp import WEBP, is_webp_animation

# FFmpeg's demuxers, and WebP, with their common names. Playlists, image sequences and the like are
# missing on purpose: they would let an untrusted file open other files.
DEMUXERS: Mapping[str, str] = MappingProxyType(
    {
        "mov": "mp4, mov", "matroska": "mkv, webm", "avi": "avi", "mpegts": "ts",
        "mpeg": "vob, mpg", "asf": "wmv", "flv": "flv", "ogg": "ogv", "mxf": "mxf", "dv": "dv",
        "rm": "rm", "gxf": "gxf", "ivf": "ivf", "gif": "gif", "yuv4mpegpipe": "y4m", "nut": "nut",
        "apng": "animated png", WEBP: "animated webp", "h264": "bare h264", "hevc": "bare hevc",
        "mpegvideo": "bare mpeg video", "mjpeg": "bare mjpeg", "m4v": "bare mpeg-4 video",
        "h261": "bare h261", "h263": "bare h263", "obu": "bare av1", "dirac": "bare dirac",
        "dnxhd": "bare dnxhd",
    }
)  # fmt: skip
# Those of files that hold nothing but audio.
AUDIO_DEMUXERS: Mapping[str, str] = MappingProxyType(
    {"wav": "wav", "flac": "flac", "mp3": "mp3", "aac": "aac", "aiff": "aiff"}
)
# Without a container.
BARE_STREAMS = frozenset({"h264", "hevc", "mpegvideo", "mjpeg", "m4v", "h261", "h263", "obu",
                          "dirac", "dnxhd"})  # fmt: skip
HEAD_BYTES = 600  # of a file that are looked at

# Of files with boxes that hold audio or a still image.
_BRANDS_WITHOUT_VIDEO = (b"M4A ", b"M4B ", b"heic", b"heix", b"mif1", b"avif", b"crx ")

_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"moof")
# First bytes, and the demuxer of files that start with them.
STARTS: Mapping[bytes, str] = MappingProxyType(
    {
        b"\x1a\x45\xdf\xa3": "matroska", b"GIF87a": "gif", b"GIF89a": "gif",
        b"YUV4MPEG2 ": "yuv4mpegpipe", b"nut/multimedia container\0": "nut",
        bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"): "asf", b"FLV\x01": "flv",
        b"OggS\0": "ogg", bytes.fromhex("060e2b34020501010d0102"): "mxf", b".RMF": "rm",
        b"DKIF\0\0": "ivf", b"BBCD": "dirac", b"\0\0\x02\x80": "dnxhd",
    }
)  # fmt: skip
_RIFF_KINDS: Mapping[bytes, str] = MappingProxyType({b"AVI ": "avi", b"CDXA": "mpeg"})
_GXF_PACKET = re.compile(rb"\0\0\0\0\x01\xbc.{4}\0\0\0\0\xe1\xe2", re.DOTALL)  # SMPTE 360M
_DV_BLOCK = re.compile(rb"\x1f\x07\0[\x3f\xbf]", re.DOTALL)  # the header of the first sequence
_ADTS = re.compile(rb"\xff[\xf0\xf1\xf8\xf9]")  # ISO/IEC 13818-7, 6.2
_MPEG_AUDIO = re.compile(rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]")  # layers 1 to 3
# The first headers of bare streams: visual objects and layers of MPEG-4 (ISO/IEC 14496-2, 6.2), a
# frame of H.263 (ITU-T H.263, 5.1), a frame of H.261 and its first group of blocks (4.2), and
# a temporal delimiter of AV1 before a sequence header (AV1, 5.3, 5.5 and 6.2).
_BARE_HEADERS: Mapping[str, re.Pattern[bytes]] = MappingProxyType(
    {
        "m4v": re.compile(rb"\0\0\x01(\xb0.\0\0\x01|[\0-\x1f]\0\0\x01[ -/]| )", re.DOTALL),
        "h263": re.compile(
            rb"\0\0[\x80-\x83][" + bytes(range(2, 256, 4)) + rb"][\x04-\x17\x1c-\x1f]"
        ),
        "h261": re.compile(rb"\0\x01[\0-\x0f].\0\x01[\x10-\xcf]", re.DOTALL),
        "obu": re.compile(rb"\x12\0(\x0a|\x0e.)[\x05-\x7f][\0-\x5f]", re.DOTALL),
    }
)
_START_CODE = re.compile(rb"\0{2,8}\x01(.)(.)", re.DOTALL)
# Bytes behind a start code: of MPEG systems and video (ISO/IEC 13818-1, 2.4.4 and 13818-2, 6.2.1).
_PACK, _FIRST_PES, _SEQUENCE, _GROUP = 0xBA, 0xBB, 0xB3, 0xB8
_HEVC_UNITS = frozenset({32, 33, 35, 39})  # parameter sets, delimiter, SEI (ITU-T H.265, table 7-1)
_H264_UNITS = frozenset({1, 5, 6, 7, 8, 9})  # slices, SEI, parameter sets, delimiter (H.264, 7-1)
_NEXT_JPEG = re.compile(rb"\xff\xd9\0*\xff\xd8\xff")
_MAX_JPEG_BYTES = 64_000_000


def detect_format(path: Path, head: bytes) -> str:
    """Return the demuxer for a regular file that starts with `head`; empty if there is none."""
    for start, name in STARTS.items():
        if head.startswith(start):
            return name
    if head[4:8] in _BOXES:
        return "mov"
    if head.startswith(PNG) and is_animated_png(path):
        return "apng"
    if head[:4] == b"RIFF":
        return WEBP if is_webp_animation(head) else _RIFF_KINDS.get(head[8:12], "")
    # packets of 188 bytes, or of 192 with a time before each
    if any(
        len(head) > at and set(head[at:564:size]) == {0x47} for at, size in ((0, 188), (4, 192))
    ):
        return "mpegts"
    if _DV_BLOCK.match(head):
        return "dv"
    if _GXF_PACKET.match(head):
        return "gxf"
    if head.startswith(b"\xff\xd8\xff"):
        return "mjpeg" if _has_second_jpeg(path) else ""
    bare = (name for name, header in _BARE_HEADERS.items() if header.match(head))
    return next(bare, "") or _detect_start_code(head)


def is_video(path: Path, head: bytes) -> bool:
    """Return whether a regular file that starts with `head` has moving images."""
    format = detect_format(path, head)
    return bool(format) and not (format == "mov" and head[8:12] in _BRANDS_WITHOUT_VIDEO)


def is_video_with_image_name(path: Path) -> bool:
    """Return whether a file of an image's name is a video, or an image that moves.

    A JPEG may hold a second one, such as a preview.
    """
    with suppress(OSError), open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
        return not head.startswith(b"\xff\xd8\xff") and is_video(path, head)
    return False


def detect_audio_format(head: bytes) -> str:
    """Return the demuxer for a file of audio alone that starts with `head`; empty if it is none."""
    kinds = {(b"RIFF", b"WAVE"): "wav", (b"RF64", b"WAVE"): "wav", (b"FORM", b"AIFF"): "aiff",
             (b"FORM", b"AIFC"): "aiff"}  # fmt: skip
    if name := kinds.get((head[:4], head[8:12])):
        return name
    if head.startswith(b"fLaC"):
        return "flac"
    if _ADTS.match(head):
        return "aac"
    return "mp3" if head.startswith(b"ID3") or _MPEG_AUDIO.match(head) else ""


def _detect_start_code(head: bytes) -> str:
    """Return the demuxer of an MPEG system stream or of a bare stream with start codes."""
    found = _START_CODE.match(head)
    if found is None:
        return ""
    first, second = found[1][0], found[2][0]
    if first in (_SEQUENCE, _GROUP):
        return "mpegvideo"
    if first == _PACK or first >= _FIRST_PES:
        return "mpeg"
    if first & 0x80:
        return ""
    if first >> 1 in _HEVC_UNITS and not first & 1 and second & 7 and not second >> 3:
        return "hevc"
    referenced, kind = first >> 5, first & 0x1F
    needed = kind in (5, 7, 8)  # always referenced, and of the others only slices may be
    return "h264" if kind in _H264_UNITS and (kind == 1 or bool(referenced) == needed) else ""


def _has_second_jpeg(path: Path) -> bool:
    """Return whether another image follows the first one of a JPEG file."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _NEXT_JPEG.search(data, 0, _MAX_JPEG_BYTES) is not None
