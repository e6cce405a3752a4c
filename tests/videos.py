"""Tiny videos of every kind, generated on demand; each frame shows its own number."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from filmgate.core.frame import Frame
from filmgate.media.pixels.planes import Planes
from filmgate.media.writing.thread_priority import keep_priority

if TYPE_CHECKING:
    from av.container.core import Chapter

X264 = MappingProxyType({"preset": "veryfast", "crf": "16"})
UNEVEN = tuple(Fraction(n, 1000) for n in (0, 40, 100, 110, 250, 290, 300, 460, 500, 510, 620, 700))


@dataclass(frozen=True)
class Video:
    """How to generate a video: `times` (s) and `last` (duration of the last frame) over `rate`."""

    frames: int = 12
    size: tuple[int, int] = (64, 48)
    rate: Fraction = Fraction(25)
    times: tuple[Fraction, ...] = ()
    last: Fraction | None = None
    start: Fraction = Fraction(0)
    tick: Fraction = Fraction(1, 12800)
    codec: str = "libx264"
    pixels: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=lambda: X264)
    same: int = 1  # how many frames in a row show the same number
    colour: Mapping[str, int] = field(default_factory=dict)
    aspect: Fraction | None = None
    turn: int | None = None
    sounds: tuple[str, ...] = ()
    subtitles: str | None = None
    attachment: bool = False
    cover: bool = False
    second: bool = False  # another, smaller video stream before it
    chapters: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    container: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ".mp4"

    @property
    def shown(self) -> tuple[tuple[Fraction, Fraction, int], ...]:
        """Return the time (from 0), duration and number of each frame that is shown."""
        times = self.times or tuple(n / self.rate for n in range(self.frames))
        ends = (*times[1:], times[-1] + (self.last or 1 / self.rate))
        seen = [
            (time, end - time, n // self.same)
            for n, (time, end) in enumerate(zip(times, ends, strict=True))
            if time + self.start >= 0 or self.suffix == ".mkv"
        ]
        return tuple((time - seen[0][0], length, n) for time, length, n in seen)


@lru_cache(maxsize=500)
def draw_image(number: int, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Return grey (rows, columns): moving texture, with `number` in eight blocks along the top.

    It cannot be written to: it is drawn once.
    """
    y, x = np.mgrid[:height, :width]
    grey = 128 + 50 * np.sin((x + 3 * number) / 5) + 40 * np.cos((y - 2 * number) / 4)
    for bit in range(8):
        grey[:16, bit * 8 : bit * 8 + 8] = 200 if number >> bit & 1 else 50
    image = np.asarray(grey, np.uint8)
    image.flags.writeable = False
    return image


def read_number(frame: Frame) -> int:
    """Return the number that a frame shows."""
    assert isinstance(frame.image, Planes)
    luma, half = frame.image.arrays[0], 1 << frame.image.bits - 1
    blocks = luma[4:12, :64].reshape(8, 8, 8)[:, :, 2:6]  # rows, bits, columns
    return int(np.packbits(blocks.mean((0, 2)) > half, bitorder="little")[0])


_WRITTEN: dict[str, bytes] = {}  # files by what they hold


def write_once(path: Path, contents: object, write: Callable[[], object]) -> Path:
    """Let `write` write a file, or copy the one that it wrote for these contents and this suffix.

    `contents` describes the file by its repr.
    """
    key = f"{path.suffix} {contents!r}"
    if key in _WRITTEN:
        path.write_bytes(_WRITTEN[key])
    else:
        # else it prints banners, from now on
        with patch.dict(os.environ, SVT_LOG="1"), keep_priority():
            write()
        _WRITTEN[key] = path.read_bytes()
    return path


def make(spec: Video, path: Path) -> Path:
    """Write the video."""
    return write_once(path, spec, lambda: _encode(spec, path))


