"""Follow the parts of containers of old cameras, recorders and downloads to their end."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from types import MappingProxyType

from filmgate.media.containers.animated_webp import WEBP, find_webp_damage
from filmgate.media.containers.element_budget import ElementBudget

_TAG_KINDS = frozenset({8, 9, 15, 18})  # of an flv: audio, video, metadata
_KEY = b"\x06\x0e\x2b\x34"  # each key of an mxf starts with it (SMPTE 298M)
_FOOTER = _KEY + bytes.fromhex("020501010d01020101")  # of an mxf, then its kind
_PACK, _END = b"\0\0\1\xba", 0xB9  # of a program stream
_TAIL_BYTES = 1_000_000  # of a program stream that are followed
_FRAME_BYTES: Mapping[int, int] = MappingProxyType({0x3F: 120_000, 0xBF: 144_000})  # of dv
_RM_SLACK = 10  # bytes that FFmpeg counts too many in the last chunk
_GXF_END = 0xFB  # kind of the last packet


def find_flv_damage(data: mmap.mmap, budget: ElementBudget) -> tuple[str, str]:
    """Follow the tags of an flv (Adobe's specification 10.1, annex E)."""
    at = int.from_bytes(data[5:9], "big") + 4
    while at + 11 <= len(data):
        budget.spend()
        if data[at] & 0x1F not in _TAG_KINDS:
            return f"damaged: no tag starts at byte {at}", ""
        at += 11 + int.from_bytes(data[at + 1 : at + 4], "big")
        if at > len(data):
            return _describe_missing(at - len(data)), ""
        at += 4
    return "", ""


def find_asf_damage(data: mmap.mmap, budget: ElementBudget) -> tuple[str, str]:
    """Follow the objects of an asf (its specification, 2.1); a live one has no length."""
    at = 0
    while at + 24 <= len(data):
        budget.spend()
        length = int.from_bytes(data[at + 16 : at + 24], "little")
        if length < 24:
            return "", ""
        at += length
    return (_describe_missing(at - len(data)) if at > len(data) else ""), ""


def find_rm_damage(data: mmap.mmap, budget: ElementBudget) -> tuple[str, str]:
    """Follow the chunks of a RealMedia file; one without a length goes to the end."""
    at = 0
    while at + 10 <= len(data):
        budget.spend()
        length = int.from_bytes(data[at + 4 : at + 8], "big")
        if length < 10:
            return "", ""
        at += length
    over = at - len(data) - _RM_SLACK
    return (_describe_missing(over) if over > 0 else ""), ""


def find_mxf_damage(data: mmap.mmap, budget: ElementBudget) -> tuple[str, str]:
    """Follow keys and lengths of an mxf (SMPTE 377-1, 6.3) to its footer."""
    at, footer = 0, False
    while at + 17 <= len(data):
        budget.spend()
        if data[at : at + 4] != _KEY:
            return f"damaged: no key starts at byte {at}", ""
        footer = footer or (data[at : at + 13] == _FOOTER and data[at + 13] == 4)
        size = data[at + 16] & 0x7F if data[at + 16] & 0x80 else 0
        length = int.from_bytes(data[at + 17 : at + 17 + size], "big") if size else data[at + 16]
        at += 17 + size + length
    if at != len(data):
        return _describe_missing(max(1, at - len(data))), ""
    return "", "" if footer else "it has no footer"


def find_ogg_damage(data: mmap.mmap, budget: ElementBudget) -> tuple[str, str]:
    """Follow the pages of an ogg, each stream to its last one (RFC 3533, 6)."""
    at, open_streams = 0, set[bytes]()
    while at + 27 <= len(data):
        budget.spend()
        if data[at : at + 4] != b"OggS":
            return f"damaged: no page starts at byte {at}", ""
        stream, ended, count = data[at + 14 : at + 18], data[at + 5] & 4, data[at + 26]
        (open_streams.discard if ended else open_streams.add)(stream)
        at += 27 + count + sum(data[at + 27 : at + 27 + count])
    if at != len(data):
        return _describe_missing(max(1, at - len(data))), ""
    return "", "a stream has no last page" if open_streams else ""


def find_ivf_damage(data: mmap.mmap, budget: ElementBudget) -> tuple[str, str]:
    """Follow the frames of an ivf, each with its length."""
    at = max(32, int.from_bytes(data[6:8], "little"))
    while at + 12 <= len(data):
        budget.spend()
        at += 12 + int.from_bytes(data[at : at + 4], "little")
    return (_describe_missing(max(1, at - len(data))) if at != len(data) else ""), ""


def find_gxf_damage(data: mmap.mmap, budget: ElementBudget) -> tuple[str, str]:
    """Follow the packets of a gxf (SMPTE 360M, 6)."""
    at, kind = 0, 0
    while at + 16 <= len(data):
        budget.spend()
        kind, length = data[at + 5], int.from_bytes(data[at + 6 : at + 10], "big")
        if data[at : at + 5] != b"\0\0\0\0\1" or length < 16:
            return f"damaged: no packet starts at byte {at}", ""
        at += length
    if at != len(data):
        return _describe_missing(max(1, at - len(data))), ""
    return "", "" if kind == _GXF_END else "it has no last packet"


def find_dv_damage(data: mmap.mmap, budget: ElementBudget) -> tuple[str, str]:
    """Look whether the last frame of a dv is complete: all have one length (IEC 61834-2)."""
    size = _FRAME_BYTES.get(data[3], 1)
    over = len(data) % size
    return (_describe_missing(size - over) if over else ""), ""


def find_program_damage(data: mmap.mmap, budget: ElementBudget) -> tuple[str, str]:
    """Follow the last packs of an MPEG program stream (ISO/IEC 13818-1, 2.5)."""
    at = data.find(_PACK, max(0, len(data) - _TAIL_BYTES))
    if data[:4] == b"RIFF" or at < 0:  # a Video CD's sectors have headers of their own
        return "", ""
    while at + 14 <= len(data):
        budget.spend()
        kind = data[at + 3]
        if data[at : at + 3] != _PACK[:3] or kind == _END:
            return "", ""
        if kind != _PACK[3]:
            at += 6 + int.from_bytes(data[at + 4 : at + 6], "big")
        else:
            at += 14 + (data[at + 13] & 7) if data[at + 4] & 0xC0 == 0x40 else 12
    return (_describe_missing(at - len(data)) if at > len(data) else ""), ""


def _describe_missing(count: int) -> str:
    return f"truncated: at least {count} byte{'s' if count > 1 else ''} missing"


# Each returns certain damage, and a doubt. Bare streams say nothing about their end.
STRUCTURES: Mapping[str, Callable[[mmap.mmap, ElementBudget], tuple[str, str]]] = MappingProxyType(
    {
        "flv": find_flv_damage, "asf": find_asf_damage, "rm": find_rm_damage,
        "mxf": find_mxf_damage, "ogg": find_ogg_damage, "ivf": find_ivf_damage,
        "gxf": find_gxf_damage, "dv": find_dv_damage, "mpeg": find_program_damage,
        WEBP: find_webp_damage,
    }
)  # fmt: skip
