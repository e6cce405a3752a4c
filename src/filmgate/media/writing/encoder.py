"""Encode frames to packets; the same frames give the same packets."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av
from av.codec.context import Flags
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.source_metadata import SourceMetadata
from filmgate.errors import Unsupported
from filmgate.media.codecs import CODECS
from filmgate.media.options import EncodeOptions
from filmgate.media.pixels import formats
from filmgate.media.pixels.av_frames import attach_captions, check_planes, make_av_frame
from filmgate.media.pixels.format_names import has_alpha, is_hdr
from filmgate.media.rates import fit_fraction, format_fraction
from filmgate.media.writing.encoder_probe import explain_encoder
from filmgate.media.writing.hdr_metadata import build_hdr_options
from filmgate.media.writing.thread_priority import keep_priority

_ALPHA_CODECS = ("ffv1", "prores", "rawvideo")  # that store alpha
_SIMPLE_CONTAINERS = (".nut", ".y4m")
_UPRIGHT = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)  # the display matrix of no rotation
_MAX_DURATION = (1 << 31) - 1  # ticks of one frame; an mp4 stores 32 bits


class Encoder:
    """Encodes frames to packets with times in `tick` seconds on the container's timeline.

    GOPs are closed and `threads` is fixed, so that the packets are repeatable. Raises Unsupported
    before the first frame if the encoder does not accept frames of `spec`.
    """

    def __init__(
        self,
        options: EncodeOptions,
        spec: StreamSpec,
        tick: Fraction,
        source: SourceMetadata,
        threads: int,
    ) -> None:
        self.tick, self._offset, self._spec = tick, source.output_offset, spec
        self._counts = options.suffix == ".y4m"
        encoder = CODECS[options.codec].encoder
        self._pixels = _choose_format(options.codec, spec)
        self._writes_captions = writes_captions(options)
        shift, parts = self._offset.as_integer_ratio()
        unit, per_second = tick.as_integer_ratio()
        # (time + offset) / tick is (time * scale + shift) / unit
        self._scale = parts * per_second, shift * per_second, parts * unit
        self.start = self._end = self._ticks(0, 1)  # video time 0
        self._durations: dict[int, int] = {}  # ticks, by pts: not every encoder passes them on
        # A stream belongs to a container; this one exists only to describe the stream.
        container = "nut" if encoder == "rawvideo" else "matroska"
        self._container = av.open(io.BytesIO(), "w", format=container)
        settings = _build_settings(options, spec, source, threads)
        os.environ.setdefault("SVT_LOG", "1")  # else it prints a banner
        stream = self._container.add_stream(
            encoder, rate=fit_fraction(spec.rate or Fraction(30)), options=settings
        )
        assert isinstance(stream, VideoStream)
        self.stream = stream
        context = self.stream.codec_context
        context.width, context.height, context.pix_fmt = spec.width, spec.height, self._pixels
        context.time_base = tick
        context.thread_count = threads
        if encoder == "libx264":
            context.thread_type = "FRAME"  # else each frame is cut into a slice for each thread
        context.flags |= Flags.frame_duration | Flags.closed_gop
        colour = spec.colour
        context.colorspace = formats.find_code(formats.MATRICES, colour.matrix)
        context.color_primaries = formats.find_code(formats.PRIMARIES, colour.primaries)
        context.color_trc = formats.find_code(formats.TRANSFERS, colour.transfer)
        context.color_range = formats.find_code(formats.RANGES, colour.range, unknown=0)
        if source.aspect:
            context.sample_aspect_ratio = fit_fraction(source.aspect)
        try:
            with keep_priority():
                self._container.start_encoding()
        except av.FFmpegError as error:
            software = options.codec.partition("_")[0]
            advice = f"pass --codec {software if software != options.codec else 'ffv1'}"
            if not CODECS[options.codec].exact and (reason := explain_encoder(options.codec)):
                raise Unsupported(f"{reason}; {advice}, which needs no GPU") from error
            raise Unsupported(
                f"{encoder} does not accept {spec.width}x{spec.height} {self._pixels} with "
                f"{settings}: {error.strerror}; {advice}"
            ) from error
        self.dropped = list(_list_dropped(options, spec, source))

    def encode(self, frames: Iterable[Frame]) -> list[Packet[Any]]:
        """Return the packets that are ready after these frames; others wait in the encoder."""
        packets: list[Packet[Any]] = []
        for frame in frames:
            time, duration = frame.time.as_integer_ratio(), frame.duration.as_integer_ratio()
            pts = self._ticks(*time)
            end = self._ticks(time[0] * duration[1] + duration[0] * time[1], time[1] * duration[1])
            if self._counts:  # every frame lasts one tick, wherever its time is
                pts = self.start + frame.index
                end = pts + 1
            if pts < self._end:
                raise Unsupported(
                    f"frame {frame.index} at {float(frame.time):.6f} s falls on the one before it: "
                    f"times of this container are multiples of {float(self.tick):.6f} s. "
                    + _advise_on_ticks(self.tick, self._spec.rate)
                )
            image = self._make_image(frame)
            if end - pts > _MAX_DURATION:
                raise Unsupported(
                    f"frame {frame.index} at {float(frame.time):.3f} s lasts "
                    f"{float(frame.duration):.0f} s, wanted at most "
                    f"{float(_MAX_DURATION * self.tick):.0f} s: the times of the video are wrong; "
                    "remux it with its right frame rate"
                )
            # a duration of 0 means unknown, and readers would guess one
            self._end = max(end, pts + 1)
            image.pts, image.duration, image.time_base = pts, self._end - pts, self.tick
            self._durations[pts] = image.duration
            packets += self._with_durations(self.stream.encode(image))
        return packets

    def flush(self) -> list[Packet[Any]]:
        """Return the packets that wait in the encoder."""
        return self._with_durations(self.stream.encode(None))

    @property
    def end(self) -> int:
        """Where the last frame ends, in ticks."""
        return self._end

    def close(self) -> None:
        """Free the encoder's memory."""
        self._container.close()

    def _with_durations(self, packets: list[Packet[Any]]) -> list[Packet[Any]]:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts or 0, packet.duration or 0)
        return packets

    def _ticks(self, time: int, per_second: int) -> int:
        """Return the tick of a time, given as a fraction of a second; halves go to the even one.

        As `round` of a Fraction, whose arithmetic takes long for each frame.
        """
        scale, shift, unit = self._scale
        tick, rest = divmod(time * scale + per_second * shift, per_second * unit)
        return tick + (2 * rest + (tick & 1) > per_second * unit)

    def _make_image(self, frame: Frame) -> VideoFrame:
        image = make_av_frame(check_planes(frame, self._spec))
        if self._pixels != self._spec.pixels:
            image = image.reformat(format=self._pixels)
        captions = frame.extras.get("captions")
        if isinstance(captions, bytes) and self._writes_captions:
            image = attach_captions(image, captions)
        context = self.stream.codec_context  # some encoders read the frame's tags, not these
        image.colorspace, image.color_range = context.colorspace, context.color_range
        image.color_primaries, image.color_trc = context.color_primaries, context.color_trc
        return image


