"""Audio at another tempo: decoded, stretched at the same pitch, and encoded once."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.filter import Graph
from av.packet import Packet

from filmgate.core.source_metadata import SourceMetadata
from filmgate.media.containers.open import open_container, translate_errors


def choose_audio_codec(suffix: str) -> str:
    """Return the encoder of re-encoded audio for a container."""
    return "libopus" if suffix == ".webm" else "aac"


def set_audio_format(output: AudioStream, source: AudioStream) -> None:
    """Give an output stream the channels of the source, and 96 kbit/s for each."""
    plain = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}.get(source.layout.nb_channels)
    output.layout = plain if plain and "channels" in source.layout.name else source.layout.name
    output.bit_rate = 96_000 * max(1, source.layout.nb_channels)


def choose_sample_rate(suffix: str, source: AudioStream) -> int:
    """Return the samples per second of re-encoded audio: the source's, if the encoder takes it."""
    known = av.Codec(choose_audio_codec(suffix), "w").audio_rates or []
    rate = source.codec_context.sample_rate
    return rate if not known or rate in known else 48_000


def stretch_audio(
    source: SourceMetadata, index: int, output: AudioStream, time_scale: Fraction
) -> Iterator[Packet[Any]]:
    """Yield packets for `output`: stream `index`, `time_scale` times as long, pitch kept.

    The start is kept in sync with the video. Uses FFmpeg's atempo (WSOLA). Raises BadInput.
    """
    assert source.path is not None
    rate = output.codec_context.sample_rate
    at: int | None = None  # samples since the start of the output
    with (
        open_container(source.path, max_pixels=source.max_pixels) as container,
        translate_errors(source.path, f"stretching stream {index}"),
    ):
        stream = next(s for s in container.streams.audio if s.index == index)
        graph = _build_graph(stream, source, output, 1 / time_scale)
        for frame in _decode_kept(container, stream, source):
            if at is None:
                first = _get_start(frame)
                if source.trimmed:
                    first = max(first, source.offset)
                advance = _measure_advance(stream.codec_context.sample_rate, 1 / time_scale)
                start = (first - source.offset) * time_scale + source.output_offset
                at = round((start + advance) * rate)
            for part in _filter(graph, frame):
                part.pts, part.time_base = at, Fraction(1, rate)
                at += part.samples
                yield from output.encode(part)
        for part in _filter(graph, None):
            part.pts, part.time_base = at or 0, Fraction(1, rate)
            at = (at or 0) + part.samples
            yield from output.encode(part)
        yield from output.encode(None)


def _decode_kept(
    container: InputContainer, stream: AudioStream, source: SourceMetadata
) -> Iterator[AudioFrame]:
    """Yield decoded frames, without those that the trim removes entirely."""
    for frame in container.decode(stream):
        assert isinstance(frame, AudioFrame)
        start = _get_start(frame)
        if source.trimmed and start + Fraction(frame.samples, frame.sample_rate) <= source.offset:
            continue
        if source.until is not None and start >= source.until:
            return
        yield frame


def _get_start(frame: AudioFrame) -> Fraction:
    return (frame.pts or 0) * (frame.time_base or Fraction(1))


def _build_graph(
    stream: AudioStream, source: SourceMetadata, output: AudioStream, tempo: Fraction
) -> Graph:
    graph = Graph()
    nodes = [graph.add_abuffer(template=stream)]
    if source.trimmed:
        ends = f"start={float(source.offset)!r}"
        ends += f":end={float(source.until)!r}" if source.until is not None else ""
        nodes.append(graph.add("atrim", ends))
    # atempo counts samples: gaps are filled first, overlaps removed
    nodes.append(graph.add("aresample", "async=1:min_hard_comp=0.02"))
    nodes += [graph.add("atempo", f"{float(part)!r}") for part in _split_tempo(tempo)]
    context = output.codec_context
    output_format = (
        f"sample_fmts={context.format.name}:sample_rates={context.sample_rate}"
        f":channel_layouts={output.layout.name}"
    )
    nodes.append(graph.add("aformat", output_format))
    nodes.append(graph.add("abuffersink"))
    for node, following in pairwise(nodes):
        node.link_to(following)
    graph.configure()
    return graph


def _split_tempo(tempo: Fraction) -> list[Fraction]:
    """Return factors within the range of atempo, with `tempo` as their product."""
    factors: list[Fraction] = []
    while tempo < Fraction(1, 2):
        factors, tempo = [*factors, Fraction(1, 2)], tempo * 2
    while tempo > 2:
        factors, tempo = [*factors, Fraction(2)], tempo / 2
    return [*factors, tempo]


def _measure_advance(rate: int, tempo: Fraction) -> Fraction:
    """Return by how many seconds atempo's output is early: half its window for each factor."""
    window = 1 << (rate // 24 - 1).bit_length()
    advance = Fraction(0)
    for factor in _split_tempo(tempo):
        advance = (advance + Fraction(window, 2 * rate)) / factor
    return advance


def _filter(graph: Graph, frame: AudioFrame | None) -> Iterator[AudioFrame]:
    graph.push(frame)
    while True:
        try:
            result = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        assert isinstance(result, AudioFrame)
        yield result
