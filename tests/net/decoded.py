"""Describe what is in an output file, decoded with PyAV alone: lines of text, to be hashed."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.stream import AttachmentStream, Stream
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.stream import VideoStream

LEFT_OUT = ("encoder", "filmgate")  # metadata: a library's version, and the job with ours
HDR = (Type.MASTERING_DISPLAY_METADATA, Type.CONTENT_LIGHT_LEVEL)
SIDES: tuple[Literal["start"], Literal["end"]] = ("start", "end")


def hash_outputs(folder: Path) -> str:
    """Return the SHA-256 of the description of `folder`."""
    return sha256("\n".join(describe_outputs(folder)).encode()).hexdigest()


def describe_outputs(folder: Path) -> Iterator[str]:
    """Yield lines on everything in `folder` whose name starts with "out", in the order of names.

    Folders count too, so that what a run leaves next to its result is included.
    """
    for path in sorted(folder.glob("out*")):
        if path.is_file():
            yield from describe(path, path.name)
        for image in sorted(path.rglob("*")):
            yield from describe(image, image.relative_to(folder).as_posix())


def describe(path: Path, name: str) -> Iterator[str]:
    """Yield lines on the container and its streams, then every frame or packet, by stream."""
    with av.open(str(path)) as container:
        yield f"file {name} {container.format.name} {_tags(container.metadata)}"
        for chapter in container.chapters():
            start, end = (_seconds(chapter[side], chapter["time_base"]) for side in SIDES)
            yield f"chapter {start} {end} {_tags(chapter['metadata'])}"
        for stream in container.streams:
            yield _stream(stream)
        found = sorted(_contents(container), key=lambda one: one[0])
        yield from (f"{index} {what}" for index, what in found)


def _stream(stream: Stream) -> str:
    shape: tuple[object, ...] = ()
    if isinstance(stream, VideoStream):
        rates = stream.average_rate, stream.sample_aspect_ratio
        shape = (stream.codec_context.name, stream.format.name, *rates)
    elif isinstance(stream, AttachmentStream):
        shape = (stream.name, stream.mimetype, _digest(stream.data))
    elif stream.type == "audio":
        shape = (stream.codec_context.name, stream.time_base)
    marks = int(stream.disposition), _tags(stream.metadata)
    return " ".join(map(str, ("stream", stream.index, stream.type, *shape, *marks)))


def _contents(container: InputContainer) -> Iterator[tuple[int, str]]:
    """Yield the index of each stream and a description of its frames or packets."""
    for packet in container.demux():
        stream = packet.stream
        if stream.type in ("video", "audio"):
            for frame in packet.decode():
                yield stream.index, _frame(frame)
        elif packet.size:
            times = (_seconds(t, packet.time_base) for t in (packet.pts, packet.duration))
            yield stream.index, " ".join(map(str, (*times, _digest(bytes(packet)))))


def _frame(frame: Any) -> str:
    times = [_seconds(t, frame.time_base) for t in (frame.pts, frame.duration)]
    if isinstance(frame, AudioFrame):
        what = [frame.format.name, frame.layout.name, frame.sample_rate, frame.samples]
        return " ".join(map(str, (*times, *what, _digest(frame.to_ndarray().tobytes()))))
    assert isinstance(frame, VideoFrame)
    colour = frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc
    marks = [*map(int, colour), frame.rotation, frame.interlaced_frame]
    sides: Any = frame.side_data  # its own types are wrong
    light = [_digest(bytes(side)) for side in sides if side.type in HDR]
    planes = b"".join(map(_samples, frame.planes, [frame] * len(frame.planes), range(4)))
    what = [frame.format.name, f"{frame.width}x{frame.height}", *marks, *light]
    return " ".join(map(str, (*times, *what, _digest(planes))))


def _samples(plane: VideoPlane, frame: VideoFrame, number: int) -> bytes:
    """Return a plane's bytes without the padding of its rows."""
    parts = [part for part in frame.format.components if part.plane == number]
    if len(frame.planes) == 1:  # packed: formats such as yuyv422 share their samples
        width = plane.width * frame.format.padded_bits_per_pixel // 8
    else:
        width = sum(plane.width * (-(-part.bits // 8)) for part in parts)
    rows = np.frombuffer(memoryview(plane), np.uint8)[: plane.height * plane.line_size]
    return bytes(rows.reshape(plane.height, plane.line_size)[:, :width].tobytes())


def _seconds(ticks: int | None, time_base: Fraction | None) -> Fraction | None:
    """Return an exact time, None if the file has none."""
    return None if ticks is None or time_base is None else ticks * time_base


def _tags(metadata: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted(item for item in metadata.items() if item[0].lower() not in LEFT_OUT)


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:16]
