"""Encode audio again: in another codec, and at another tempo with the same pitch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.filter import Graph
from av.packet import Packet

from filmgate.core.source_metadata import SourceMetadata

_LONGEST_GAP = Fraction(1, 10)  # seconds, of an avi, which can have none
_DAMAGE = (av.FFmpegError, ValueError)


def encode_audio(
    packets: Iterable[Packet[Any]],
    stream: AudioStream,
    output: AudioStream,
    source: SourceMetadata,
    time_scale: Fraction,
    skip: Callable[[Fraction], None],
) -> Iterator[Packet[Any]]:
    """Yield packets for `output`: those of `stream`, decoded, `time_scale` times as long.

    The pitch is kept, by FFmpeg's atempo (WSOLA), and so is the start relative to the video. Gaps
    become silence. Damaged packets are left out; `skip` gets the time of each.
    """
    rate, tempo = output.codec_context.sample_rate, 1 / time_scale
    at: int | None = None  # samples since the start of the output
    graph: Graph | None = None
    form: tuple[object, ...] = ()

    def encode(graph: Graph, frame: AudioFrame | None) -> Iterator[Packet[Any]]:
        nonlocal at
        for part in _filter(graph, frame):
            part.pts, part.time_base = at or 0, Fraction(1, rate)
            at = (at or 0) + part.samples
            yield from output.encode(part)

    frames = _follow_clock(_decode(packets, stream, skip), stream)
    for frame in _trim(frames, source):
        if at is None:
            first = _get_start(frame)
            if source.trimmed:
                first = max(first, source.offset)
            advance = _measure_advance(frame.sample_rate, tempo)
            start = (first - source.offset) * time_scale + source.output_offset
            at = round((start + advance) * rate)
        if graph is None or form != _describe_format(frame):
            if graph is not None:  # the format changes in the middle of the stream
                yield from encode(graph, None)
            graph, form = (
                _build_graph(frame, stream, source, output, tempo),
                _describe_format(frame),
            )
        yield from encode(graph, frame)
    if graph is not None:
        yield from encode(graph, None)
    yield from output.encode(None)


def _decode(
    packets: Iterable[Packet[Any]], stream: AudioStream, skip: Callable[[Fraction], None]
) -> Iterator[AudioFrame]:
    """Yield decoded frames, past damaged packets; a recording may stop in its last one."""
    damaged: Fraction | None = None
    for packet in packets:
        if damaged is not None:
            skip(damaged)
            damaged = None
        time = (packet.pts or 0) * packet.time_base
        try:
            frames = stream.decode(packet)
        except _DAMAGE:
            damaged = time
            continue
        yield from frames
    try:
        frames = stream.decode(None)
    except _DAMAGE:
        return
    yield from frames


def _follow_clock(frames: Iterator[AudioFrame], stream: AudioStream) -> Iterator[AudioFrame]:
    """Yield the frames; those of an avi without gaps that it cannot have.

    It counts audio in blocks of a length that its header says, and some headers are wrong.
    """
    if "avi" not in stream.container.format.name:
        yield from frames
        return
    end: Fraction | None = None
    for frame in frames:
        start, rate = _get_start(frame), frame.sample_rate
        if end is not None and start > end + _LONGEST_GAP:
            start = end
        frame.pts, frame.time_base = round(start * rate), Fraction(1, rate)
        end = start + Fraction(frame.samples, rate)
        yield frame


def _trim(frames: Iterable[AudioFrame], source: SourceMetadata) -> Iterator[AudioFrame]:
    """Yield the frames without those that the trim removes entirely."""
    for frame in frames:
        start = _get_start(frame)
        if source.trimmed and start + Fraction(frame.samples, frame.sample_rate) <= source.offset:
            continue
        if source.until is not None and start >= source.until:
            return
        yield frame


def _get_start(frame: AudioFrame) -> Fraction:
    return (frame.pts or 0) * (frame.time_base or Fraction(1))


def _describe_format(frame: AudioFrame) -> tuple[object, ...]:
    return frame.format.name, frame.sample_rate, frame.layout.name


def _build_graph(
    frame: AudioFrame,
    stream: AudioStream,
    source: SourceMetadata,
    output: AudioStream,
    tempo: Fraction,
) -> Graph:
    graph = Graph()
    nodes = [
        graph.add_abuffer(
            format=frame.format.name,
            sample_rate=frame.sample_rate,
            layout=frame.layout.name,
            time_base=frame.time_base or stream.time_base,
        )
    ]
    if source.trimmed:
        ends = f"start={float(source.offset)!r}"
        ends += f":end={float(source.until)!r}" if source.until is not None else ""
        nodes.append(graph.add("atrim", ends))
    # samples are counted behind this: gaps are filled, overlaps removed
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
    """Return factors within the range of atempo, with `tempo` as their product; none for 1."""
    factors: list[Fraction] = []
    while tempo < Fraction(1, 2):
        factors, tempo = [*factors, Fraction(1, 2)], tempo * 2
    while tempo > 2:
        factors, tempo = [*factors, Fraction(2)], tempo / 2
    return factors if tempo == 1 else [*factors, tempo]


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