def _encode(spec: Video, path: Path) -> None:
    with av.open(str(path), "w", options=dict(spec.container)) as out:
        small = make_second_stream(spec) if spec.second else None
        smaller = _add_video(out, small) if small else None
        video = _add_video(out, spec)
        sounds = [_add_audio(out, codec) for codec in spec.sounds]
        words = _add_subtitles(out, spec.subtitles) if spec.subtitles else None
        if spec.attachment:
            out.add_attachment("font.ttf", "application/x-truetype-font", b"not really a font")
        if spec.cover and spec.suffix == ".mkv":
            out.add_attachment("cover.jpg", "image/jpeg", bytes(encode_jpegs([(32, 32)])[0]))
        cover = _add_cover(out) if spec.cover and spec.suffix != ".mkv" else None
        out.metadata.update(spec.metadata)
        if spec.chapters:
            out.set_chapters([make_chapter(n) for n in range(2)])
        out.start_encoding()
        if cover:
            _write_cover(out, cover)
        if smaller and small:
            _write_frames(out, smaller, small)
        _write_frames(out, video, spec)
        for sound in sounds:
            _write_audio(out, sound, float(spec.shown[-1][0]) + 0.2)
        if words:
            _write_subtitles(out, words, spec.subtitles == "mov_text")


def make_chapter(number: int) -> Chapter:
    """Return the chapter of 0.2 s with that number."""
    start, tick, title = 200 * number, Fraction(1, 1000), {"title": f"part {number}"}
    end = start + 200
    return {"id": number, "start": start, "end": end, "time_base": tick, "metadata": title}


def make_second_stream(spec: Video) -> Video:
    """Return the small second video stream of a video."""
    return Video(frames=spec.frames, size=(64, 32), rate=spec.rate)


def _add_video(out: OutputContainer, spec: Video) -> VideoStream:
    stream = out.add_stream(spec.codec, rate=spec.rate, options=dict(spec.options))
    assert isinstance(stream, VideoStream)
    stream.width, stream.height = spec.size
    stream.pix_fmt = spec.pixels
    stream.codec_context.time_base = spec.tick
    stream.codec_context.thread_count = 1
    stream.codec_context.flags |= Flags.frame_duration
    if spec.aspect:
        stream.codec_context.sample_aspect_ratio = spec.aspect
    if spec.turn is not None:
        stream.set_display_rotation(spec.turn)
    for name, value in spec.colour.items():
        setattr(stream.codec_context, name, value)
    stream.metadata["language"] = "deu"
    return stream