def _list_dropped(
    options: EncodeOptions, spec: StreamSpec, source: SourceMetadata
) -> Iterator[str]:
    """Yield what of the video the encoder or the container cannot store, in words."""
    encoder = CODECS[options.codec].encoder
    if any(source.hdr_side_data) and not is_hdr(spec.colour):
        yield "mastering display and light level are left out: the result is not HDR"
    elif any(source.hdr_side_data) and not build_hdr_options(encoder, source):
        yield f"mastering display and light level are left out: {encoder} cannot write them"
    if options.suffix not in _SIMPLE_CONTAINERS:
        return
    if source.display_matrix not in (None, _UPRIGHT):
        yield f"the rotation is left out: {options.suffix} cannot store it"
    colour = spec.colour
    tags = {"matrix": colour.matrix, "primaries": colour.primaries, "transfer": colour.transfer}
    lost = [f"{name} {tag}" for name, tag in tags.items() if tag not in ("unknown", "gbr")]
    if lost and options.codec in ("rawvideo", "ffv1"):
        yield f"colour tags are left out: {options.suffix} cannot store {', '.join(lost)}"


def writes_captions(options: EncodeOptions) -> bool:
    """Whether the encoder writes the closed captions that come with frames."""
    return CODECS[options.codec].encoder in ("libx264", "libx265")


