"""Deinterlacing: one frame for both fields, one for each field, or the frames of a film (3:2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby
from math import ceil
from typing import TypeAlias

import av
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from filmgate.errors import Unsupported
from filmgate.media.fields.evidence import Interlacing
from filmgate.media.fields.watch import ADVICE
from filmgate.media.options import Deinterlace
from filmgate.media.pixels import formats
from filmgate.media.reading.decoded_frame import DecodedFrame

_TICK = Fraction(1, 1000)  # of frames in filters, where they are counted
_FILM_SHARE = Fraction(4, 5)  # of the frames of film on TV (3:2) are the film's own
_CYCLE = 5  # frames of which one is dropped
_FILM_RATES = (Fraction(30000, 1001), Fraction(30))

_Filters: TypeAlias = tuple[tuple[str, str], ...]


def describe_interlacing(interlacing: Interlacing, mode: Deinterlace | None) -> str:
    """Return what the user should know about interlacing; empty if nothing."""
    if mode is None:
        return f"the video is interlaced ({interlacing}): {ADVICE}" if interlacing else ""
    if mode == "off":
        return ""
    if not interlacing or interlacing.source == "images":
        order = f", {interlacing.first} field first, by its images" if interlacing else ""
        return f"the video is not marked as interlaced: every frame is deinterlaced{order}"
    if interlacing.source == "container":
        return f"every frame is deinterlaced ({interlacing})"
    return ""


def find_film_rate(rate: Fraction | None) -> Fraction:
    """Return the rate of the film in a video of `rate` frames a second. Raises Unsupported."""
    if rate is not None and rate / _FILM_SHARE in _FILM_RATES:
        return rate  # it has no other frames
    if rate not in _FILM_RATES:
        found = "a variable rate" if rate is None else f"{rate} frames a second"
        raise Unsupported(
            f"the video has {found}, wanted 30000/1001 or 30, at which film is on TV (3:2): pass "
            "--deinterlace frames or fields"
        )
    return rate * _FILM_SHARE


def deinterlace_frames(
    frames: Iterator[DecodedFrame], mode: Deinterlace, interlacing: Interlacing
) -> Iterator[DecodedFrame]:
    """Yield the frames deinterlaced; with `fields`, ticks of results are half as long.

    A result depends on both neighbours, so the first frame after a seek differs, and with `fields`
    the first two. `film` needs all frames from the start; its frame n is at tick n.
    """
    filters = _name_filters(mode, interlacing)
    if mode == "film":
        yield from _restore_film(frames, filters)
    elif mode == "fields":
        yield from _filter_frames(_split_times(frames), filters)
    else:
        yield from _filter_frames(((frame,) for frame in frames), filters)


def _name_filters(mode: Deinterlace, interlacing: Interlacing) -> _Filters:
    """Return the filters with their arguments."""
    order = {"top": "tff", "bottom": "bff"}.get(interlacing.first, "auto")
    which = "interlaced" if interlacing.each else "all"
    marks = () if interlacing.each or order == "auto" else (("setfield", order),)
    if mode == "film":
        left = ("bwdif", "mode=send_frame:deint=interlaced")  # what cannot be matched
        # decimate wants to know a rate, whatever it is
        rate = ("fps", f"fps={1 / _TICK}")
        return (*marks, rate, ("fieldmatch", "combmatch=full"), left, ("decimate", ""))
    send = "send_field" if mode == "fields" else "send_frame"
    return (*marks, ("bwdif", f"mode={send}:deint={which}"))


def _split_times(frames: Iterator[DecodedFrame]) -> Iterator[tuple[DecodedFrame, ...]]:
    """Yield each frame as two, the second one half-way to the next frame."""
    held: DecodedFrame | None = None
    for following in frames:
        if held is not None:
            yield _split_frame(held, following.pts - held.pts)
        held = following
    if held is not None:
        yield _split_frame(held, held.duration)


def _split_frame(decoded: DecodedFrame, length: int) -> tuple[DecodedFrame, DecodedFrame]:
    first = replace(decoded, pts=2 * decoded.pts, duration=length)
    second = replace(first, pts=first.pts + max(1, length), notice="", captions=b"", concealed="")
    return first, second


@dataclass(slots=True)
class _Filter:
    """A filter graph for frames of one size and format; frames are numbered in it."""

    graph: Graph
    kind: tuple[int, int, str]
    pushed: int = 0

    @classmethod
    def build(cls, frame: VideoFrame, filters: _Filters) -> _Filter:
        """Return the graph for frames such as this one."""
        graph = Graph()
        graph.threads = 1
        kind = frame.width, frame.height, frame.format.name
        format = VideoFormat(kind[2], kind[0], kind[1])
        nodes = [graph.add_buffer(width=kind[0], height=kind[1], format=format, time_base=_TICK)]
        nodes += [graph.add(name, arguments) for name, arguments in filters]
        graph.link_nodes(*nodes, graph.add("buffersink")).configure()
        return cls(graph, kind)

    def takes(self, frame: VideoFrame) -> bool:
        """Whether the frame is of the size and format that the graph is for."""
        return (frame.width, frame.height, frame.format.name) == self.kind

    def push(self, frame: VideoFrame | None) -> list[VideoFrame]:
        """Take the next frame, None at the end; return the results that are ready."""
        if frame is not None:
            frame.pts, frame.time_base, frame.duration = self.pushed, _TICK, 1
            self.pushed += 1
        self.graph.vpush(frame)
        results: list[VideoFrame] = []
        while True:
            try:
                result = self.graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return results
            assert isinstance(result, VideoFrame)
            results.append(result)


def _filter_frames(
    inputs: Iterator[tuple[DecodedFrame, ...]], filters: _Filters
) -> Iterator[DecodedFrame]:
    """Yield the results of each frame at its times; one that is not interlaced has only one."""
    filter: _Filter | None = None
    waiting: deque[tuple[DecodedFrame, ...]] = deque()

    def collect(results: list[VideoFrame]) -> Iterator[DecodedFrame]:
        for _, group in groupby(results, lambda result: (result.pts or 0) // 2):
            made = list(group)
            for n, moment in enumerate(waiting.popleft()):
                yield replace(moment, frame=made[min(n, len(made) - 1)])

    for moments in inputs:
        frame = _make_planar(moments[0].frame)
        if filter is None or not filter.takes(frame):
            if filter is not None:
                yield from collect(filter.push(None))
            filter = _Filter.build(frame, filters)
        waiting.append(moments)
        yield from collect(filter.push(frame))
    if filter is not None:
        yield from collect(filter.push(None))


def _restore_film(frames: Iterator[DecodedFrame], filters: _Filters) -> Iterator[DecodedFrame]:
    """Yield the frames of a film; what was said of a dropped one is said of one next to it.

    Raises Unsupported where the size or format changes.
    """
    filter: _Filter | None = None
    decoded: DecodedFrame | None = None
    waiting: deque[DecodedFrame] = deque()  # inputs whose results are not made yet
    count = made = 0
    for decoded in frames:
        frame = _make_planar(decoded.frame)
        filter = filter or _Filter.build(frame, filters)
        if not filter.takes(frame):
            raise Unsupported(
                f"the video changes to {frame.width}x{frame.height} {frame.format.name} at frame "
                f"{count}, wanted one size and format for --deinterlace film: pass frames or fields"
            )
        waiting.append(decoded)
        count += 1
        for result in filter.push(frame):
            yield _make_film_frame(made, result, waiting)
            made += 1
    if filter is None or decoded is None:
        return
    results = []
    for _ in range(-count % _CYCLE):  # else the filter forgets what is no complete cycle
        results += filter.push(_make_planar(decoded.frame))
    for result in [*results, *filter.push(None)][: ceil(count * _FILM_SHARE) - made]:
        yield _make_film_frame(made, result, waiting)
        made += 1


def _make_film_frame(index: int, result: VideoFrame, waiting: deque[DecodedFrame]) -> DecodedFrame:
    """Return frame `index` of a film; it takes what was said of one or two inputs."""
    both = index % (_CYCLE - 1) == 0 and len(waiting) > 1
    used = [waiting.popleft() for _ in range(1 + both)]
    if not waiting:  # the end of a cycle that is not complete is made of its last input
        waiting.append(replace(used[-1], concealed="", notice="", captions=b""))
    return replace(
        used[0],
        frame=result,
        pts=index,
        duration=1,
        concealed=next((one.concealed for one in used if one.concealed), ""),
        notice="; ".join(one.notice for one in used if one.notice),
        captions=b"".join(one.captions for one in used),
        repaired=any(one.repaired for one in used),
    )


def _make_planar(frame: VideoFrame) -> VideoFrame:
    pixels = formats.find_planar_format(frame.format.name)
    if frame.format.name.replace("yuvj", "yuv") == pixels:
        return frame
    return frame.reformat(format=pixels)
