"""Open a video file: what it is, how its frames are timed, and whether it has fields."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

from av.container import InputContainer
from av.video.stream import VideoStream

from filmgate.core.frame import ColorTags, StreamSpec
from filmgate.core.source_metadata import SourceMetadata
from filmgate.errors import BadInput
from filmgate.media.containers.detection import BARE_STREAMS
from filmgate.media.containers.integrity import check_structure
from filmgate.media.containers.joined import find_total
from filmgate.media.containers.open import open_files, translate_errors
from filmgate.media.fields.combs import find_first_field
from filmgate.media.fields.evidence import Interlacing, read_interlacing
from filmgate.media.options import Deinterlace, ReadOptions
from filmgate.media.pixels.av_frames import extract_planes
from filmgate.media.pixels.formats import find_planar_format
from filmgate.media.reading.alpha import describe_lost_alpha
from filmgate.media.reading.decoded_frame import (
    DecodedFrame,
    DecodeOptions,
    shows_every_packet,
)
from filmgate.media.reading.decoder import REMEDY, decode_frames
from filmgate.media.reading.deinterlace import describe_interlacing, find_film_rate
from filmgate.media.reading.side_data import (
    LostProperties,
    check_dolby_vision,
    describe_header,
    read_side_data,
)
from filmgate.media.reading.stream_header import read_stream_header
from filmgate.media.reading.stream_info import (
    choose_stream,
    read_declared_end,
    read_display_matrix,
    read_hdr_metadata,
    read_spec,
)
from filmgate.media.reading.timestamps import find_last_time
from filmgate.media.reading.video_reader import VideoReader
from filmgate.media.timing.clock_choice import (
    choose_clock,
    choose_counting_clock,
    count_orphans,
    find_decode_delay,
    read_first_packets,
)
from filmgate.media.timing.frame_clock import FrameClock

_LOOKS = 60  # frames from which the order of unmarked fields is seen


def open_video(options: ReadOptions) -> VideoReader:
    """Open the video, decode its first frame, apply the trim. Raises BadInput, Unsupported."""
    path = options.path
    with open_files(options.files) as container:
        stream = choose_stream(path, container, options.stream)
        doubt = _check_structures(options, container, stream)
        timed = _start(options, container, stream)
        header, first = read_stream_header(stream), timed.first
        side_data = read_side_data(first.frame)
        check_dolby_vision(path, header, side_data)
        with translate_errors(path, "reading its times"):
            packets = read_first_packets(
                options.files, container, stream, by_dts=timed.decode_delay is not None
            )
            clock, notice = timed.clock or choose_clock(
                options.files, container, stream, packets, first.pts
            )
            spec = read_spec(container, stream, first.frame, header, packets, clock)
        end = read_declared_end(stream)
        if total := find_total(container):
            spec, end = replace(spec, frames=total[0] or None), total[1]
        interlacing = read_interlacing(stream, first.frame)
        if options.deinterlace in ("frames", "fields", "film") and not interlacing:
            interlacing = _look_for_fields(options, timed, stream.index)
        view = _View(spec, clock, clock.to_tick(first.pts), options.deinterlace).deinterlace()
        reader = VideoReader(
            options=options,
            stream=stream.index,
            spec=view.spec,
            clock=view.clock,
            decode_delay=timed.decode_delay,
            orphans=timed.decoding.orphans,
            first_pts=view.first_pts,
            start_pts=view.first_pts,
            end_pts=None,
            declared_end=end,
            pixel_aspect=first.aspect,
            interlacing=interlacing,
            deinterlace=view.mode,
            seekable=False if view.mode == "film" else None,
            notices=(
                doubt,
                notice,
                describe_interlacing(interlacing, options.deinterlace),
            ),
            lost=LostProperties(
                frozenset(side_data), (*describe_lost_alpha(stream), *describe_header(header))
            ),
            metadata=SourceMetadata(
                max_pixels=options.max_pixels,
                path=path,
                parts=options.parts,
                stream=stream.index,
                offset=view.clock.to_seconds(view.first_pts),
                aspect=stream.sample_aspect_ratio,
                display_matrix=read_display_matrix(side_data),
                hdr_side_data=read_hdr_metadata(side_data),
            ),
        )
    return reader.apply_trim() if options.trim.is_set else reader


def _check_structures(options: ReadOptions, container: InputContainer, stream: VideoStream) -> str:
    """Return what to report about the structure of the files. Raises BadInput for damage."""
    notices = []
    if options.parts and container.format.name in BARE_STREAMS:
        return ""  # each may end at any byte
    for path in (options.path, *options.parts):
        structure = check_structure(path)
        if structure.damage and not options.keep_going:
            last = find_last_time(path, container, stream)
            raise BadInput(
                f"{path} is {structure.damage}; it has frames up to {last:.3f} s: {REMEDY}"
            )
        notices.append(structure.notice)
    return "; ".join(filter(None, notices))


@dataclass(frozen=True, slots=True)
class _Start:
    """The first frame, and how frames are timed as far as is known before it.

    `clock`: of frames that are counted, and a notice about it.
    """

    first: DecodedFrame
    clock: tuple[FrameClock, str] | None
    decode_delay: int | None
    decoding: DecodeOptions


def _start(options: ReadOptions, container: InputContainer, stream: VideoStream) -> _Start:
    """Decode the first frame. Raises BadInput, Unsupported."""
    path = options.path
    clock = choose_counting_clock(path, container, stream, options.in_fps)
    with translate_errors(path, "reading its times"):
        decode_delay = find_decode_delay(options.files, container, stream)
        orphans = 0
        if decode_delay == 0 and shows_every_packet(container, stream):
            orphans = count_orphans(options.files, stream)
    decoding = DecodeOptions(
        path,
        options.threads,
        options.keep_going,
        options.max_pixels,
        counted=clock[0].tick if clock else None,
        decode_delay=decode_delay,
        orphans=orphans,
    )
    # several threads would decode a frame each before the first one is there
    first = next(decode_frames(replace(decoding, threads=1), container, stream), None)
    if first is None:
        why = "none can be decoded: get an intact copy" if options.keep_going else "it is empty"
        raise BadInput(f"{path} shows no frame of stream {stream.index}: {why}")
    return _Start(first, clock, decode_delay, decoding)


@dataclass(frozen=True, slots=True)
class _View:
    """What a reader shows of a video; `mode`: how it is deinterlaced."""

    spec: StreamSpec
    clock: FrameClock
    first_pts: int
    mode: Deinterlace | None

    def deinterlace(self) -> _View:
        """Return the view of the frames that deinterlacing makes. Raises Unsupported."""
        rate, frames = self.spec.rate, self.spec.frames
        if self.mode == "fields":
            clock = self.clock.split()
            spec = replace(
                self.spec,
                time_base=clock.tick,
                rate=rate and 2 * rate,
                frames=frames and 2 * frames,
            )
            return replace(self, spec=spec, clock=clock, first_pts=2 * self.first_pts)
        if self.mode != "film":
            return replace(self, mode=None if self.mode == "off" else self.mode)
        film = find_film_rate(rate)
        if film == rate:  # its fields are only marked to be repeated
            return replace(self, mode=None)
        origin = self.clock.to_seconds(self.first_pts)
        clock = replace(self.clock, tick=1 / film, origin=origin)
        spec = replace(
            self.spec, time_base=1 / film, rate=film, frames=frames and -(-frames * 4 // 5)
        )
        return replace(self, spec=spec, clock=clock, first_pts=0)


def _look_for_fields(options: ReadOptions, start: _Start, index: int) -> Interlacing:
    """Return which field is first by the images; none if they do not tell."""
    with open_files(options.files) as container:
        stream = choose_stream(options.path, container, index)
        planes = (
            extract_planes(shown.frame, find_planar_format(shown.frame.format.name), ColorTags())
            for shown in islice(decode_frames(start.decoding, container, stream), _LOOKS)
        )
        order = find_first_field(planes)
    return Interlacing(order, "images") if order else Interlacing()
