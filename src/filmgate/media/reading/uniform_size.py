"""One size and one pixel format for the entire video: those of its first frame."""

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


def fit_frames(
    frames: Iterator[DecodedFrame], spec: StreamSpec, first_pts: int
) -> Iterator[DecodedFrame]:
    """Yield the frames, those of another size scaled and centred on black.

    The first change is reported, with its time counted from `first_pts`.
    """
    reported, repaired = False, False
    for decoded in frames:
        frame, notice = decoded.frame, ""
        pixels = formats.find_planar_format(frame.format.name)
        at = f"at {float((decoded.pts - first_pts) * spec.time_base):.3f} s"
        if (frame.width, frame.height, pixels) != (spec.width, spec.height, spec.pixels):
            if (spec.pixels, frame.format.name) != ("gbrp", "bgra"):
                notice = (
                    f"{at} the video changes from {spec.width}x{spec.height} {spec.pixels} to "
                    f"{frame.width}x{frame.height} {pixels}: all frames are fitted to the first "
                    "size and format"
                )
            elif not is_opaque(frame):  # a gif that started without transparency
                notice = f"{at} the video becomes transparent: transparent pixels are shown white"
            if (frame.width, frame.height) != (spec.width, spec.height) or notice:
                frame = _fit_frame(frame, spec)
        repaired = repaired or bool(notice)
        notice, reported = "" if reported else notice, reported or bool(notice)
        notices = "; ".join(text for text in (decoded.notice, notice) if text)
        yield replace(decoded, frame=frame, notice=notices, repaired=decoded.repaired or repaired)


def is_opaque(frame: VideoFrame) -> bool:
    """Whether no pixel of a "bgra" frame is transparent."""
    return bool((frame.to_ndarray()[..., 3] == np.uint8(255)).all())


def _fit_frame(frame: VideoFrame, spec: StreamSpec) -> VideoFrame:
    """Return the frame scaled into `spec` with its aspect kept, centred on black."""
    frame.pts, frame.time_base = 0, Fraction(1, 1000)
    size = f"{spec.width}:{spec.height}"
    scale = (
        f"{size}:force_original_aspect_ratio=decrease:flags=bicubic+accurate_rnd+full_chroma_int"
    )
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
        graph.add("pad", f"{size}:(ow-iw)/2:(oh-ih)/2"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*nodes).configure()
    graph.vpush(frame)
    result = graph.vpull()
    assert isinstance(result, VideoFrame)
    return result
