"""Awkward sample videos, and a check that any reader must pass."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

import av

from filmgate.core.frame import Frame
from filmgate.media.pixels.planes import Planes
from filmgate.media.reading.video_reader import VideoReader
from tests import videos
from tests.videos import GOP, X264, Video

FIELDS = MappingProxyType({**X264, "flags": "+ildct", "x264-params": "interlaced=1:tff=1"})
_GROUP = 10  # frames from a keyframe to the next in most of these videos, at most
PQ = MappingProxyType({"color_range": 1, "colorspace": 9, "color_primaries": 9, "color_trc": 16})
MORE = MappingProxyType(
    {
        "mpeg4_avi": Video(frames=20, suffix=".avi", codec="mpeg4", tick=Fraction(1, 25),
                                options={"bf": "2", "g": "8"}),
        "h264_avi": Video(frames=20, suffix=".avi", tick=Fraction(1, 25), options=GOP),
        "mjpeg_avi": Video(suffix=".avi", codec="mjpeg", pixels="yuvj420p", options={},
                                tick=Fraction(1, 25)),
        "h264_ts": Video(frames=40, suffix=".ts", tick=Fraction(1, 90000), options=GOP),
        "mpeg2_ts": Video(frames=20, suffix=".ts", codec="mpeg2video", tick=Fraction(1, 25),
                               options={"bf": "2", "g": "8"}),
        "late_ts": Video(start=Fraction(7), sounds=("aac",), suffix=".ts",
                              tick=Fraction(1, 90000)),
        "gif": Video(suffix=".gif", codec="gif", pixels="gray", options={},
                          tick=Fraction(1, 100), times=videos.UNEVEN, last=Fraction(12, 100)),
        "y4m": Video(suffix=".y4m", codec="wrapped_avframe", options={},
                          tick=Fraction(1, 25)),
        "nut": Video(frames=20, suffix=".nut", options=GOP),
        "uneven_nut": Video(times=videos.UNEVEN, suffix=".nut",
                                 tick=Fraction(1, 1000), options=videos.PLAIN),
        "fields": Video(frames=20, options={**FIELDS, "g": "6"}),
        "fields_ts": Video(frames=20, options={**FIELDS, "g": "6"}, suffix=".ts",
                                tick=Fraction(1, 90000)),
        "fields_10": Video(frames=8, pixels="yuv422p10le", options=FIELDS),
        "hdr": Video(codec="libx265", pixels="yuv420p10le", colour=PQ, options={
            "x265-params": "log-level=none:pools=1:hdr10=1:max-cll=1000,400"}),
        "twelve_bits": Video(codec="libx265", pixels="yuv422p12le", options={
            "x265-params": "log-level=none:pools=1"}),
        "alpha_mov": Video(codec="prores_ks", pixels="yuva444p10le",
                                options={"profile": "4444"}, suffix=".mov"),
        "alpha_mkv": Video(codec="ffv1", pixels="yuva420p", options={}, suffix=".mkv",
                                tick=Fraction(1, 1000)),
        "odd_half": Video(size=(65, 49), codec="ffv1", options={}, suffix=".mkv",
                               tick=Fraction(1, 1000)),
        "av1": Video(codec="libsvtav1", size=(64, 64), options={"preset": "11"}),
        "flac": Video(sounds=("flac",), suffix=".mkv", tick=Fraction(1, 1000)),
        "mp3": Video(sounds=("libmp3lame",)),
    }
)  # fmt: skip


def write_jpegs(path: Path, times: Sequence[int], sizes: Sequence[tuple[int, int]] = ()) -> Path:
    """Write a video of JPEG frames at these times (milliseconds), in this order."""
    with av.open(str(path), "w") as out:
        stream = out.add_mux_stream("mjpeg", width=64, height=48)
        shots = videos.encode_jpegs(list(sizes) or [(64, 48)] * len(times))
        for n, (time, packet) in enumerate(zip(times, shots, strict=True)):
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts, packet.dts = 9000 + time, n  # muxers want dts to grow
            packet.duration = 40
            out.mux(packet)
    return path


def read_frames(video: VideoReader) -> list[Frame]:
    return [frame for chunk, _ in video.read(None, 8) for frame in chunk]


def describe_frame(frame: Frame) -> tuple[object, ...]:
    assert isinstance(frame.image, Planes)
    planes = [array.tobytes() for array in frame.image.arrays]
    return frame.index, frame.time, frame.duration, dict(frame.extras), planes


def check_any_cursor(video: VideoReader, *, every: bool = False) -> list[Frame]:
    """Check that reading from any cursor gives the same frames and extras; return all frames.

    All cursors in the first group of frames and behind repairs are tried, then every fifth and the
    last; with `every`, all. Every fifth gives all frames that follow, the others more than a group.
    """
    chunks = list(video.read(None, 1))
    everything = [describe_frame(frame) for (frame,), _ in chunks]
    for index, ((frame,), cursor) in enumerate(chunks, 1):
        if not every and _GROUP < index < len(chunks) and index % 5 and not frame.extras:
            continue
        count = len(chunks) if index % 5 == 0 else _GROUP + 1
        rest: list[tuple[object, ...]] = []
        for part, _ in video.read(cursor, 4):
            rest += map(describe_frame, part)
            if len(rest) >= count:
                break
        assert rest == everything[index : index + max(count, len(rest))]
    return [frame for (frame,), _ in chunks]
