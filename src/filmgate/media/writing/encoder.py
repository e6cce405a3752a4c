"""The encoder: frames into packets, the same ones each time."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av
from av.codec.context import Flags
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from filmgate.core.frame import Frame, StreamSpec
from filmgate.errors import StageContractError, Unsupported
from filmgate.media.codecs import CODECS
from filmgate.media.pixels import formats
from filmgate.media.pixels.av_frames import rows_of
from filmgate.media.pixels.planes import Planes, has_alpha, is_hdr
from filmgate.media.sinks import VideoOutput
from filmgate.media.source_metadata import SourceMetadata
from filmgate.media.writing.hdr_metadata import light_options


class Encoder:
    """Turns frames into packets that count in `tick` seconds of the container's timeline.

    Groups of pictures are closed and `threads` is pinned, so the same frames give the same
    packets. Raises Unsupported before the first frame if the encoder can't take such pictures.
    """

    def __init__(
        self,
        output: VideoOutput,
        spec: StreamSpec,
        tick: Fraction,
        origin: SourceMetadata,
        threads: int,
    ) -> None:
        self.tick, self._offset, self._spec = tick, origin.place, spec
        encoder = CODECS[output.coded].encoder
        self._given = _check(output.coded, spec)
        self.start = self._ends = self._ticks(Fraction(0))  # film time 0
        self._lasting: dict[int, int] = {}  # ticks, by pts: not every encoder passes them on
        # An encoder's stream belongs to a container; this one is only there to describe it.
        home = "nut" if encoder == "rawvideo" else "matroska"
        self._home = av.open(io.BytesIO(), "w", format=home)
        options = _options(output, spec, origin, threads)
        os.environ.setdefault("SVT_LOG", "1")  # it would tell of itself on standard error
        stream = self._home.add_stream(encoder, rate=spec.rate or Fraction(30), options=options)
        assert isinstance(stream, VideoStream)
        self.stream = stream
        context = self.stream.codec_context
        context.width, context.height, context.pix_fmt = spec.width, spec.height, self._given
        context.time_base = tick
        context.thread_count = threads
        context.flags |= Flags.frame_duration | Flags.closed_gop
        colour = spec.colour
        context.colorspace = formats.code_of(formats.MATRICES, colour.matrix)
        context.color_primaries = formats.code_of(formats.PRIMARIES, colour.primaries)
        context.color_trc = formats.code_of(formats.TRANSFERS, colour.transfer)
        context.color_range = formats.code_of(formats.RANGES, colour.range, unknown=0)
        if origin.aspect:
            context.sample_aspect_ratio = origin.aspect
        try:
            self._home.start_encoding()
        except av.FFmpegError as error:
            soft = output.coded.partition("_")[0]
            raise Unsupported(
                f"{encoder} does not take {spec.width}x{spec.height} {self._given} with {options}: "
                f"{error.strerror}; "
                + (f"choose codec {soft}" if soft != output.coded else "try codec ffv1")
            ) from error
        self.dropped: list[str] = []
        if any(origin.light) and is_hdr(spec.colour) and not light_options(encoder, origin):
            self.dropped.append(
                f"mastering display and light level are left out: {encoder} has no words for them"
            )

    def packets(self, frames: Iterable[Frame]) -> list[Packet[Any]]:
        """What is ready after these frames; some wait inside."""
        done: list[Packet[Any]] = []
        for frame in frames:
            pts, end = self._ticks(frame.time), self._ticks(frame.end)
            if pts < self._ends:
                raise Unsupported(
                    f"frame {frame.index} at {float(frame.time):.6f} s falls on the one before it: "
                    f"the container counts in {float(self.tick):.6f} s; name the output .mp4"
                )
            picture = self._picture(frame)
            # a duration of 0 means untold, and readers would make up another
            self._ends = max(end, pts + 1)
            picture.pts, picture.duration, picture.time_base = pts, self._ends - pts, self.tick
            self._lasting[pts] = picture.duration
            done += self._timed(self.stream.encode(picture))
        return done

    def flush(self) -> list[Packet[Any]]:
        """What still waits."""
        return self._timed(self.stream.encode(None))

    @property
    def end(self) -> int:
        """Where the last frame given ends, in ticks."""
        return self._ends

    def close(self) -> None:
        """Gives the encoder's memory back."""
        self._home.close()

    def _timed(self, packets: list[Packet[Any]]) -> list[Packet[Any]]:
        for packet in packets:
            packet.duration = self._lasting.pop(packet.pts or 0, packet.duration or 0)
        return packets

    def _ticks(self, time: Fraction) -> int:
        return round((time + self._offset) / self.tick)

    def _picture(self, frame: Frame) -> VideoFrame:
        planes, spec = frame.image, self._spec
        if not isinstance(planes, Planes):
            raise StageContractError(
                f"frame {frame.index} is a {type(planes).__name__}, wanted Planes"
            )
        if (planes.size, planes.pixels) != ((spec.width, spec.height), spec.pixels):
            raise StageContractError(
                f"frame {frame.index} is {planes.size[0]}x{planes.size[1]} {planes.pixels}, wanted "
                f"{spec.width}x{spec.height} {spec.pixels}"
            )
        picture = VideoFrame(spec.width, spec.height, spec.pixels)
        for plane, array in zip(picture.planes, planes.arrays, strict=True):
            rows_of(plane, array.dtype)[: array.shape[0], : array.shape[1]] = array
        if self._given != spec.pixels:
            picture = picture.reformat(format=self._given)
        context = self.stream.codec_context  # some encoders ask the picture and not the stream
        picture.colorspace, picture.color_range = context.colorspace, context.color_range
        picture.color_primaries, picture.color_trc = context.color_primaries, context.color_trc
        return picture


