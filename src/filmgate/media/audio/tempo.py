"""Sound at another tempo: decoded, stretched without changing its pitch, and encoded once."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.filter import Graph
from av.packet import Packet

from filmgate.media.containers.open import opened, translated
from filmgate.media.source_metadata import SourceMetadata


def codec_for(suffix: str) -> str:
    """The encoder of new sound for a container."""
    return "libopus" if suffix == ".webm" else "aac"


def described(out: AudioStream, like: AudioStream) -> None:
    """Gives a new sound stream the channels of another, and bits enough for them."""
    plain = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}.get(like.layout.nb_channels)
    out.layout = plain if plain and "channels" in like.layout.name else like.layout.name
    out.bit_rate = 96_000 * max(1, like.layout.nb_channels)


def rate_for(suffix: str, like: AudioStream) -> int:
    """Samples per second of new sound: as before, where the encoder takes them."""
    known = av.Codec(codec_for(suffix), "w").audio_rates or []
    rate = like.codec_context.sample_rate
    return rate if not known or rate in known else 48_000


def stretched(
    origin: SourceMetadata, number: int, out: AudioStream, slow: Fraction
) -> Iterator[Packet[Any]]:
    """Packets for `out`: track `number` of the film, `slow` times as long, pitch kept.

    It begins where the track did, in step with the picture. FFmpeg's atempo (WSOLA). Raises
    BadInput.
    """
    assert origin.path is not None
    rate = out.codec_context.sample_rate
    at: int | None = None  # samples since the beginning of the result
    with (
        opened(origin.path, max_pixels=origin.max_pixels) as source,
        translated(origin.path, f"stretching track {number}"),
    ):
        stream = source.streams.audio[[s.index for s in source.streams.audio].index(number)]
        graph = _graph(stream, origin, out, 1 / slow)
        for frame in _heard(source, stream, origin):
            if at is None:
                first = max(
                    frame.pts * frame.time_base,
                    origin.offset if origin.trimmed else frame.pts * frame.time_base,
                )
                early = _early(stream.codec_context.sample_rate, 1 / slow)
                at = round(((first - origin.offset) * slow + origin.place + early) * rate)
            for made in _through(graph, frame):
                made.pts, made.time_base = at, Fraction(1, rate)
                at += made.samples
                yield from out.encode(made)
        for made in _through(graph, None):
            made.pts, made.time_base = at or 0, Fraction(1, rate)
            at = (at or 0) + made.samples
            yield from out.encode(made)
        yield from out.encode(None)


def _heard(source: Any, stream: AudioStream, origin: SourceMetadata) -> Iterator[Any]:
    """Decoded sound that is not all trimmed away."""
    for frame in source.decode(stream):
        start = frame.pts * frame.time_base
        if origin.trimmed and start + Fraction(frame.samples, frame.sample_rate) <= origin.offset:
            continue
        if origin.until is not None and start >= origin.until:
            return
        yield frame


def _graph(stream: AudioStream, origin: SourceMetadata, out: AudioStream, tempo: Fraction) -> Graph:
    graph = Graph()
    steps = [graph.add_abuffer(template=stream)]
    if origin.trimmed:
        ends = f"start={float(origin.offset)!r}"
        ends += f":end={float(origin.until)!r}" if origin.until is not None else ""
        steps.append(graph.add("atrim", ends))
    # atempo counts samples: a gap in the sound is filled first, and what overlaps is left out
    steps.append(graph.add("aresample", "async=1:min_hard_comp=0.02"))
    steps += [graph.add("atempo", f"{float(part)!r}") for part in _tempos(tempo)]
    context = out.codec_context
    steps.append(graph.add("aformat", f"sample_fmts={context.format.name}:sample_rates="
                           f"{context.sample_rate}:channel_layouts={out.layout.name}"))  # fmt: skip
    steps.append(graph.add("abuffersink"))
    for one, following in pairwise(steps):
        one.link_to(following)
    graph.configure()
    return graph


def _tempos(tempo: Fraction) -> list[Fraction]:
    """Factors that atempo does well, of which `tempo` is the product."""
    found: list[Fraction] = []
    while tempo < Fraction(1, 2):
        found, tempo = [*found, Fraction(1, 2)], tempo * 2
    while tempo > 2:
        found, tempo = [*found, Fraction(2)], tempo / 2
    return [*found, tempo]


def _early(rate: int, tempo: Fraction) -> Fraction:
    """By how many seconds what comes out of atempo stands too early: half its window each time."""
    window = 1 << (rate // 24 - 1).bit_length()
    early = Fraction(0)
    for part in _tempos(tempo):
        early = (early + Fraction(window, 2 * rate)) / part
    return early


def _through(graph: Graph, frame: AudioFrame | None) -> Iterator[AudioFrame]:
    graph.push(frame)
    while True:
        try:
            made = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        assert isinstance(made, AudioFrame)
        yield made
