"""One size and one pixel format for the whole film: those of its first picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from filmgate.core.frame import StreamSpec
from filmgate.media.pixels import formats
from filmgate.media.reading.decoded_frame import DecodedFrame


def fitted(shots: Iterator[DecodedFrame], spec: StreamSpec, begin: int) -> Iterator[DecodedFrame]:
    """The same pictures; those of another size stand in the middle of black ones.

    Where a film changes for the first time this is noted; `begin` is the first picture's pts.
    """
    told, repaired = False, False
    for shot in shots:
        frame, note = shot.frame, ""
        pixels = formats.planar(frame.format.name)
        at = f"at {float((shot.pts - begin) * spec.time_base):.3f} s"
        if (frame.width, frame.height, pixels) != (spec.width, spec.height, spec.pixels):
            if (spec.pixels, frame.format.name) != ("gbrp", "bgra"):
                note = (
                    f"{at} the film changes from {spec.width}x{spec.height} {spec.pixels} to "
                    f"{frame.width}x{frame.height} {pixels}: all is fitted into the first size"
                )
            elif not opaque(frame):  # a gif that began without transparency
                note = f"{at} the film becomes transparent: what is transparent is shown white"
            if (frame.width, frame.height) != (spec.width, spec.height) or note:
                frame = _boxed(frame, spec)
        repaired = repaired or bool(note)
        note, told = "" if told else note, told or bool(note)
        said = "; ".join(text for text in (shot.noted, note) if text)
        yield replace(shot, frame=frame, noted=said, repaired=shot.repaired or repaired)


def opaque(frame: VideoFrame) -> bool:
    """Whether no pixel of a "bgra" picture is transparent."""
    return bool((frame.to_ndarray()[..., 3] == np.uint8(255)).all())


def _boxed(frame: VideoFrame, spec: StreamSpec) -> VideoFrame:
    """The picture in the middle of a black one; its aspect is kept."""
    frame.pts, frame.time_base = 0, Fraction(1, 1000)
    to = f"{spec.width}:{spec.height}"
    scale = f"{to}:force_original_aspect_ratio=decrease:flags=bicubic+accurate_rnd+full_chroma_int"
    if spec.colour.range != "unknown":
        scale += f":out_range={spec.colour.range}"
    graph = Graph()
    graph.threads = 1
    nodes = [
        graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=VideoFormat(frame.format.name, frame.width, frame.height),
            time_base=frame.time_base,
        ),
        graph.add("scale", scale),
        graph.add("format", spec.pixels),
        graph.add("pad", f"{to}:(ow-iw)/2:(oh-ih)/2"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*nodes).configure()
    graph.vpush(frame)
    found = graph.vpull()
    assert isinstance(found, VideoFrame)
    return found
