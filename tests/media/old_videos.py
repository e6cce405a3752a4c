"""Videos of discs, tapes, old cameras and downloads, made with PyAV: containers, fields, film."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.container import OutputContainer
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from filmgate.core.frame import Frame
from filmgate.media.pixels.planes import Planes
from tests.videos import draw_image, write_once

Image: TypeAlias = npt.NDArray[np.uint8]
PAL, NTSC = Fraction(25), Fraction(30000, 1001)
_GROUPS = MappingProxyType({"g": "6"})
_MPEG = MappingProxyType({"qscale": "3", "g": "6", "bf": "2"})
_X264 = MappingProxyType({"preset": "veryfast", "crf": "16", "g": "6"})
_VP8 = MappingProxyType({"deadline": "realtime", "cpu-used": "8", "g": "6"})


@dataclass(frozen=True)
class OldVideo:
    """How to make a video; its name decides the container. `audio`: the encoder of a tone.

    `marks`: what frames say of their fields ("tff", "bff"); `field_order`: what the container says;
    `aspect`: of pixels; `format`: FFmpeg's name of it, where the name of the file says another.
    """

    codec: str
    frames: int = 20
    rate: Fraction = PAL
    size: tuple[int, int] = (64, 48)
    pixels: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=lambda: _GROUPS)
    audio: str = ""
    channels: int = 1
    marks: str = ""
    field_order: int = 0
    aspect: Fraction | None = None
    format: str | None = None


CONTAINERS: Mapping[str, OldVideo] = MappingProxyType(
    {
        "disc.vob": OldVideo("mpeg2video", options=_MPEG, audio="ac3"),
        "disc.mpg": OldVideo("mpeg1video", options=_MPEG, audio="mp2"),
        "download.wmv": OldVideo("wmv2", rate=NTSC, audio="wmav2"),
        "camera.asf": OldVideo("msmpeg4", audio="adpcm_ms"),
        "stream.flv": OldVideo("libx264", rate=NTSC, options=_X264, audio="aac"),
        "old.flv": OldVideo("flv", rate=Fraction(15)),
        "page.ogv": OldVideo("libvpx", options=_VP8, audio="flac"),
        "camera.mxf": OldVideo("mpeg2video", pixels="yuv422p", options=_MPEG, audio="pcm_s16le"),
        "tape.dv": OldVideo("dvvideo", frames=6, size=(720, 576), options=MappingProxyType({})),
        "download.rm": OldVideo("rv20", audio="ac3"),
        "server.gxf": OldVideo("mpeg2video", frames=8, size=(720, 576), options=_MPEG),
        "conference.ivf": OldVideo("libvpx", options=_VP8),
        "camera.h264": OldVideo("libx264", options=_X264),
        "phone.hevc": OldVideo(
            "libx265", options={"x265-params": "log-level=none:pools=1:keyint=6"}
        ),
        "disc.m2v": OldVideo("mpeg2video", options=_MPEG),
        "webcam.mjpeg": OldVideo("mjpeg", pixels="yuvj420p", options=MappingProxyType({})),
    }
)

# Bare streams of early telephones, of phones, and of studios.
BARE: Mapping[str, OldVideo] = MappingProxyType(
    {
        "phone.m4v": OldVideo("mpeg4", options={"g": "6", "bf": "2"}, format="m4v"),
        "call.h261": OldVideo("h261", size=(176, 144)),
        "call.h263": OldVideo("h263", size=(176, 144)),
        "new.obu": OldVideo("libsvtav1", options={"preset": "12", "svtav1-params": "keyint=6"}),
        "studio.drc": OldVideo(
            "vc2", size=(64, 48), pixels="yuv422p", options={"b": "10000000"}, format="dirac"
        ),
        "studio.dnxhd": OldVideo(
            "dnxhd", 10, size=(256, 144), pixels="yuv422p", options={"profile": "dnxhr_sq"}
        ),
    }
)


def make_old(spec: OldVideo, path: Path, images: Sequence[Image] | None = None) -> Path:
    """Write the video; `images` (rows, columns), grey, instead of numbered ones."""
    if images:
        _encode(spec, path, images)
        return path
    numbered = [draw_image(n, *spec.size) for n in range(spec.frames)]
    return write_once(path, spec, lambda: _encode(spec, path, numbered))


def _encode(spec: OldVideo, path: Path, images: Sequence[Image]) -> None:
    with av.open(str(path), "w", format=spec.format) as out:
        video = add_video(out, spec)
        audio = _add_audio(out, spec) if spec.audio else None
        converter = VideoReformatter()  # else each frame starts threads of its own
        for n, image in enumerate(images):
            grey = VideoFrame.from_ndarray(image, "gray")
            frame = converter.reformat(grey, format=spec.pixels, threads=1)
            frame = _mark(frame, spec.marks) if spec.marks else frame
            frame.pts, frame.time_base = n, 1 / spec.rate
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio is not None:
            _write_tone(out, audio, len(images) / spec.rate)


def add_video(out: OutputContainer, spec: OldVideo) -> VideoStream:
    """Add the stream of a video to a container."""
    video = out.add_stream(spec.codec, rate=spec.rate, options=dict(spec.options))
    assert isinstance(video, VideoStream)
    (video.width, video.height), video.pix_fmt = spec.size, spec.pixels
    video.codec_context.time_base = 1 / spec.rate
    video.codec_context.thread_count = 1
    if spec.aspect:
        video.codec_context.sample_aspect_ratio = spec.aspect
    if spec.field_order:
        video.codec_context.field_order = spec.field_order
    if spec.marks:
        video.codec_context.flags |= Flags.interlaced_dct | Flags.interlaced_me
    return video


def _mark(frame: VideoFrame, marks: str) -> VideoFrame:
    """Return the frame with the mark that it is interlaced."""
    graph = Graph()
    graph.threads = 1
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25)
    )
    graph.link_nodes(source, graph.add("setfield", marks), graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()


def _add_audio(out: OutputContainer, spec: OldVideo) -> AudioStream:
    audio = out.add_stream(spec.audio, rate=48000)
    assert isinstance(audio, AudioStream)
    audio.layout = "mono" if spec.channels == 1 else "stereo"
    audio.bit_rate = 96_000
    return audio


def _write_tone(out: OutputContainer, audio: AudioStream, seconds: Fraction) -> None:
    wave = np.sin(np.arange(round(48000 * seconds)) * 2 * np.pi * 440 / 48000).astype(np.float32)
    layout = audio.layout.name
    samples = np.repeat(0.3 * wave[None], audio.layout.nb_channels, 0)
    fitted = av.AudioResampler(audio.format.name, layout, 48000, audio.frame_size or 960)
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
    for part in [*fitted.resample(frame), *fitted.resample(None)]:
        out.mux(audio.encode(part))
    out.mux(audio.encode(None))


def draw_bar(number: int, size: tuple[int, int] = (128, 96), step: int = 3) -> Image:
    """Return a grey image of a bright bar that moves `step` pixels with each number."""
    width, height = size
    image = np.full((height, width), 32, np.uint8)
    left = number * step % (width - 16)
    image[:, left : left + 16] = 220
    return image


def weave(fields: Sequence[Image], first: str) -> list[Image]:
    """Return a frame of each two images: the lines of the `first` field ("top") of the earlier."""
    frames = []
    for early, late in zip(fields[::2], fields[1::2], strict=True):
        frame = early.copy()
        late_lines = slice(1, None, 2) if first == "top" else slice(0, None, 2)
        frame[late_lines] = late[late_lines]
        frames.append(frame)
    return frames


def pull_down(film: Sequence[Image]) -> list[Image]:
    """Return the frames of film on TV (3:2): five of each four, two of them of two images."""
    frames: list[Image] = []
    for at in range(0, len(film), 4):
        a, b, c, d = film[at : at + 4]
        frames += [a, b, *weave([b, c], "top"), *weave([c, d], "top"), d]
    return frames


def count_combed(frames: Sequence[Frame]) -> int:
    """Return how many frames have lines far from those above and below, which are alike."""
    combed = 0
    for frame in frames:
        assert isinstance(frame.image, Planes)
        luma = frame.image.arrays[0].astype(np.int16)
        up, down = luma[1:-1] - luma[:-2], luma[1:-1] - luma[2:]
        found = (np.abs(up) > 60) & (np.abs(down) > 60) & (np.abs(up - down) < 30)
        combed += int(found.sum()) > 50
    return combed
