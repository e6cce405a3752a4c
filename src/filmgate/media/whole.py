"""Whether a file's outer structure is whole: FFmpeg passes over what is broken or missing in it."""

import mmap
from pathlib import Path

_HEAD, _SEGMENT, _CLUSTER, _INFO = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1549A966
_SCALE, _TIME = 0x2AD7B1, 0xE7
# What may stand in a segment and in a cluster (RFC 9559, 5.1).
_IN_SEGMENT = frozenset(
    (0x114D9B74, _INFO, 0x1654AE6B, _CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367)
)
_IN_CLUSTER = frozenset((0xA3, 0xA0, _TIME, 0xA7, 0xAB, 0x5854, 0xAF))
_ANYWHERE = frozenset((0xEC, 0xBF))  # padding, checksum


def flaw(path: Path) -> str:
    """What is wrong with the outer structure of an mp4, mov, mkv or webm; empty if it is whole."""
    with open(path, "rb") as file:
        if not file.read(1):
            return "empty"
        file.seek(0)
        if (
            file.read(4)[:4] in (b"RIFF", b"GIF8", b"YUV4", b"nut/")
            or file.seek(0)
            or file.read(1) == b"G"
        ):
            return ""
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            matroska = int.from_bytes(data[:4], "big") == _HEAD
            return _matroska_flaw(data) if matroska else _boxes_flaw(data)


def _missing(count: int) -> str:
    return f"cut short: at least {count} byte{'s' if count > 1 else ''} of it are missing"


def _boxes_flaw(data: mmap.mmap) -> str:
    """Follows the boxes of an mp4 or mov (ISO/IEC 14496-12, 4.2)."""
    at, fragmented, size = 0, False, len(data)
    while at + 8 <= size:
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if length == 0 and kind == b"mdat":  # up to the end
            return ""
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        if length < 8 or not kind.isalnum():
            # behind a whole film rubbish does no harm, between fragments it hides the rest
            return f"damaged: no box begins at byte {at}" if fragmented else ""
        fragmented = fragmented or kind == b"moof"
        at += length
    return _missing(at - size) if at > size else ""


def _matroska_flaw(data: mmap.mmap) -> str:
    """Follows the elements of a Matroska segment and of its clusters (RFC 8794)."""
    size = len(data)
    at, length = _element(data, 0)[1:]
    at += length or 0
    kind, at, length = _element(data, at)
    if kind != _SEGMENT:
        return f"damaged: no segment begins at byte {at}"
    end = size if length is None else at + length
    if end > size:
        return _missing(end - size)
    tick, time = 1e-6, 0.0
    inside = size + 1  # where the cluster that is being followed ends; beyond all: in none
    while at < end:
        begin = at
        if begin >= inside:
            inside = size + 1
        kind, at, length = _element(data, begin)
        if kind == _CLUSTER:
            inside = size if length is None else at + length
            continue
        in_cluster = inside <= size and kind in _IN_CLUSTER
        if length is None or not (in_cluster or kind in _IN_SEGMENT or kind in _ANYWHERE):
            return f"damaged: no element begins at byte {begin}, near {time:.3f} s"
        if kind == _TIME:
            time = int.from_bytes(data[at : at + length], "big") * tick
        if kind == _INFO:
            tick = _tick(data[at : at + length])
        at += length
    return _missing(at - size) if at > size else ""


def _tick(info: bytes) -> float:
    """Seconds in a unit of cluster time."""
    found = info.find(_SCALE.to_bytes(3, "big"))
    if found < 0:
        return 0.001
    length = info[found + 3] & 0x7F
    return int.from_bytes(info[found + 4 : found + 4 + length], "big") / 1e9


def _element(data: mmap.mmap, at: int) -> tuple[int, int, int | None]:
    """(kind, where its content begins, its length) of what stands at `at`; length None: untold."""
    if at >= len(data) or not data[at]:
        return 0, at, None
    wide = 9 - data[at].bit_length()
    kind = int.from_bytes(data[at : at + wide], "big")
    at += wide
    if at >= len(data) or not data[at]:
        return 0, at, None
    wide = 9 - data[at].bit_length()
    every = (1 << 7 * wide) - 1
    length = int.from_bytes(data[at : at + wide], "big") & every
    return kind, at + wide, None if length == every else length
