"""The elements of a Matroska file (RFC 8794)."""

import mmap

HEAD, SEGMENT, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675


def read_element(data: bytes | mmap.mmap, at: int) -> tuple[int, int, int | None]:
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