def _check(codec: str, spec: StreamSpec) -> str:
    """The format that the encoder is given. Raises Unsupported."""
    encoder = CODECS[codec].encoder
    if encoder not in av.codecs_available:
        raise Unsupported(
            f"FFmpeg has no {encoder} here: choose codec {codec.partition('_')[0]}, which needs no "
            "graphics card"
        )
    given = formats.taken(spec.pixels, encoder)
    if not given:
        soft = [
            name
            for name, codec in CODECS.items()
            if codec.exact and name != "rawvideo" and formats.taken(spec.pixels, codec.encoder)
        ]
        raise Unsupported(
            f"{codec} does not take {spec.pixels}: choose codec {' or '.join(soft) or 'ffv1'}, or "
            f"pass --pix-fmt {formats.nearest(spec.pixels, encoder)}"
        )
    if wrong := formats.misfit(spec, codec, spec.pixels):
        raise Unsupported(f"{wrong}, or choose codec ffv1")
    if has_alpha(spec.pixels) and codec not in ("ffv1", "prores", "rawvideo"):
        raise Unsupported(
            f"the alpha of {spec.pixels} would be lost in {codec}: choose codec ffv1, or prores "
            "and --pix-fmt yuva444p10le"
        )
    return given[0]


def _has_avx512() -> bool:
    import cv2  # only to ask what the processor can do

    return bool(cv2.checkHardwareSupport(13))


def _options(
    output: VideoOutput, spec: StreamSpec, origin: SourceMetadata, threads: int
) -> dict[str, str]:
    codec = CODECS[output.coded]
    chosen = dict(codec.options)
    if codec.crf is not None:
        chosen[codec.quality] = str(codec.crf if output.crf is None else output.crf)
    if preset := output.preset or codec.preset:
        chosen[codec.effort] = preset
    light = light_options(codec.encoder, origin) if is_hdr(spec.colour) else {}
    if codec.encoder == "libx264" and _has_avx512():
        light["asm"] = "avx2,fma3,bmi1,bmi2,lzcnt"  # its AVX-512 code does not repeat itself
    if codec.encoder == "libx265":
        light |= {"log-level": "none", "open-gop": "0", "pools": str(threads), "frame-threads": "1"}
    if codec.encoder == "libsvtav1":
        light["lp"] = str(threads)
    if light:
        name = {"libx264": "x264-params", "libx265": "x265-params"}.get(codec.encoder)
        chosen[name or "svtav1-params"] = ":".join(f"{k}={v}" for k, v in light.items())
    if spec.colour.siting != "unknown":
        chosen["chroma_sample_location"] = spec.colour.siting
    return chosen
