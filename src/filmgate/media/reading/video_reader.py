"""A video file, read from any frame with exact times."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from heapq import heappop, heappush
from itertools import islice
from pathlib import Path

from av.video.reformatter import VideoReformatter

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.snapshot import Cursor
from filmgate.core.source_metadata import SourceMetadata
from filmgate.errors import BadInput, BadSetting
from filmgate.media.containers.integrity import check_structure
from filmgate.media.containers.open import open_container, translate_errors
from filmgate.media.options import ReadOptions
from filmgate.media.pixels.av_frames import extract_planes
from filmgate.media.reading.alpha import describe_lost_alpha
from filmgate.media.reading.decoded_frame import DecodedFrame, DecodeOptions, shows_every_packet
from filmgate.media.reading.decoder import REMEDY, choose_stream, decode_frames
from filmgate.media.reading.deinterlace import deinterlace_frames, describe_interlacing
from filmgate.media.reading.side_data import (
    LostProperties,
    check_dolby_vision,
    describe_header,
    read_side_data,
    report_side_data,
)
from filmgate.media.reading.stateless_reader import StatelessReader
from filmgate.media.reading.stream_header import read_stream_header
from filmgate.media.reading.stream_info import (
    read_declared_end,
    read_display_matrix,
    read_field_order,
    read_hdr_metadata,
    read_spec,
)
from filmgate.media.reading.timestamps import (
    REORDER_DEPTH,
    find_last_time,
    has_seekable_times,
    repair_timestamps,
)
from filmgate.media.reading.uniform_size import fit_frames

_LONGEST_LAST = Fraction(10)  # seconds that a header, which may be wrong, can give the last frame


class _FrameMissed(Exception):
    """This pass does not reach the wanted frame, or reaches it damaged."""


@dataclass(frozen=True, slots=True)
class VideoReader(StatelessReader):
    """A video that can be read from any frame, any number of times.

    Ticks of `spec.time_base`: `first_pts` is the pts of the first shown frame, `start_pts` of the
    first one after the trim, `end_pts` of the first one trimmed at the end (None: none is).
    `declared_end` is the stream's end by its header, in seconds. `seekable` None: not known yet.
    `notices` and what is `lost` are reported with the first frame.
    """

    options: ReadOptions
    stream: int
    spec: StreamSpec
    first_pts: int
    start_pts: int
    end_pts: int | None
    declared_end: Fraction | None
    field_order: str
    seekable: bool | None
    notices: tuple[str, ...]
    lost: LostProperties
    metadata: SourceMetadata

    @classmethod
    def open(cls, options: ReadOptions) -> VideoReader:
        """Open the video, decode its first frame, apply the trim. Raises BadInput, Unsupported."""
        path = options.path
        with open_container(path, max_pixels=options.max_pixels) as container:
            stream = choose_stream(path, container, options.stream)
            structure = check_structure(path)
            if structure.damage and not options.keep_going:
                last = find_last_time(path, container, stream)
                raise BadInput(
                    f"{path} is {structure.damage}; it has frames up to {last:.3f} s: {REMEDY}"
                )
            decoding = DecodeOptions(path, options.threads, options.keep_going, options.max_pixels)
            first = next(decode_frames(decoding, container, stream), None)
            if first is None:
                raise BadInput(f"{path} shows no frame: stream {stream.index} is empty")
            with translate_errors(path, "reading its times"):
                header = read_stream_header(stream)
                spec = read_spec(container, stream, first.frame, header)
            side_data = read_side_data(first.frame)
            check_dolby_vision(path, header, side_data)
            reader = cls(
                options=options,
                stream=stream.index,
                spec=spec,
                first_pts=first.pts,
                start_pts=first.pts,
                end_pts=None,
                declared_end=read_declared_end(stream),
                field_order=read_field_order(stream, first.frame),
                seekable=None,
                notices=(structure.notice,),
                lost=LostProperties(
                    frozenset(side_data), (*describe_lost_alpha(stream), *describe_header(header))
                ),
                metadata=SourceMetadata(
                    max_pixels=options.max_pixels,
                    path=path,
                    stream=stream.index,
                    offset=first.pts * spec.time_base,
                    aspect=stream.sample_aspect_ratio,
                    display_matrix=read_display_matrix(side_data),
                    hdr_side_data=read_hdr_metadata(side_data),
                ),
            )
        return reader._apply_trim() if options.trim.is_set else reader

    @property
    def path(self) -> Path:
        """The file that is read."""
        return self.options.path

    @property
    def offset(self) -> Fraction:
        """Container time of the first frame that is read, in seconds; video time starts there."""
        return self.start_pts * self.spec.time_base

    @property
    def duration(self) -> Fraction | None:
        """Seconds, as far as header, index and trim tell without decoding; None: unknown."""
        if self.end_pts is not None:
            return (self.end_pts - self.start_pts) * self.spec.time_base
        if self.spec.rate and self.spec.frames:
            return Fraction(self.spec.frames / self.spec.rate)
        return None if self.declared_end is None else self.declared_end - self.offset

    def read(self, cursor: Cursor | None, size: int) -> Iterator[tuple[list[Frame], Cursor]]:
        """Yield chunks that end at multiples of `size`, each with the cursor after it.

        Frames hold Planes in the decoder's own memory. Raises BadInput, Unsupported with the time
        of the fault.
        """
        held: list[Frame] = []
        index = cursor.index if cursor else 0
        repaired = cursor is not None and cursor.concealed
        with closing(self._read_timed(cursor)) as frames:
            for decoded, end in frames:
                if held and index % size == 0:
                    yield held, Cursor(index, decoded.pts, decoded.repaired)
                    held = []
                held.append(self._make_frame(index, decoded, end))
                index, repaired = index + 1, decoded.repaired
        if held:
            pts = self.start_pts + round(held[-1].end / self.spec.time_base)
            yield held, Cursor(index, pts, repaired)

    def _make_frame(self, index: int, decoded: DecodedFrame, end: Fraction) -> Frame:
        notices = [decoded.notice]
        if index == 0:
            fields = describe_interlacing(self.field_order, deinterlaced=self.options.deinterlace)
            notices = [*self.notices, *self.lost.messages, fields, decoded.notice]
        notice = "; ".join(filter(None, notices))
        texts = {"concealed": decoded.concealed, "notice": notice}
        image = extract_planes(decoded.frame, self.spec.pixels, self.spec.colour)
        extras: dict[str, object] = {key: text for key, text in texts.items() if text}
        if decoded.captions:
            extras["captions"] = decoded.captions
        time = self._to_time(decoded.pts)
        return Frame(index, time, end - time, image, extras)

    def iter_times(self, side_data: set[str] | None = None) -> Iterator[tuple[Fraction, Fraction]]:
        """Yield (time, duration) of every frame in seconds; each frame is decoded.

        The kinds of side data that the frames have are added to `side_data`.
        """
        reformatter = VideoReformatter()
        with closing(self._read_timed(None)) as frames:
            for decoded, end in frames:
                if side_data is not None:
                    side_data.update(read_side_data(decoded.frame, reformatter))
                time = self._to_time(decoded.pts)
                yield time, end - time

    def _apply_trim(self) -> VideoReader:
        """Return a reader of the part that the trim keeps."""
        trim, tick = self.options.trim, self.spec.time_base
        start = self.first_pts + (trim.start or 0) / tick
        end = None if trim.end is None else self.first_pts + trim.end / tick
        times, seekable = self._plan_trim(start, end)
        start_pts = end_pts = None
        count, last = 0, self.first_pts
        with closing(times):
            for pts in times:
                last = max(last, pts)
                if pts < start:
                    continue
                if (end is not None and pts >= end) or count == trim.max_frames:
                    end_pts = pts
                    break
                start_pts, count = pts if start_pts is None else start_pts, count + 1
        if start_pts is None:
            raise BadSetting(
                f"{self.path} has no frame from {float(trim.start or 0):.3f} s"
                + (f" to {float(trim.end):.3f} s" if trim.end is not None else " on")
                + f": its last one is at {float((last - self.first_pts) * tick):.3f} s. "
                "Change --start or --end"
            )
        metadata = replace(
            self.metadata,
            offset=start_pts * tick,
            trimmed=True,
            until=None if end_pts is None else end_pts * tick,
        )
        return replace(
            self,
            spec=replace(self.spec, frames=count),
            start_pts=start_pts,
            end_pts=end_pts,
            seekable=seekable,
            metadata=metadata,
        )

    def _plan_trim(
        self, start: Fraction, end: Fraction | None
    ) -> tuple[Generator[int], bool | None]:
        """Return the pts of all frames from `start` or earlier, and whether the video is seekable.

        They are read from packets where those are reliable, else each frame is decoded.
        """
        trim, keep_going = self.options.trim, self.options.keep_going
        seekable: bool | None = None
        with open_container(self.path, max_pixels=self.options.max_pixels) as container:
            stream = choose_stream(self.path, container, self.stream)
            # what replaces a damaged frame depends on all frames before it
            reliable = not keep_going and shows_every_packet(container, stream)
            if trim.start:
                seekable = not keep_going and self._can_seek()
                reliable = reliable and seekable
            else:
                reliable = reliable and has_seekable_times(
                    self._decoding, container, stream, end, trim.max_frames
                )
        if reliable:
            return self._read_packet_times(start), seekable
        return (decoded.pts for decoded in self._decode(None)), seekable

    def _can_seek(self) -> bool:
        """Whether reading from a frame in the middle gives the same as reading from the start."""
        if self.seekable is not None:
            return self.seekable
        with open_container(self.path, max_pixels=self.options.max_pixels) as container:
            stream = choose_stream(self.path, container, self.stream)
            return has_seekable_times(self._decoding, container, stream)

    def _read_packet_times(self, start: Fraction) -> Generator[int]:
        """Yield the pts of frames in order, from `start` or earlier, without decoding."""
        with open_container(self.path, max_pixels=self.options.max_pixels) as container:
            stream = choose_stream(self.path, container, self.stream)
            early = int(start) - REORDER_DEPTH * self._default_duration
            if early > self.first_pts:
                with translate_errors(self.path, "seeking in it"):
                    container.seek(early, stream=stream)
            times: list[int] = []
            with translate_errors(self.path, "reading its times"):
                for packet in container.demux(stream):
                    if packet.pts is None or not packet.size or packet.is_discard:
                        continue
                    heappush(times, packet.pts)
                    if len(times) > REORDER_DEPTH and (pts := heappop(times)) >= self.first_pts:
                        yield pts
            yield from (pts for pts in sorted(times) if pts >= self.first_pts)

    def _read_timed(self, cursor: Cursor | None) -> Generator[tuple[DecodedFrame, Fraction]]:
        """Yield the frames after the trim from `cursor` on, and the time when each ends."""
        if cursor is not None:
            frames = self._read_from(cursor.pts, f"frame {cursor.index}", not cursor.concealed)
        elif self.start_pts != self.first_pts:
            frames = self._read_from(self.start_pts, "the first frame after the trim", True)
        else:
            frames = self._decode(None)
        held: DecodedFrame | None = None
        with closing(frames):
            for following in frames:
                if held is not None:
                    yield held, self._to_time(following.pts)
                if self.end_pts is not None and following.pts >= self.end_pts:
                    return
                held = following
        if held is not None:
            yield held, self._to_time(held.pts) + self._find_last_duration(held)

    def _read_from(self, pts: int, what: str, seek: bool) -> Generator[DecodedFrame]:
        """Yield frames from exactly `pts` on, the same as when reading from the start.

        Seeks further back each time that a seek lands too late. Raises BadInput if the video has no
        frame at `pts`, where `what` was.
        """
        back = 0
        while True:
            early = pts - back
            target = early if seek and early > self.first_pts and self._can_seek() else None
            try:
                frames = self._skip_to(pts, target)
            except _FrameMissed as error:
                if target is None:
                    raise BadInput(
                        f"{self.path} has no frame at {float(self._to_time(pts)):.3f} s, where "
                        f"{what} was: the file has changed; start again"
                    ) from error
                back = 4 * back or int(1 / self.spec.time_base)
                continue
            yield from frames
            return

    def _skip_to(self, pts: int, target: int | None) -> Generator[DecodedFrame]:
        """Seek to `target` (None: the start), decode up to `pts`, return the frames from there on.

        None are left if `pts` is the end of the video. Raises _FrameMissed.
        """
        frames = self._decode(target)
        notices: list[str] = []
        try:
            for decoded in frames:
                # after a seek, a repair depends on frames that were not read
                if decoded.pts > pts or (target is not None and decoded.repaired):
                    frames.close()
                    raise _FrameMissed
                if decoded.pts == pts:
                    if pts == self.start_pts:
                        notice = "; ".join(filter(None, (*notices, decoded.notice)))
                        decoded = replace(decoded, notice=notice)
                    return _prepend(decoded, frames)
                notices.append(decoded.notice)
        except BadInput as error:
            if target is None:
                raise
            raise _FrameMissed from error
        if not notices:
            raise _FrameMissed
        return frames

    def _decode(self, target: int | None) -> Generator[DecodedFrame]:
        """Yield frames from the last keyframe before `target` on, all of the first one's format."""
        options = self.options
        with open_container(self.path, max_pixels=options.max_pixels) as container:
            stream = choose_stream(self.path, container, self.stream)
            if target is not None:
                with translate_errors(self.path, "seeking in it"):
                    container.seek(target, stream=stream)
            frames = decode_frames(self._decoding, container, stream, sought=target is not None)
            frames = report_side_data(frames, self.lost.kinds)
            frames = repair_timestamps(
                frames, self._decoding, self.spec.time_base, self._default_duration
            )
            if options.deinterlace:
                frames = deinterlace_frames(frames, every=not self.field_order)
                # the first frame after a seek was deinterlaced without its predecessor
                frames = islice(frames, int(target is not None), None)
            yield from fit_frames(frames, self.spec, self.first_pts)

    @property
    def _decoding(self) -> DecodeOptions:
        options = self.options
        return DecodeOptions(
            options.path, options.threads, options.keep_going, options.max_pixels, self.first_pts
        )

    @property
    def _default_duration(self) -> int:
        """The duration of a frame in ticks, where nothing else gives it."""
        return max(1, round(1 / (self.spec.rate or 25) / self.spec.time_base))

    def _to_time(self, pts: int) -> Fraction:
        return (pts - self.start_pts) * self.spec.time_base

    def _find_last_duration(self, last: DecodedFrame) -> Fraction:
        # With a variable rate and B-frames the last packet's duration is that of another frame (it
        # is counted in decoding order): the stream's end is the better source.
        if self.spec.rate is None and self.declared_end is not None and not last.repaired:
            left = self.declared_end - last.pts * self.spec.time_base
            if 0 < left <= max(_LONGEST_LAST, last.duration * self.spec.time_base):
                return left
        return (last.duration or self._default_duration) * self.spec.time_base


def _prepend(first: DecodedFrame, frames: Generator[DecodedFrame]) -> Generator[DecodedFrame]:
    yield first
    yield from frames
