"""Check that a container's structure is complete, where FFmpeg skips damage silently."""

import mmap
from pathlib import Path

from filmgate.media.containers.mp4_tables import find_table_damage

_HEAD, _SEGMENT, _CLUSTER, _INFO = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1549A966
_SCALE, _TIME = 0x2AD7B1, 0xE7
# Elements that a segment and a cluster may contain (RFC 9559, 5.1).
_IN_SEGMENT = frozenset(
    (0x114D9B74, _INFO, 0x1654AE6B, _CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367)
)
_IN_CLUSTER = frozenset((0xA3, 0xA0, _TIME, 0xA7, 0xAB, 0x5854, 0xAF))
_ANYWHERE = frozenset((0xEC, 0xBF))  # padding, checksum


def find_damage(path: Path) -> str:
    """Return what is wrong with the structure of a container; empty if nothing is."""
    with open(path, "rb") as file:
        if not file.read(1):
            return "empty"
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if int.from_bytes(data[:4], "big") == _HEAD:
                return _check_matroska(data)
            if data[:4] == b"RIFF":
                return _check_riff(data)
            if data[:4] == b"GIF8":
                return _check_gif(data)
            if data[:4] == b"YUV4":
                return _check_y4m(data)
            if data[:1] == b"G" or data[4:5] == b"G":
                return _check_ts(data)
            if data[:4] == b"nut/":
                return ""  # finding its end would take decoding
            return _check_boxes(data) or find_table_damage(data)


def _describe_missing(count: int) -> str:
    return f"truncated: at least {count} byte{'s' if count > 1 else ''} missing"


def _check_boxes(data: mmap.mmap) -> str:
    """Follow the boxes of an mp4 or mov (ISO/IEC 14496-12, 4.2)."""
    at, fragmented, size = 0, False, len(data)
    while at + 8 <= size:
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if length == 0 and kind == b"mdat":  # up to the end
            return ""
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        if length < 8 or not kind.isalnum():
            # after a complete video garbage is harmless, between fragments it hides the rest
            return f"damaged: no box starts at byte {at}" if fragmented else ""
        fragmented = fragmented or kind == b"moof"
        at += length
    return _describe_missing(at - size) if at > size else ""


def _check_matroska(data: mmap.mmap) -> str:
    """Follow the elements of a Matroska segment and of its clusters (RFC 8794)."""
    size = len(data)
    at, length = _read_element(data, 0)[1:]
    at += length or 0
    kind, at, length = _read_element(data, at)
    if kind != _SEGMENT:
        return f"damaged: no segment starts at byte {at}"
    end = size if length is None else at + length
    if end > size:
        return _describe_missing(end - size)
    tick, time = 1e-6, 0.0
    inside = size + 1  # end of the current cluster; size + 1: in none
    while at < end:
        start = at
        if start >= inside:
            inside = size + 1
        kind, at, length = _read_element(data, start)
        if kind == _CLUSTER:
            inside = size if length is None else at + length
            continue
        in_cluster = inside <= size and kind in _IN_CLUSTER
        if length is None or not (in_cluster or kind in _IN_SEGMENT or kind in _ANYWHERE):
            return f"damaged: no element starts at byte {start}, near {time:.3f} s"
        if kind == _TIME:
            time = int.from_bytes(data[at : at + length], "big") * tick
        if kind == _INFO:
            tick = _read_tick(data[at : at + length])
        at += length
    return _describe_missing(at - size) if at > size else ""


def _read_tick(info: bytes) -> float:
    """Return the unit of cluster times in seconds."""
    at = info.find(_SCALE.to_bytes(3, "big"))
    if at < 0:
        return 0.001
    length = info[at + 3] & 0x7F
    return int.from_bytes(info[at + 4 : at + 4 + length], "big") / 1e9


def _read_element(data: mmap.mmap, at: int) -> tuple[int, int, int | None]:
    """Return (kind, start of its content, length) of the element at `at`; length None: unknown."""
    if at >= len(data) or not data[at]:
        return 0, at, None
    wide = 9 - data[at].bit_length()
    kind = int.from_bytes(data[at : at + wide], "big")
    at += wide
    if at >= len(data) or not data[at]:
        return 0, at, None
    wide = 9 - data[at].bit_length()
    unknown = (1 << 7 * wide) - 1
    length = int.from_bytes(data[at : at + wide], "big") & unknown
    return kind, at + wide, None if length == unknown else length


