"""Whole pictures from interlaced ones, one for each frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import av
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from filmgate.media.pixels import formats
from filmgate.media.reading.decoded_frame import DecodedFrame


def whole(shots: Iterator[DecodedFrame], every: bool) -> Iterator[DecodedFrame]:
    """The same pictures, deinterlaced (bwdif); `every`: those too that don't say they need it.

    One result takes its neighbours, so the first after a seek is not that of the whole film.
    """
    graph: Graph | None = None
    kind: tuple[int, int, str] | None = None
    waiting: deque[DecodedFrame] = deque()
    for shot in shots:
        pixels = formats.planar(shot.frame.format.name)
        frame = shot.frame
        if frame.format.name.replace("yuvj", "yuv") != pixels:
            frame = frame.reformat(format=pixels)
        if graph is None or (frame.width, frame.height, frame.format.name) != kind:
            if graph is not None:
                yield from _pulled(graph, waiting, end=True)
            kind = frame.width, frame.height, frame.format.name
            graph = _graph(*kind, every)
        waiting.append(shot)
        frame.pts, frame.time_base = shot.pts, Fraction(1, 1000)
        graph.vpush(frame)
        yield from _pulled(graph, waiting)
    if graph is not None:
        yield from _pulled(graph, waiting, end=True)


def _graph(width: int, height: int, pixels: str, every: bool) -> Graph:
    graph = Graph()
    graph.threads = 1
    format = VideoFormat(pixels, width, height)
    source = graph.add_buffer(
        width=width, height=height, format=format, time_base=Fraction(1, 1000)
    )
    which = "all" if every else "interlaced"
    graph.link_nodes(
        source, graph.add("bwdif", f"mode=send_frame:deint={which}"), graph.add("buffersink")
    ).configure()
    return graph


def _pulled(
    graph: Graph, waiting: deque[DecodedFrame], end: bool = False
) -> Iterator[DecodedFrame]:
    """What the filter has ready: results come in order, one for each picture."""
    if end:
        graph.vpush(None)
    while waiting:
        try:
            found = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        assert isinstance(found, VideoFrame)
        yield replace(waiting.popleft(), frame=found)