def copy_raw_tag(video: VideoStream, output: VideoStream) -> None:
    """Copy the tag that is a raw video's pixel format; a stream made from a template loses it."""
    if video.codec_context.codec.canonical_name == "rawvideo":
        output.codec_context.codec_tag = video.codec_context.codec_tag


def _choose_format(codec: str, spec: StreamSpec) -> str:
    """Return the pixel format to give to the encoder. Raises Unsupported."""
    encoder = CODECS[codec].encoder
    if encoder not in av.codecs_available:
        software = codec.partition("_")[0]
        advice = f"pass --codec {software if software != codec else 'ffv1'}"
        raise Unsupported(f"{explain_encoder(codec)}; {advice}")
    accepted = formats.find_encoder_formats(spec.pixels, encoder)
    if not accepted:
        others = [
            name
            for name, other in CODECS.items()
            if other.exact
            and name != "rawvideo"
            and (name in _ALPHA_CODECS or not has_alpha(spec.pixels))
            and formats.find_encoder_formats(spec.pixels, other.encoder)
        ]
        raise Unsupported(
            f"{codec} does not accept {spec.pixels}: pass --codec {' or '.join(others) or 'ffv1'}, "
            f"or --pix-fmt {formats.find_nearest_format(spec.pixels, encoder)}"
        )
    if mismatch := formats.explain_size_mismatch(spec, codec, spec.pixels):
        raise Unsupported(f"{mismatch}, or --codec ffv1")
    if has_alpha(spec.pixels) and codec not in _ALPHA_CODECS:
        raise Unsupported(
            f"{codec} would lose the alpha channel of {spec.pixels}: pass --codec ffv1, or "
            "--codec prores --pix-fmt yuva444p10le"
        )
    return accepted[0]


def _has_avx512() -> bool:
    # Linux says so in a file, which is faster than to import OpenCV
    with suppress(OSError), open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        return " avx512f " in file.read(1 << 14)
    import cv2

    return bool(cv2.checkHardwareSupport(13))


def _advise_on_ticks(tick: Fraction, rate: Fraction | None) -> str:
    """Return what to do about frames that are closer together than a tick."""
    if tick > Fraction(1, 1_000_000) and (rate is None or rate <= 1_000_000):
        return "Name the output .mp4"
    rates = "such rates" if rate is None else f"a rate of {format_fraction(rate)}"
    return f"No container holds {rates}: lower it with filmgate interpolate --fps 60"


def _build_settings(
    options: EncodeOptions, spec: StreamSpec, source: SourceMetadata, threads: int
) -> dict[str, str]:
    """Return FFmpeg's options of the encoder by name."""
    codec = CODECS[options.codec]
    settings = dict(codec.options)
    if codec.crf is not None:
        settings[codec.quality] = str(codec.crf if options.crf is None else options.crf)
    if preset := options.preset or codec.preset:
        settings[codec.effort] = preset
    params = build_hdr_options(codec.encoder, source) if is_hdr(spec.colour) else {}
    if codec.encoder == "libx264" and _has_avx512():
        params["asm"] = "avx2,fma3,bmi1,bmi2,lzcnt"  # its AVX-512 code is not repeatable
    if codec.encoder == "libx265":
        settings["a53cc"] = "1"
        params |= {
            "log-level": "none", "open-gop": "0", "pools": str(threads), "frame-threads": "1"
        }  # fmt: skip
    if codec.encoder == "libsvtav1":
        params["lp"] = str(threads)
    if params:
        name = {"libx264": "x264-params", "libx265": "x265-params"}.get(codec.encoder)
        settings[name or "svtav1-params"] = ":".join(f"{k}={v}" for k, v in params.items())
    if spec.colour.siting != "unknown":
        settings["chroma_sample_location"] = spec.colour.siting
    return settings
