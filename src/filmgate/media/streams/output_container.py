"""Open containers for output."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import av
from av.container import OutputContainer

MUXERS: Mapping[str, str] = MappingProxyType(
    {
        ".mp4": "mp4",
        ".m4v": "mp4",
        ".mov": "mov",
        ".mkv": "matroska",
        ".webm": "webm",
        ".nut": "nut",
        ".y4m": "yuv4mpegpipe",
    }
)
# Muxers that take packets of one stream with equal decoding times.
_EQUAL_TIMES = (".mkv", ".webm")


def create_container(
    file: Path | io.IOBase, suffix: str, timescale: int | None = None
) -> OutputContainer:
    """Open an empty container of the kind of `suffix`; fragmented where `file` can't seek.

    An mp4 stores the starts of its streams in ticks of `timescale` a second, else in milliseconds.
    """
    flags = {"fflags": "+bitexact"}  # the same packets give the same file
    if is_mp4(suffix):
        piped = not isinstance(file, Path) and not file.seekable()
        fragments = "+frag_keyframe+empty_moov+default_base_moof" if piped else ""
        flags["movflags"] = f"use_metadata_tags{fragments}"
        if timescale is not None:
            flags["movie_timescale"] = str(timescale)
    if suffix == ".y4m":
        flags["strict"] = "-1"  # allows more than 8 bits
    return av.open(
        os.path.abspath(file) if isinstance(file, Path) else file,  # never a protocol
        "w",
        format=MUXERS[suffix],
        container_options=flags,
        metadata_errors="surrogateescape",
    )


def is_mp4(suffix: str) -> bool:
    """Whether the container is an mp4 or mov."""
    return MUXERS[suffix] in ("mp4", "mov")


def allows_equal_times(suffix: str) -> bool:
    """Whether packets of one stream may have equal decoding times."""
    return suffix in _EQUAL_TIMES