def _write_frames(out: OutputContainer, stream: VideoStream, spec: Video) -> None:
    times = spec.times or tuple(n / spec.rate for n in range(spec.frames))
    ends = (*times[1:], times[-1] + (spec.last or 1 / spec.rate))
    converter = VideoReformatter()  # else each frame starts threads of its own
    for n, (time, end) in enumerate(zip(times, ends, strict=True)):
        grey = VideoFrame.from_ndarray(draw_image(n // spec.same, *spec.size), "gray")
        frame = converter.reformat(grey, format=spec.pixels, threads=1)
        frame.pts = round((time + spec.start) / spec.tick)
        frame.duration = round((end - time) / spec.tick)
        frame.time_base = spec.tick
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def _add_audio(out: OutputContainer, codec: str) -> AudioStream:
    stream = out.add_stream(codec, rate=48000)
    assert isinstance(stream, AudioStream)
    stream.layout = "mono"
    stream.metadata["language"] = "fra"
    return stream


def _write_audio(out: OutputContainer, stream: AudioStream, seconds: float) -> None:
    wave = 0.3 * np.sin(np.arange(round(48000 * seconds)) / 20)
    converter = av.AudioResampler(stream.codec_context.format.name, "mono", 48000)
    for at in range(0, len(wave), 960):
        piece = wave[at : at + 960].astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, at, Fraction(1, 48000)
        for fit in converter.resample(frame):
            out.mux(stream.encode(fit))
    out.mux(stream.encode(None))


def _add_subtitles(out: OutputContainer, codec: str) -> Stream:
    stream = out.add_mux_stream(codec)
    stream.time_base = Fraction(1, 1000)
    stream.metadata["language"] = "eng"
    return stream


def _write_subtitles(out: OutputContainer, stream: Stream, counted: bool) -> None:
    for n in range(2):
        text = f"line {n}".encode()
        packet: Packet[Any] = Packet((len(text).to_bytes(2, "big") if counted else b"") + text)
        packet.stream, packet.time_base = stream, Fraction(1, 1000)
        packet.pts = packet.dts = 100 * n
        packet.duration = 80
        out.mux(packet)


def _add_cover(out: OutputContainer) -> Stream:
    stream = out.add_mux_stream("mjpeg", width=32, height=32)
    stream.disposition = Disposition.attached_pic
    stream.metadata.update({"filename": "cover.jpg", "mimetype": "image/jpeg"})
    return stream


def _write_cover(out: OutputContainer, stream: Stream) -> None:
    for packet in encode_jpegs([(32, 32)]):
        packet.stream, packet.pts, packet.dts = stream, 0, 0
        out.mux(packet)


def encode_jpegs(sizes: list[tuple[int, int]]) -> list[Packet[Any]]:
    """Return one JPEG image of each size, as packets."""
    found: list[Packet[Any]] = []
    for n, (width, height) in enumerate(sizes):
        context = av.CodecContext.create("mjpeg", "w")
        context.width, context.height, context.pix_fmt = width, height, "yuvj420p"
        context.time_base = Fraction(1, 25)
        grey = VideoFrame.from_ndarray(draw_image(n, width, height), "gray")
        frame = grey.reformat(format="yuvj420p")
        frame.pts, frame.time_base = n, Fraction(1, 25)
        found += [*context.encode(frame), *context.encode(None)]
    return found


def make_growing(path: Path) -> Path:
    """Write a video whose frames change their size half-way."""
    with av.open(str(path), "w") as out:
        stream = out.add_mux_stream("mjpeg", width=64, height=48)
        for n, packet in enumerate(encode_jpegs([(64, 48)] * 4 + [(96, 64)] * 4)):
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts = packet.dts = 40 * n
            packet.duration = 40
            out.mux(packet)
    return path


def make_stuttering(path: Path) -> Path:
    """Write a video in which two frames have the same time."""
    with av.open(str(path), "w") as out:
        stream = out.add_mux_stream("mjpeg", width=64, height=48)
        for n, packet in enumerate(encode_jpegs([(64, 48)] * 8)):
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts = packet.dts = 40 * (n - (n > 4))
            packet.duration = 40
            out.mux(packet)
    return path


def make_audio_only(path: Path) -> Path:
    """Write a file with audio and no video."""
    with av.open(str(path), "w") as out:
        _write_audio(out, _add_audio(out, "aac"), 0.3)
    return path


def make_truncated(spec: Video, share: float, path: Path) -> Path:
    """Write the first part of a video's bytes."""
    make(spec, path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def make_scratched(spec: Video, path: Path) -> Path:
    """Write a video with inverted bytes in the middle of a frame."""
    make(spec, path)
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    place = packets[len(packets) // 2]
    data = bytearray(path.read_bytes())
    at = data.index(bytes(place)) + place.size // 2
    for n in range(at, at + 24):
        data[n] ^= 0xFF
    path.write_bytes(bytes(data))
    return path


FULL = MappingProxyType({"color_range": 2, "colorspace": 5, "color_primaries": 5, "color_trc": 6})
HD = MappingProxyType({"color_range": 1, "colorspace": 1, "color_primaries": 1, "color_trc": 1})
PLAIN = MappingProxyType({**X264, "bf": "0"})
GOP = MappingProxyType({**X264, "g": "8", "bf": "3", "b_strategy": "0"})

VIDEOS: Mapping[str, Video] = MappingProxyType(
    {
        "even": Video(),
        "even_mkv": Video(suffix=".mkv", tick=Fraction(1, 1000)),
        "even_mov": Video(suffix=".mov"),
        "broadcast": Video(rate=Fraction(30000, 1001), tick=Fraction(1, 30000)),
        "uneven": Video(times=UNEVEN, last=Fraction(120, 1000), tick=Fraction(1, 90000),
                       options=PLAIN),
        "uneven_mkv": Video(times=UNEVEN, last=Fraction(120, 1000), tick=Fraction(1, 1000),
                           suffix=".mkv"),
        "held_first": Video(times=tuple(n + 3 if n else n for n in UNEVEN),
                           last=Fraction(10, 1000), tick=Fraction(1, 1000), options=PLAIN),
        "b_frames": Video(frames=40, options=GOP),
        "hidden_start": Video(start=Fraction(-3, 25), options=PLAIN),
        "late_start": Video(start=Fraction(1, 2), sounds=("aac",)),
        "late_start_mkv": Video(start=Fraction(1, 2), sounds=("pcm_s16le",), suffix=".mkv",
                               tick=Fraction(1, 1000)),
        "repeated": Video(same=3),
        "one_frame": Video(frames=1),
        "two_frames": Video(frames=2),
        "open_gop": Video(frames=40, options={**GOP, "x264-params": "open-gop=1"}),
        "open_gop_mkv": Video(frames=40, options={**GOP, "x264-params": "open-gop=1"},
                             suffix=".mkv", tick=Fraction(1, 1000)),
        "refreshed": Video(frames=40, options={**X264, "g": "8", "intra-refresh": "1"},
                          suffix=".mkv", tick=Fraction(1, 1000)),
        "hevc": Video(frames=24, codec="libx265", options={
            "x265-params": "log-level=none:open-gop=1:keyint=8:min-keyint=8:pools=1"}),
        "vp9": Video(frames=24, codec="libvpx-vp9", options={"deadline": "realtime", "g": "8"},
                    suffix=".webm", tick=Fraction(1, 1000)),
        "ffv1_rgb": Video(codec="ffv1", pixels="bgr0", options={}, suffix=".mkv",
                         tick=Fraction(1, 1000)),
        "packed": Video(codec="rawvideo", pixels="yuyv422", options={}, suffix=".mov"),
        "fragments": Video(frames=24, options=GOP, container={
            "movflags": "frag_keyframe+empty_moov"}),
        "odd": Video(size=(65, 49), pixels="yuv444p"),
        "ten_bits": Video(pixels="yuv420p10le", colour=HD),
        "words": Video(codec="libvpx-vp9", options={"deadline": "realtime"}, suffix=".mkv",
                      tick=Fraction(1, 1000), sounds=("libopus",), subtitles="subrip"),
        "prores": Video(times=UNEVEN, last=Fraction(120, 1000), codec="prores_ks",
                       pixels="yuv422p10le", options={}, suffix=".mov", tick=Fraction(1, 90000)),
        "half_chroma": Video(pixels="yuv422p"),
        "full_chroma": Video(pixels="yuv444p"),
        "grey": Video(codec="ffv1", pixels="gray", options={}, suffix=".mkv",
                     tick=Fraction(1, 1000)),
        "full_range": Video(colour=FULL),
        "full_range_jpeg": Video(codec="mjpeg", pixels="yuvj420p", options={}, suffix=".mkv",
                                tick=Fraction(1, 1000)),
        "tagged": Video(colour=HD, aspect=Fraction(4, 3)),
        "turned": Video(turn=90),
        "sound": Video(sounds=("aac",), metadata={"title": "A film", "my own key": "kept"}),
        "sound_mkv": Video(sounds=("libopus",), suffix=".mkv", tick=Fraction(1, 1000)),
        "rich": Video(sounds=("aac", "libopus"), subtitles="subrip", attachment=True, chapters=True,
                     metadata={"title": "A film", "MY_OWN_KEY": "kept"}, suffix=".mkv",
                     tick=Fraction(1, 1000)),
        "rich_mp4": Video(sounds=("aac", "aac"), subtitles="mov_text", chapters=True),
        "cover": Video(cover=True),
        "cover_mkv": Video(cover=True, suffix=".mkv", tick=Fraction(1, 1000)),
        "two_videos": Video(second=True, sounds=("aac",)),
    }
)  # fmt: skip

BROKEN: Mapping[str, Callable[[Path], Path]] = MappingProxyType(
    {
        "growing.mkv": make_growing,
        "stuttering.mkv": make_stuttering,
        "mute.mp4": make_audio_only,
        **{
            f"cut_{round(100 * share)}{suffix}": partial(
                make_truncated, Video(frames=40, suffix=suffix, options=GOP, container=how), share
            )
            for share in (0.3, 0.7, 0.97)
            for suffix, how in (
                (".mp4", {}), (".mov", {"movflags": "faststart"}), (".mkv", {}),
            )
        },
        "scratched_h264.mp4": partial(make_scratched, Video(frames=40, options=GOP)),
        "scratched_hevc.mp4": partial(make_scratched, VIDEOS["hevc"]),
    }
)  # fmt: skip