def _check_riff(data: mmap.mmap) -> str:
    """Follow the chunks of an avi, and count its frames (Microsoft's AVI RIFF reference)."""
    at, size, declared, counts = 0, len(data), dict[bytes, int](), dict[bytes, int]()
    while at + 8 <= size:
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind in (b"RIFF", b"LIST"):
            if at + 8 + length > size:
                return _describe_missing(at + 8 + length - size)
            at += 12  # into it: its chunks follow
            continue
        if kind == b"strh":
            number = b"%02d" % len(declared)
            length_at = at + 8 + 32
            video = data[at + 8 : at + 12] == b"vids"
            count = int.from_bytes(data[length_at : length_at + 4], "little")
            declared[number] = count if video else 0
        elif kind[2:] in (b"dc", b"db"):
            counts[kind[:2]] = counts.get(kind[:2], 0) + 1
        elif not all(32 <= byte < 127 for byte in kind):
            return f"damaged: no chunk starts at byte {at}"
        at += 8 + length + length % 2
    if at > size + 1:
        return _describe_missing(at - size)
    for number, count in declared.items():
        if counts.get(number, 0) < count:
            return f"damaged: its header says {count} frames and it has {counts.get(number, 0)}"
    return ""


def _check_gif(data: mmap.mmap) -> str:
    """Follow the blocks of a gif to its trailer (GIF89a, appendix B)."""
    size, at = len(data), 13

    def table_bytes(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    at += table_bytes(data[10]) if size > 10 else 0
    while at < size:
        kind, start = data[at], at
        if kind == 0x3B:
            return ""
        if kind == 0x21:
            at += 2
        elif kind == 0x2C and at + 9 < size:
            at += 11 + table_bytes(data[at + 9])
        elif kind != 0x2C:
            return f"damaged: no block starts at byte {start}"
        else:
            return _describe_missing(1)
        while at < size and data[at]:
            at += 1 + data[at]
        at += 1
    return _describe_missing(at - size + 1)


def _check_y4m(data: mmap.mmap) -> str:
    """Follow the frames of a y4m, all of one size (yuv4mpeg(5))."""
    at = data.find(b"\n") + 1
    first = data.find(b"\n", at, at + 300) + 1
    if not at or not first:
        return _describe_missing(1)
    fields = {part[:1]: part[1:].decode("latin-1") for part in data[:at].split()[1:]}
    try:
        width, height = int(fields[b"W"]), int(fields[b"H"])
    except (KeyError, ValueError):
        return "damaged: its header gives no size"
    chroma = fields.get(b"C", "420")
    across, down = {"420": (2, 2), "422": (2, 1), "444": (1, 1), "411": (4, 1)}.get(
        chroma[:3], (0, 0)
    )
    if not across and not chroma.startswith("mono"):
        return ""  # unknown here: FFmpeg decides
    size = width * height
    if across:
        size += 2 * -(-width // across) * -(-height // down)
    if "p1" in chroma or "mono1" in chroma:  # 9 to 16 bits
        size *= 2
    if chroma == "444alpha":
        size += width * height
    while at < len(data):
        if data[at : at + 5] != b"FRAME":
            return f"damaged: no frame starts at byte {at}"
        end = data.find(b"\n", at, at + 300) + 1
        at = (end or len(data) + 1) + size
    return _describe_missing(at - len(data)) if at > len(data) else ""


def _check_ts(data: mmap.mmap) -> str:
    """Look for the first byte of every packet of a ts (ISO/IEC 13818-1, 2.4.3)."""
    size, first = (188, 0) if data[:1] == b"G" else (192, 4)
    if over := len(data) % size:
        return _describe_missing(size - over)
    step = size << 16
    for at in range(0, len(data), step):
        starts = data[at + first : at + step : size]
        good = len(starts) - len(starts.lstrip(b"G"))
        if good < len(starts):
            return f"damaged: no packet starts at byte {at + good * size}"
    return ""
