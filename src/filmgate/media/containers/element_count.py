"""Refuse a container with a flood of tiny elements, which FFmpeg would read for minutes."""

import mmap
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from filmgate.errors import BadInput
from filmgate.media.containers.ebml import CLUSTER, HEAD, SEGMENT, read_element
from filmgate.media.containers.element_budget import MAX_ELEMENTS, ElementBudget, TooManyElements

# Those whose content is elements too.
_BOXES = frozenset(b"moov trak mdia minf stbl dinf edts udta ilst mvex moof traf tref gmhd".split())
_MASTERS = frozenset((0x114D9B74, 0x1654AE6B, 0xAE, 0x6D80, 0x1254C367, 0x7373, 0x67C8, 0x1043A770,
                      0x45B9, 0xB6, 0x1941A469, 0x61A7, SEGMENT))  # fmt: skip


def check_element_count(path: Path, format: str) -> None:
    """Raise BadInput if FFmpeg would read more than MAX_ELEMENTS elements to open `path`."""
    count = _COUNTERS.get(format)
    if count is None:
        return
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        try:
            count(data, ElementBudget())
        except TooManyElements as error:
            raise BadInput(
                f"{path} has more than {MAX_ELEMENTS} boxes, elements or chunks, which no "
                "camera or program writes: remux it if it is a video"
            ) from error


def _count_boxes(data: mmap.mmap, budget: ElementBudget) -> None:
    """Follow the boxes of an mp4, into those that hold others."""
    at, size = 0, len(data)
    while at + 8 <= size:
        budget.spend()
        length, head = int.from_bytes(data[at : at + 4], "big"), 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if length < head:
            return
        at += head if data[at + 4 : at + 8] in _BOXES else length


def _count_elements(data: mmap.mmap, budget: ElementBudget) -> None:
    """Follow the elements of a Matroska file up to its first cluster."""
    at, kind = 0, HEAD
    while at < len(data) and kind != CLUSTER:
        budget.spend()
        kind, at, length = read_element(data, at)
        if not kind:
            return
        if kind not in _MASTERS:
            at += length or 0


def _count_chunks(data: mmap.mmap, budget: ElementBudget) -> None:
    """Follow the chunks of an avi up to its frames."""
    at = 0
    while at + 8 <= len(data):
        budget.spend()
        if data[at : at + 4] in (b"RIFF", b"LIST"):
            if data[at + 8 : at + 12] == b"movi":
                return
            at += 12
        else:
            length = int.from_bytes(data[at + 4 : at + 8], "little")
            at += 8 + length + length % 2


_COUNTERS: Mapping[str, Callable[[mmap.mmap, ElementBudget], None]] = MappingProxyType(
    {"mov": _count_boxes, "matroska": _count_elements, "avi": _count_chunks}
)
