"""Check that a container's structure is complete, where FFmpeg skips damage silently."""

import mmap
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from filmgate.media.containers.animated_png import PNG, find_png_damage
from filmgate.media.containers.detection import BARE_STREAMS, HEAD_BYTES, detect_format
from filmgate.media.containers.ebml import CLUSTER, HEAD, SEGMENT, read_element
from filmgate.media.containers.element_budget import ElementBudget, TooManyElements
from filmgate.media.containers.mp4_tables import find_table_damage
from filmgate.media.containers.old_structures import STRUCTURES
from filmgate.media.containers.transport_stream import find_ts_damage

_INFO, _SCALE, _TIME = 0x1549A966, 0x2AD7B1, 0xE7
# Elements that a segment and a cluster may contain (RFC 9559, 5.1).
_IN_SEGMENT = frozenset(
    (0x114D9B74, _INFO, 0x1654AE6B, CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367)
)
_IN_CLUSTER = frozenset((0xA3, 0xA0, _TIME, 0xA7, 0xAB, 0x5854, 0xAF))
_AVI_CHUNKS = frozenset((b"dc", b"db", b"wb", b"tx", b"pc", b"sb"))  # of a stream
_NO_FRAMES = _AVI_CHUNKS - {b"dc", b"db"}
_ANYWHERE = frozenset((0xEC, 0xBF))  # padding, checksum


_Check: TypeAlias = "Callable[[mmap.mmap, ElementBudget], str | Integrity]"


@dataclass(frozen=True, slots=True)
class Integrity:
    """What the structure of a container says: `damage` is certain, a `doubt` is not.

    `damage` is a text that follows "it is"; both are empty if there is nothing to say.
    """

    damage: str = ""
    doubt: str = ""

    @property
    def notice(self) -> str:
        """The doubt as a sentence about the video."""
        return self.doubt and f"the video may be truncated or damaged: {self.doubt}"


def find_damage(path: Path) -> str:
    """Return what is wrong with the structure of a container; empty if nothing is."""
    return check_structure(path).damage


def check_structure(path: Path) -> Integrity:
    """Follow the structure of a container to its end, for a second or two at most."""
    with open(path, "rb") as file:
        if not file.read(1):
            return Integrity("empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            check = _choose_check(path, data)
            try:
                found = check(data, ElementBudget())
            except TooManyElements:
                return Integrity(doubt="it has too many parts to check all")
    return found if isinstance(found, Integrity) else Integrity(found)


def _choose_check(path: Path, data: mmap.mmap) -> _Check:
    format = detect_format(path, data[:HEAD_BYTES])
    if structure := STRUCTURES.get(format):
        return lambda data, budget: Integrity(*structure(data, budget))
    if format == "obu":
        return _check_obu
    if format in BARE_STREAMS:
        return lambda data, budget: ""  # nothing marks its end
    if int.from_bytes(data[:4], "big") == HEAD:
        return _check_matroska
    if data[:4] == b"nut/":
        return lambda data, budget: ""  # finding its end would take decoding
    if data[: len(PNG)] == PNG:
        return lambda data, budget: find_png_damage(data)
    starts: tuple[tuple[bytes, _Check], ...] = (
        (b"RIFF", _check_riff), (b"GIF8", _check_gif), (b"YUV4", _check_y4m),
    )  # fmt: skip
    for start, check in starts:
        if data[:4] == start:
            return check
    if data[:1] == b"G" or data[4:5] == b"G":
        return lambda data, budget: Integrity(*find_ts_damage(data, budget))
    return _check_mp4


def _check_mp4(data: mmap.mmap, budget: ElementBudget) -> str:
    return _check_boxes(data, budget) or find_table_damage(data, budget)


def _describe_missing(count: int) -> str:
    return f"truncated: at least {count} byte{'s' if count > 1 else ''} missing"


def _check_boxes(data: mmap.mmap, budget: ElementBudget) -> str:
    """Follow the boxes of an mp4 or mov (ISO/IEC 14496-12, 4.2)."""
    at, fragmented, size = 0, False, len(data)
    while at + 8 <= size:
        budget.spend()
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


def _check_matroska(data: mmap.mmap, budget: ElementBudget) -> str:
    """Follow the elements of a Matroska segment and of its clusters (RFC 8794).

    Of a video with very many, only the clusters, as far as their lengths are known.
    """
    try:
        return _follow_segment(data, budget, into_clusters=True)
    except TooManyElements:
        return _follow_segment(data, ElementBudget(), into_clusters=False)


def _follow_segment(data: mmap.mmap, budget: ElementBudget, into_clusters: bool) -> str:
    size = len(data)
    at, length = read_element(data, 0)[1:]
    at += length or 0
    kind, at, length = read_element(data, at)
    if kind != SEGMENT:
        return f"damaged: no segment starts at byte {at}"
    end = size if length is None else at + length
    if end > size:
        return _describe_missing(end - size)
    tick, time = 1e-6, 0.0
    inside = size + 1  # end of the current cluster; size + 1: in none
    while at < end:
        budget.spend()
        start = at
        if start >= inside:
            inside = size + 1
        kind, at, length = read_element(data, start)
        if kind == CLUSTER and (into_clusters or length is None):
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
    length = info[at + 3] & 0x7F if at + 3 < len(info) else 0
    return int.from_bytes(info[at + 4 : at + 4 + length], "big") / 1e9


def _check_riff(data: mmap.mmap, budget: ElementBudget) -> str | Integrity:
    """Follow the chunks of an avi, and count its frames (Microsoft's AVI RIFF reference).

    Behind all frames there is an index, without which they are found too.
    """
    at, size, declared, chunks = 0, len(data), dict[bytes, int](), Counter[bytes]()
    frames_end = 0  # of the list of frames
    damage = ""  # which may be that of the index alone
    while at + 8 <= size:
        budget.spend()
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind in (b"RIFF", b"LIST"):
            if at + 8 + length > size:
                damage = _describe_missing(at + 8 + length - size)
                if kind == b"LIST" or at:
                    return damage
            if data[at + 8 : at + 12] == b"movi":
                frames_end = at + 8 + length
            at += 12  # into it: its chunks follow
            continue
        if kind == b"strh":
            number = b"%02d" % len(declared)
            length_at = at + 8 + 32
            video = data[at + 8 : at + 12] == b"vids"
            count = int.from_bytes(data[length_at : length_at + 4], "little")
            declared[number] = count if video else 0
        elif not all(32 <= byte < 127 for byte in kind):
            damage = f"damaged: no chunk starts at byte {at}"
            break
        elif at < frames_end and kind != b"JUNK" and kind[:2] != b"ix":
            chunks[kind] += 1
        at += 8 + length + length % 2
    if at > size + 1:
        damage = damage or _describe_missing(at - size)
    frames = _compare_frames(declared, chunks)
    if not damage:
        return frames
    if frames or not 0 < frames_end <= at or not chunks:
        return damage
    return Integrity(doubt="the index behind its frames is cut off or damaged")


def _compare_frames(declared: Mapping[bytes, int], chunks: Counter[bytes]) -> str | Integrity:
    """Compare the frames of each video that an avi declares with its chunks.

    Chunks of a stream that most often have a name of their own, such as 00iv, are its frames.
    """
    known = {number + kind for number in declared for kind in _AVI_CHUNKS}
    for number, count in declared.items():
        own = Counter({kind: n for kind, n in chunks.items() if kind[:2] == number})
        usual = own.most_common(1)[0][0] if own else b""
        known.add(usual)
        frames = {number + b"dc", number + b"db", *({usual} if usual[2:] not in _NO_FRAMES else ())}
        found = sum(own[kind] for kind in frames)
        if found < count:
            text = f"its header says {count} frames and it has {found}"
            strange = any(kind not in known for kind in chunks if kind[:2] not in declared
                          or kind[:2] == number)  # fmt: skip
            return f"damaged: {text}" if strange else Integrity(doubt=text)
    return ""


def _check_gif(data: mmap.mmap, budget: ElementBudget) -> str | Integrity:
    """Follow the blocks of a gif to its trailer (GIF89a, appendix B); many programs write none."""
    size, at, kind = len(data), 13, 0

    def table_bytes(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    at += table_bytes(data[10]) if size > 10 else 0
    while at < size:
        budget.spend()
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
            budget.spend()
            at += 1 + data[at]
        at += 1
    if at == size and kind == 0x2C:  # an image is complete
        return Integrity(doubt="it has no trailer")
    return _describe_missing(at - size + 1)


def _check_y4m(data: mmap.mmap, budget: ElementBudget) -> str:
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
        budget.spend()
        if data[at : at + 5] != b"FRAME":
            return f"damaged: no frame starts at byte {at}"
        end = data.find(b"\n", at, at + 300) + 1
        at = (end or len(data) + 1) + size
    return _describe_missing(at - len(data)) if at > len(data) else ""


def _check_obu(data: mmap.mmap, budget: ElementBudget) -> str:
    """Follow the units of a bare AV1; of one with very many, none marks its end either."""
    try:
        return _follow_units(data, budget)
    except TooManyElements:
        return ""


def _follow_units(data: mmap.mmap, budget: ElementBudget) -> str:
    """Follow the units of a bare AV1 by their sizes (AV1, 5.3); one without a size ends it."""
    at, size = 0, len(data)
    while at < size:
        budget.spend()
        start, header = at, data[at]
        if header & 0x80:
            return f"damaged: no unit starts at byte {start}"
        if not header & 2:
            return ""
        at += 2 if header & 4 else 1
        length = shift = 0
        while at < size and shift < 56:  # of 7 bits each
            length |= (data[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if not data[at - 1] & 0x80:
                break
        else:
            return _describe_missing(1)
        at += length
    return _describe_missing(at - size) if at > size else ""
