"""Whether the tables of an mp4 or mov agree: FFmpeg believes each, and shows a shorter film."""

import mmap
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

_Table = npt.NDArray[np.int64]

_NEEDED = frozenset((b"tkhd", b"mdhd", b"hdlr", b"stsd", b"stts", b"stsc", b"stsz"))


def table_flaw(data: mmap.mmap) -> str:
    """What in the sample tables contradicts the rest (ISO/IEC 14496-12, 8.6 and 8.7), or empty."""
    for kind, begin, end in _boxes(data, 0, len(data)):
        if kind != b"moov":
            continue
        tracks = [found for found in _boxes(data, begin, end) if found[0] == b"trak"]
        for number, (_, first, last) in enumerate(tracks):
            if found := _track_flaw(data, first, last):
                return f"damaged: in the tables of its stream {number}, {found}"
    return ""


def _track_flaw(data: mmap.mmap, begin: int, end: int) -> str:
    tables = _inside(data, begin, end)
    if missing := _NEEDED - tables.keys():
        return f"there is no {min(missing).decode()}"
    at = tables[b"stsz"][0] + 4
    each, count = _numbers(data, at, 2)
    if not count:  # the samples are in fragments
        return ""
    times = _rows(data, tables[b"stts"], 2)
    if (timed := int(times[:, 0].sum())) != count:
        return f"{count} samples have a size and {timed} a time"
    if found := _time_flaw(data, tables, times):
        return found
    wide = 8 if b"co64" in tables else 4
    place = tables.get(b"co64") or tables.get(b"stco")
    if place is None:
        return "no sample has a place"
    chunks = _rows(data, place, 1, wide)[:, 0]
    runs = _rows(data, tables[b"stsc"], 3)
    firsts = np.append(runs[:, 0], len(chunks) + 1)
    if (np.diff(firsts) <= 0).any() or firsts[0] != 1:
        return "the chunks are not counted in order"
    placed = int((np.diff(firsts) * runs[:, 1]).sum())
    if placed != count:
        return f"{count} samples have a size and {placed} a place"
    held = each * count or int(_numbers(data, at + 8, count).sum())
    if int(chunks.max()) > len(data) or held > len(data):
        return f"samples lie behind the end, byte {len(data)}"
    return ""


def _time_flaw(data: mmap.mmap, tables: dict[bytes, tuple[int, int]], times: _Table) -> str:
    """What is wrong with when samples are shown; `times` are rows of (how many, ticks each)."""
    if b"ctts" not in tables:
        return ""
    late, count = _rows(data, tables[b"ctts"], 2), int(times[:, 0].sum())
    if (shown := int(late[:, 0].sum())) != count:
        return f"{count} samples have a size and {shown} a time at which they are shown"
    return ""


def _inside(data: mmap.mmap, begin: int, end: int) -> dict[bytes, tuple[int, int]]:
    """The tables of a track by their names: where their contents begin and end."""
    found: dict[bytes, tuple[int, int]] = {}
    for kind, first, last in _boxes(data, begin, end):
        if kind in (b"mdia", b"minf", b"stbl"):
            found |= _inside(data, first, last)
        else:
            found[kind] = first, last
    return found


def _boxes(data: mmap.mmap, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, where its content begins, where it ends) of the boxes in a stretch."""
    while begin + 8 <= end:
        length, head = int.from_bytes(data[begin : begin + 4], "big"), 8
        if length == 1:
            length, head = int.from_bytes(data[begin + 8 : begin + 16], "big"), 16
        if length < head or begin + length > end:
            return
        yield data[begin + 4 : begin + 8], begin + head, begin + length
        begin += length


def _rows(data: mmap.mmap, place: tuple[int, int], columns: int, wide: int = 4) -> _Table:
    """A table of `columns` unsigned numbers a row, as many rows as it says and has room for."""
    begin, end = place
    rows = min(
        int.from_bytes(data[begin + 4 : begin + 8], "big"), (end - begin - 8) // (columns * wide)
    )
    return _numbers(data, begin + 8, rows * columns, wide).reshape(-1, columns)


def _numbers(data: mmap.mmap, at: int, count: int, wide: int = 4) -> _Table:
    return np.frombuffer(data[at : at + count * wide], f">u{wide}").astype(np.int64)
