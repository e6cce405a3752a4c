"""Deinterlacing, one frame for each interlaced frame."""

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


def describe_interlacing(field_order: str, *, deinterlaced: bool) -> str:
    """Return what the user should know about interlacing; empty if nothing.

    `field_order` is that of `read_field_order`, empty for a video that is not interlaced.
    """
    if deinterlaced and not field_order:
        return "the video is not marked as interlaced: every frame is deinterlaced"
    if field_order and not deinterlaced:
        return (
            f"the video is interlaced ({field_order} field first): pass --deinterlace to "
            "deinterlace it"
        )
    return ""


def deinterlace_frames(frames: Iterator[DecodedFrame], every: bool) -> Iterator[DecodedFrame]:
    """Yield the frames deinterlaced by bwdif; `every`: also those not marked as interlaced.

    A result depends on both neighbours, so the first one after a seek differs.
    """
    graph: Graph | None = None
    kind: tuple[int, int, str] | None = None
    waiting: deque[DecodedFrame] = deque()
    for decoded in frames:
        pixels = formats.find_planar_format(decoded.frame.format.name)
        frame = decoded.frame
        if frame.format.name.replace("yuvj", "yuv") != pixels:
            frame = frame.reformat(format=pixels)
        if graph is None or (frame.width, frame.height, frame.format.name) != kind:
            if graph is not None:
                yield from _pull_frames(graph, waiting, end=True)
            kind = frame.width, frame.height, frame.format.name
            graph = _build_graph(*kind, every)
        waiting.append(decoded)
        frame.pts, frame.time_base = decoded.pts, Fraction(1, 1000)
        graph.vpush(frame)
        yield from _pull_frames(graph, waiting)
    if graph is not None:
        yield from _pull_frames(graph, waiting, end=True)


def _build_graph(width: int, height: int, pixels: str, every: bool) -> Graph:
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


def _pull_frames(
    graph: Graph, waiting: deque[DecodedFrame], end: bool = False
) -> Iterator[DecodedFrame]:
    """Yield what the filter has ready: one result for each frame, in order."""
    if end:
        graph.vpush(None)
    while waiting:
        try:
            result = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        assert isinstance(result, VideoFrame)
        yield replace(waiting.popleft(), frame=result)
