"""Subtitles in the containers that people use: text is converted, and nothing else ends a run."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from time import process_time
from typing import Any

import av
import pytest
from av.packet import Packet

from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.media.streams.subtitles import SubtitleConverter, convert_subtitle
from tests.media.streams.copying import copy
from tests.videos import PLAIN, Video, make

ASS = b"0,0,Default,,0,0,0,,"
Cue = tuple[Fraction, Fraction, bytes]
HOSTILE = [
    ("ass", ASS, b"{"), ("ass", ASS + b"{\\p1}", b"{"), ("ass", ASS, b"{\\p1"),
    ("ass", ASS, b"{\\p1}m"), ("ass", ASS, b"}{"), ("subrip", b"", b"<"), ("subrip", b"", b"<a"),
    ("subrip", b"", b"</i"), ("subrip", b"", b"<1"), ("subrip", b"", b"{\\"),
    ("webvtt", b"", b"&#"), ("webvtt", b"", b"<c.a"), ("subrip", b"", b"<b{\\p1"),
]  # fmt: skip


def make_packets(cues: Sequence[tuple[int, int, bytes]]) -> list[Packet[Any]]:
    """Return packets of text with start and end in ms."""
    packets = []
    for start, end, text in cues:
        packet: Packet[Any] = Packet(text)
        packet.time_base = Fraction(1, 1000)
        packet.pts = packet.dts = start
        packet.duration = end - start
        packets.append(packet)
    return packets


def write_subtitles(path: Path, codec: str, cues: Sequence[tuple[int, int, bytes]]) -> Path:
    """Write an mkv of 50 frames with subtitles of that codec."""
    plain = make(Video(frames=50, options=PLAIN), path.with_name("plain.mp4"))
    with av.open(str(plain)) as old, av.open(str(path), "w") as new:
        video = new.add_stream_from_template(old.streams.video[0])
        words = new.add_mux_stream(codec)
        words.time_base = Fraction(1, 1000)
        packets = [packet for packet in old.demux() if packet.size]
        for packet in packets:
            packet.stream = video
        texts = make_packets(cues)
        for packet in texts:
            packet.stream = words
        for packet in sorted([*packets, *texts], key=lambda p: (p.dts or 0) * p.time_base):
            new.mux(packet)
    return path


def read_cues(path: Path) -> list[Cue]:
    """Return start, end and text of the subtitles of an mp4."""
    with av.open(str(path)) as container:
        return [
            (p.pts * p.time_base, (p.pts + (p.duration or 0)) * p.time_base, bytes(p)[2:])
            for p in container.demux(subtitles=0)
            if p.size > 2 and p.pts is not None
        ]


@pytest.mark.parametrize(
    ("codec", "data", "text"),
    [
        ("ass", ASS + b"{\\i1}so{\\i0}, {a note}it\\Nis\\h, yes", b"so, it\nis , yes"),
        ("ass", ASS + b"{\\p1}m 0 0 l 9 9{\\p0}seen{\\an8\\p2}m 1 1", b"seen"),
        ("ass", ASS + b"{\\clip(1,1,2,2)\\p1\\p0}x{\\p1}m 0 0{\\r\\b1} l 5 5{\\p0} y", b"x y"),
        ("ass", ASS + b"{\\t(\\fs1{\\b1}a{\\r\\p1}m 0{\\b1}1{\\p0}}b { open", b"a}b { open"),
        ("ass", b"0,0,Default", b""),
        ("webvtt", b"<c.red>a</c> &lt; <00:00:01.000>b &amp; c", b"a < b & c"),
        ("subrip", b"one\r\n{\\an8}two", b"one\ntwo"),
        ("mov_text", b"\0\x06\xfe\xff\0h\0i", b"hi"),
    ],
)
def test_text_of_every_codec_is_read_without_styles(codec: str, data: bytes, text: bytes) -> None:
    assert convert_subtitle(data, codec, "subrip") == text


@pytest.mark.parametrize(("codec", "head", "part"), HOSTILE)
def test_a_text_of_tags_that_never_end_takes_no_time(codec: str, head: bytes, part: bytes) -> None:
    """Each start of a tag read on to the end of the text: minutes for 500 kB."""
    data, start = head + part * (500_000 // len(part)), process_time()
    assert len(convert_subtitle(data, codec, "subrip")) <= len(data)
    assert process_time() - start < 5


def test_a_reference_to_no_character_stays_as_it_is() -> None:
    """Python refuses numbers of so many digits."""
    text = b"&#%s; &lt;" % (b"1" * 5000)
    assert convert_subtitle(text, "webvtt", "subrip") == text


def test_characters_of_webvtt_tags_are_escaped() -> None:
    assert convert_subtitle(b"a < b & c", "subrip", "webvtt") == b"a &lt; b &amp; c"


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_styled_subtitles_that_overlap_are_shown_together(suffix: str, tmp_path: Path) -> None:
    """mov_text holds one at a time: later ones were moved behind it, further with each."""
    cues = [
        (200, 800, ASS + b"{\\b1}first"), (500, 1200, ASS + b"second"),
        (500, 1200, ASS + b"{\\pos(1,1)}second"),  # its shadow
        (1200, 1500, ASS + b"third"), (1500, 1700, ASS + b"fourth"),
    ]  # fmt: skip
    path, out = write_subtitles(tmp_path / "a.mkv", "ass", cues), tmp_path / f"out{suffix}"
    sink = copy(VideoFile(path), VideoOutput(out))
    assert sink.dropped == ["stream 1 (ass subtitle) becomes mov_text: its styles are left out"]
    wanted = [(200, 500, b"first"), (500, 800, b"first\nsecond"), (800, 1200, b"second"),
              (1200, 1500, b"third"), (1500, 1700, b"fourth")]  # fmt: skip
    found = read_cues(out)
    assert [(float(start * 1000), text) for start, _, text in found] == [
        (s, t) for s, _, t in wanted
    ]
    for (_, end, _), (_, last, _) in zip(found, wanted, strict=True):
        assert 0 <= last - end * 1000 <= Fraction(1, 10)


def test_subtitles_without_gaps_do_not_drift(tmp_path: Path) -> None:
    """Captions of speech: each one starts where the one before ends, a millisecond late."""
    cues = [(20 * n, 20 * n + 20, b"%d" % n) for n in range(90)]
    out = tmp_path / "out.mp4"
    copy(VideoFile(write_subtitles(tmp_path / "a.mkv", "subrip", cues)), VideoOutput(out))
    assert [(start, text) for start, _, text in read_cues(out)] == [
        (Fraction(n, 50), b"%d" % n) for n in range(90)
    ]


def test_a_trim_keeps_the_part_of_a_text_that_is_seen(tmp_path: Path) -> None:
    cues = [(0, 1500, ASS + b"long"), (600, 900, ASS + b"short"), (1900, 1950, ASS + b"late")]
    out = tmp_path / "out.mp4"
    source = VideoFile(
        write_subtitles(tmp_path / "a.mkv", "ass", cues), start=Fraction(4, 5), end=Fraction(7, 5)
    )
    copy(source, VideoOutput(out))
    found = [(start, round(float(end), 3), text) for start, end, text in read_cues(out)]
    assert found == [(0, 0.1, b"long\nshort"), (Fraction(1, 10), 0.6, b"long")]


def convert(cues: Sequence[tuple[int, int, bytes]]) -> tuple[list[Cue], list[Fraction]]:
    """Return what mov_text shows, and the times from which texts are left out."""
    lost: list[Fraction] = []
    converter = SubtitleConverter("subrip", "mov_text", lost.append)
    packets = [p for cue in make_packets(cues) for p in converter.convert(cue)]
    packets += converter.release(None)
    ticks = [(p.pts or 0, p.duration or 0, p.time_base) for p in packets]
    times = [(at * tick, (at + length) * tick) for at, length, tick in ticks]
    assert all(length > 0 for _, length, _ in ticks)
    return [(*t, bytes(p)[2:]) for t, p in zip(times, packets, strict=True)], lost


def test_a_text_without_a_length_ends() -> None:
    found, _ = convert([(0, 0, b"open"), (9000, 9500, b"next")])
    assert found[0] == (Fraction(0), Fraction(5), b"open")


def test_an_equal_text_that_lasts_longer_is_shown_to_its_end() -> None:
    """It ended with the first of both; where it is repeated, nothing is cut."""
    cues = [(0, 800, b"a"), (400, 1900, b"a"), (600, 700, b"a"), (2000, 3000, b"a")]
    tick = Fraction(1, 10_000)
    assert convert(cues) == (
        [(Fraction(0), Fraction(19, 10), b"a"), (Fraction(2), Fraction(3), b"a")], []
    )  # fmt: skip
    found, lost = convert([(0, 800, b"a"), (400, 1900, b"b"), (700, 1000, b"a")])
    assert found == [(0, Fraction(2, 5) - tick, b"a"), (Fraction(2, 5), 1 - tick, b"a\nb"),
                     (1, Fraction(19, 10), b"b")]  # fmt: skip
    assert lost == []


def test_of_many_texts_at_one_time_the_last_ones_are_shown_and_the_others_reported() -> None:
    signs = [(n, 3000, b"sign %d" % n) for n in range(31)]
    spoken, late = (1000, 2000, b"spoken words"), (1500, 1800, b"more of them")
    found, lost = convert([*signs, spoken])
    assert found[-2][2].split(b"\n") == [*(text for _, _, text in signs), b"spoken words"]
    assert lost == []
    found, lost = convert([*signs, spoken, late])
    shown = next(text for start, _, text in found if start == Fraction(3, 2)).split(b"\n")
    assert (len(shown), shown[0], shown[-2:]) == (32, b"sign 1", [spoken[2], late[2]])
    assert lost == [Fraction(3, 2)]


def test_a_text_that_ends_before_what_is_written_is_reported() -> None:
    hidden, late = (-900, -400, b"hidden"), (900, 1100, b"partly")
    cues = [hidden, (0, 100, b"one"), (1000, 1200, b"three"), (300, 500, b"two"), late]
    found, lost = convert(cues)
    assert [(start, text) for start, _, text in found] == [
        (0, b"one"), (1, b"three\npartly"), (Fraction(11, 10), b"three")
    ]  # fmt: skip
    assert lost == [Fraction(3, 10)]


def test_texts_that_are_left_out_are_reported_at_the_end(tmp_path: Path) -> None:
    cues = [(0, 1900, ASS + b"sign %d" % n) for n in range(34)]
    source = VideoFile(write_subtitles(tmp_path / "a.mkv", "ass", cues))
    sink = copy(source, VideoOutput(tmp_path / "out.mp4"))
    wanted = "stream 1 (ass subtitle): 2 packets from 0.000 s on are left out: .mp4 can't hold them"
    assert wanted in sink.dropped
    assert not sink.is_complete
    (shown,) = read_cues(tmp_path / "out.mp4")
    assert shown[2].split(b"\n") == [b"sign %d" % n for n in range(2, 34)]
