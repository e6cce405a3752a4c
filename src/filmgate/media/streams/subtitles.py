"""Convert text subtitles between the codecs of containers."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from av.packet import Packet

# The codec of text subtitles, by container.
TEXT_CODECS: Mapping[str, str] = MappingProxyType(
    {".mp4": "mov_text", ".m4v": "mov_text", ".mov": "mov_text", ".mkv": "subrip",
     ".webm": "webvtt"}
)  # fmt: skip
TEXT_SUBTITLES = frozenset({*TEXT_CODECS.values(), "ass", "ssa", "text"})  # that are converted
TEXT_TICK = Fraction(1, 10_000)  # of subtitles that are converted, in seconds
_TAGS = re.compile(rb"</?[a-zA-Z][^>]*>|<\d[\d:.]*>")  # a time is of karaoke
_BRACES = re.compile(rb"\{\\[^}]*\}")
_ASS_BLOCKS = re.compile(rb"\{([^}]*)\}")
_ASS_DRAWS = re.compile(rb"\\p(\d)")  # starts a drawing, or ends it by 0; a reset ends none
_ASS_ESCAPES = re.compile(rb"\\([Nnh])")
_ASS_FIELDS = 8  # before the text of a packet
_MAX_BYTES = 65535
_UNKNOWN_LENGTH = Fraction(5)  # seconds
_MAX_SHOWN = 32  # texts at one time


def convert_subtitle(data: bytes, old: str, new: str) -> bytes:
    """Return the text of a subtitle packet in the codec `new`, without styles; may be empty."""
    text = _read_text(data, old)
    if new == "webvtt":
        text = text.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;")
    return _pack_mov_text(text) if text and new == "mov_text" else text


def _read_text(data: bytes, codec: str) -> bytes:
    """Return the plain text of a packet."""
    if codec in ("ass", "ssa"):
        text = data.split(b",", _ASS_FIELDS)[-1] if data.count(b",") >= _ASS_FIELDS else b""
        text = _drop_ass_blocks(text)
        return _ASS_ESCAPES.sub(lambda found: b" " if found[1] == b"h" else b"\n", text).strip()
    text = data
    if codec == "mov_text":  # ETSI TS 126 245, 5.17: the text's length before it, styles after it
        text = data[2 : 2 + int.from_bytes(data[:2], "big")]
        if text[:2] in (b"\xfe\xff", b"\xff\xfe"):
            return text.decode("utf-16", errors="ignore").encode()
    text = _drop(_BRACES, b"}", _drop(_TAGS, b">", text)).replace(b"\r\n", b"\n")
    return _unescape(text) if codec == "webvtt" else text


def _drop(pattern: re.Pattern[bytes], end: bytes, text: bytes) -> bytes:
    """Return `text` without what matches a `pattern` that ends with `end`.

    Nothing is looked for behind the last `end`: each start there would read on to the text's end.
    """
    stop = text.rfind(end) + 1
    return pattern.sub(b"", text[:stop]) + text[stop:]


def _drop_ass_blocks(text: bytes) -> bytes:
    """Return the text of ASS without its blocks of styles and without its drawings."""
    stop = text.rfind(b"}") + 1  # see _drop
    parts = _ASS_BLOCKS.split(text[:stop])  # texts, with a block between each two
    parts[-1] += text[stop:]
    kept, draws = [], False
    for block, shown in zip([b"", *parts[1::2]], parts[::2], strict=True):
        if found := _ASS_DRAWS.findall(block):
            draws = found[-1] != b"0"
        if not draws:
            kept.append(shown)
    return b"".join(kept)


def _unescape(text: bytes) -> bytes:
    """Return the text of WebVTT with characters in place of its references."""
    try:
        return html.unescape(text.decode(errors="replace")).encode()
    except ValueError:  # a number of thousands of digits
        return text


def _pack_mov_text(text: bytes) -> bytes:
    text = text[:_MAX_BYTES].decode(errors="ignore").encode()
    return len(text).to_bytes(2, "big") + text


class SubtitleConverter:
    """Converts the packets of one stream from the codec `old` to `new`, without styles.

    mov_text has one text at a time: of those that overlap, each time shows all, a line each, and
    the last 32 if there are more. `lose` takes the time in seconds from which a text is left out:
    one of more than 32, or one that ends before what is already written.
    """

    def __init__(self, old: str, new: str, lose: Callable[[Fraction], None]) -> None:
        self._old, self._new, self._lose = old, new, lose
        self._shown: list[tuple[Fraction, bytes]] = []  # texts, each with its end
        self._at = Fraction(0)

    def convert(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        """Yield packets that are complete now that `packet` is known."""
        start = (packet.pts or 0) * packet.time_base
        length = (packet.duration or 0) * packet.time_base
        if self._new != "mov_text":
            if text := convert_subtitle(bytes(packet), self._old, self._new):
                yield _make_packet(text, start, start + length)
            return
        text = _read_text(bytes(packet), self._old)[:_MAX_BYTES]
        last = start + (length or _UNKNOWN_LENGTH)
        lasting = [other for end, other in self._shown if end > start]
        yield from self._show(start, cut=bool(text) and text not in lasting)
        if text in lasting:
            self._shown = [
                (max(end, last) if other == text else end, other) for end, other in self._shown
            ]
        elif text and last <= self._at:
            if last > 0:  # else it is never seen
                self._lose(start)
        elif text:
            self._at = max(self._at, start)
            self._shown.append((last, text))
            if len(self._shown) > _MAX_SHOWN:
                self._lose(self._at)
                del self._shown[0]

    def release(self, time: Fraction | None) -> Iterator[Packet[Any]]:
        """Yield packets that end before `time`; None: all."""
        if self._shown:
            yield from self._show(time, cut=False)

    def _show(self, until: Fraction | None, *, cut: bool) -> Iterator[Packet[Any]]:
        """Yield what is shown up to `until`; a text that lasts longer only if it is `cut`."""
        while self._shown:
            end = min(end for end, _ in self._shown)
            if until is not None and end > until:
                if not cut or self._at >= until:
                    return
                end = until
            texts = [text for _, text in self._shown]
            start, self._at = self._at, max(self._at, end)
            self._shown = [(last, text) for last, text in self._shown if last > end]
            # FFmpeg ends a text with an empty packet, and moves one that starts there
            follows = bool(self._shown) or (cut and end == until)
            if end > start:
                stop = max(end - follows * TEXT_TICK, start + TEXT_TICK)
                yield _make_packet(_pack_mov_text(b"\n".join(texts)), start, stop)


def _make_packet(data: bytes, start: Fraction, end: Fraction) -> Packet[Any]:
    packet: Packet[Any] = Packet(data)
    packet.time_base = TEXT_TICK
    packet.pts = packet.dts = round(start / TEXT_TICK)
    packet.duration = round(end / TEXT_TICK) - packet.pts
    return packet
