"""One size and one pixel format for the entire video: those of its first frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from filmgate.core.frame import StreamSpec
from filmgate.media.pixels import formats
from filmgate.media.reading.decoded_frame import DecodedFrame

_SAME = Fraction(1)


def fit_frames(
    frames: Iterator[DecodedFrame], spec: StreamSpec, first_pts: int, aspect: Fraction | None
) -> Iterator[DecodedFrame]:
    """Yield the frames, those of another size or pixel shape scaled and centred on black.

    The first change of each kind is reported, with its time counted from `first_pts`. `aspect` is
    that of the first frame's pixels.
    """
    reported: set[str] = set()
    repaired = False
    for decoded in frames:
        frame = decoded.frame
        kind, notice = _describe_change(frame, spec)
        stretch = decoded.aspect / aspect if decoded.aspect and aspect else _SAME
        if not kind and stretch == _SAME and not repaired:  # nearly all
            yield decoded
            continue
        if stretch != _SAME and not kind:
            kind = "shape"
            notice = (
                f"the shape of pixels changes from {aspect} to {decoded.aspect}: frames of another "
                "shape are scaled and get black bars, so that all have the first one"
            )
        if kind and (kind != "format" or notice):
            frame = _fit_frame(frame, spec, stretch)
        repaired = repaired or bool(notice)
        at = f"at {float((decoded.pts - first_pts) * spec.time_base):.3f} s"
        notice = f"{at} {notice}" if notice and kind not in reported else ""
        reported.add(kind if notice else "")
        notices = "; ".join(text for text in (decoded.notice, notice) if text)
        yield replace(decoded, frame=frame, notice=notices, repaired=decoded.repaired or repaired)


def _describe_change(frame: VideoFrame, spec: StreamSpec) -> tuple[str, str]:
    """Return what differs from the first frame, "size" or "format", and what to report about it."""
    pixels = formats.find_planar_format(frame.format.name)
    if (frame.width, frame.height, pixels) == (spec.width, spec.height, spec.pixels):
        return "", ""
    if (spec.pixels, frame.format.name) != ("gbrp", "bgra"):
        return "size", (
            f"the video changes from {spec.width}x{spec.height} {spec.pixels} to "
            f"{frame.width}x{frame.height} {pixels}: all frames are fitted to the first size and "
            "format"
        )
    size = "size" if (frame.width, frame.height) != (spec.width, spec.height) else "format"
    if is_opaque(frame):  # a gif that started without transparency
        return size, ""
    return size, "the video becomes transparent: transparent pixels are shown white"


def is_opaque(frame: VideoFrame) -> bool:
    """Whether no pixel of a "bgra" frame is transparent."""
    return bool((frame.to_ndarray()[..., 3] == 255).all())


def _fit_frame(frame: VideoFrame, spec: StreamSpec, stretch: Fraction) -> VideoFrame:
    """Return the frame scaled into `spec` with its aspect kept, centred on black.

    Its pixels are `stretch` times as wide as those of `spec`.
    """
    frame.pts, frame.time_base = 0, Fraction(1, 1000)
    size = inside = f"{spec.width}:{spec.height}"
    if stretch != 1:
        ratio = min(spec.width / (frame.width * stretch), Fraction(spec.height, frame.height))
        inside = f"{round(frame.width * stretch * ratio)}:{round(frame.height * ratio)}"
    scale = (
        f"{inside}:force_original_aspect_ratio={'decrease' if stretch == 1 else 'disable'}"
        ":flags=bicubic+accurate_rnd+full_chroma_int"
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
