"""Check that the tables of an mp4 or mov agree; FFmpeg trusts each and shows a shorter video."""

import mmap
import sys
from array import array
from collections.abc import Iterator
from itertools import pairwise
from typing import TypeAlias

from filmgate.media.containers.element_budget import ElementBudget

_Numbers: TypeAlias = "array[int]"

_MAX_ROWS = 4_000_000  # of a table, which is a second; 18 hours of 60 frames a second
_NESTED = (b"mdia", b"minf", b"stbl")
_REQUIRED = frozenset((b"tkhd", b"mdhd", b"hdlr", b"stsd", b"stts", b"stsc", b"stsz"))


def find_table_damage(data: mmap.mmap, budget: ElementBudget) -> str:
    """Return the first contradiction in the sample tables, empty if there is none.

    ISO/IEC 14496-12, 8.6 and 8.7. Raises TooManyElements.
    """
    for kind, start, end in _iter_boxes(data, 0, len(data), budget):
        if kind != b"moov":
            continue
        tracks = [box for box in _iter_boxes(data, start, end, budget) if box[0] == b"trak"]
        for number, (_, first, last) in enumerate(tracks):
            if damage := _check_track(data, _find_tables(data, first, last, budget)):
                return f"damaged: in the tables of its stream {number}, {damage}"
    return ""


def _check_track(data: mmap.mmap, tables: dict[bytes, tuple[int, int]]) -> str:
    if missing := _REQUIRED - tables.keys():
        return f"there is no {min(missing).decode()}"
    at = tables[b"stsz"][0] + 4
    if tables[b"stsz"][1] < at + 8:
        return "there are no sizes of samples"
    fixed_size, count = _read_numbers(data, at, 2)
    if not count:  # the samples are in fragments
        return ""
    timed = sum(_read_columns(data, tables[b"stts"], 2)[0])
    if timed != count:
        return f"{count} samples have a size and {timed} a time"
    if damage := _check_composition_times(data, tables, timed):
        return damage
    wide = 8 if b"co64" in tables else 4
    offsets = tables.get(b"co64") or tables.get(b"stco")
    if offsets is None:
        return "no sample has an offset"
    chunks = _read_columns(data, offsets, 1, wide)[0]
    firsts, samples, _ = _read_columns(data, tables[b"stsc"], 3)
    firsts.append(len(chunks) + 1)
    lengths = [following - first for first, following in pairwise(firsts)]
    if min(lengths, default=1) <= 0 or firsts[0] != 1:
        return "the chunks are not numbered in order"
    placed = sum(length * each for length, each in zip(lengths, samples, strict=True))
    if placed != count:
        return f"{count} samples have a size and {placed} an offset"
    total = fixed_size * count or sum(_read_numbers(data, at + 8, count))
    if max(chunks) > len(data) or total > len(data):
        return f"samples are after the end, byte {len(data)}"
    return ""


def _check_composition_times(
    data: mmap.mmap, tables: dict[bytes, tuple[int, int]], count: int
) -> str:
    """Check that `count` samples have a time at which they are shown, if any has one."""
    if b"ctts" not in tables:
        return ""
    if (shown := sum(_read_columns(data, tables[b"ctts"], 2)[0])) != count:
        return f"{count} samples have a size and {shown} a time at which they are shown"
    return ""


def _find_tables(
    data: mmap.mmap, start: int, end: int, budget: ElementBudget, inside: int = 0
) -> dict[bytes, tuple[int, int]]:
    """Return the start and end of the contents of a track's tables, by name.

    `inside`: of how many of `_NESTED` the range is the content.
    """
    tables: dict[bytes, tuple[int, int]] = {}
    for kind, first, last in _iter_boxes(data, start, end, budget):
        if kind in _NESTED[inside : inside + 1]:
            tables |= _find_tables(data, first, last, budget, inside + 1)
        else:
            tables[kind] = first, last
    return tables


def _iter_boxes(
    data: mmap.mmap, start: int, end: int, budget: ElementBudget
) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start of its content, end) of the boxes in a range of bytes."""
    while start + 8 <= end:
        budget.spend()
        length, head = int.from_bytes(data[start : start + 4], "big"), 8
        if length == 1:
            length, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        if length < head or start + length > end:
            return
        yield data[start + 4 : start + 8], start + head, start + length
        start += length


def _read_columns(
    data: mmap.mmap, place: tuple[int, int], columns: int, wide: int = 4
) -> list[_Numbers]:
    """Return the columns of a table of unsigned numbers; rows beyond the box are left out."""
    start, end = place
    rows = min(
        int.from_bytes(data[start + 4 : start + 8], "big"), (end - start - 8) // (columns * wide)
    )
    numbers = _read_numbers(data, start + 8, rows * columns, wide)
    return [numbers[column::columns] for column in range(columns)]


def _read_numbers(data: mmap.mmap, at: int, count: int, wide: int = 4) -> _Numbers:
    # not numpy, which takes longer to import than the tables to read
    ElementBudget(_MAX_ROWS).spend(count)
    numbers = array("Q" if wide == 8 else "I")
    there = max(0, len(data) - at) // wide
    numbers.frombytes(data[at : at + min(count, there) * wide])
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers
