"""Convert text subtitles between the codecs of containers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from av.packet import Packet

# The codec of text subtitles, by container.
TEXT_CODECS: Mapping[str, str] = MappingProxyType(
    {".mp4": "mov_text", ".m4v": "mov_text", ".mov": "mov_text", ".mkv": "subrip",
     ".webm": "webvtt"}
)  # fmt: skip
_STYLES = re.compile(rb"</?[a-zA-Z][^>]*>|\{\\[^}]*\}")


def convert_subtitle(data: bytes, old: str, new: str) -> bytes:
    """Return the text of a subtitle packet in the codec `new`, without styles; may be empty."""
    text = data
    if old == "mov_text":  # ETSI TS 126 245, 5.17: the text's length before it, styles after it
        text = data[2 : 2 + int.from_bytes(data[:2], "big")]
    text = _STYLES.sub(b"", text)
    if text and new == "mov_text":
        text = text[:65535]
        return len(text).to_bytes(2, "big") + text
    return text


def convert_packet(packet: Packet[Any], old: str, new: str) -> Packet[Any] | None:
    """Return a subtitle packet in the codec `new`, None if it has no text."""
    text = convert_subtitle(bytes(packet), old, new)
    if not text:
        return None
    converted: Packet[Any] = Packet(text)
    converted.time_base, converted.duration = packet.time_base, packet.duration
    converted.pts, converted.dts = packet.pts, packet.dts
    return converted
