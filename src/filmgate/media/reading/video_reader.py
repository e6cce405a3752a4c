"""A video file, read from any frame with exact times."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

from av.video.reformatter import VideoReformatter

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.snapshot import Cursor
from filmgate.core.source_metadata import SourceMetadata
from filmgate.errors import BadInput, BadSetting
from filmgate.media.containers.open import open_files, translate_errors
from filmgate.media.fields.evidence import Interlacing
from filmgate.media.fields.watch import FieldWatch
from filmgate.media.options import Deinterlace, ReadOptions
from filmgate.media.pixels.av_frames import extract_planes
from filmgate.media.reading.decoded_frame import DecodedFrame, DecodeOptions, shows_every_packet
from filmgate.media.reading.decoder import decode_frames
from filmgate.media.reading.deinterlace import deinterlace_frames
from filmgate.media.reading.side_data import (
    LostProperties,
    read_side_data,
    report_side_data,
)
from filmgate.media.reading.stateless_reader import StatelessReader
from filmgate.media.reading.stream_info import choose_stream
from filmgate.media.reading.timestamps import (
    READ_FROM_START,
    REORDER_DEPTH,
    NearTimes,
    count_packets_before,
    has_seekable_times,
    map_times,
    read_packet_times,
    repair_timestamps,
    split_times,
)
from filmgate.media.reading.uniform_size import fit_frames
from filmgate.media.timing.frame_clock import JITTER, FrameClock

_LONGEST_LAST = Fraction(10)  # seconds that a header, which may be wrong, can give the last frame
_NEAR = Fraction(3, 4)  # of a frame of a constant rate


class _FrameMissed(Exception):
    """This pass does not reach the wanted frame, or reaches it damaged."""


@dataclass(frozen=True, slots=True)
class VideoReader(StatelessReader):
    """A video that can be read from any frame, any number of times.

    Ticks of `spec.time_base`: `first_pts` of the first shown frame, `start_pts` of the first one
    after the trim, `end_pts` of the first one trimmed at the end (None: none is). Of the stream:
    `declared_end` by its header, in seconds; `decode_delay` and `orphans` of DecodeOptions;
    `pixel_aspect` of its first frame. `seekable` None: not known yet. `notices` and `lost` come
    with frame 0.
    """

    options: ReadOptions
    stream: int
    spec: StreamSpec
    clock: FrameClock
    decode_delay: int | None
    orphans: int
    first_pts: int
    start_pts: int
    end_pts: int | None
    declared_end: Fraction | None
    pixel_aspect: Fraction | None
    interlacing: Interlacing
    deinterlace: Deinterlace | None
    seekable: bool | None
    notices: tuple[str, ...]
    lost: LostProperties
    metadata: SourceMetadata

    @property
    def path(self) -> Path:
        """The file that is read."""
        return self.options.path

    @property
    def offset(self) -> Fraction:
        """Container time of the first frame that is read, in seconds; video time starts there."""
        return self.clock.to_seconds(self.start_pts)

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
        looks = self.options.deinterlace is None and not self.interlacing
        watch = FieldWatch() if looks else None
        index = cursor.index if cursor else 0
        repaired = cursor is not None and cursor.concealed
        with closing(self._read_timed(cursor)) as frames:
            for decoded, end in frames:
                if held and index % size == 0:
                    yield held, Cursor(index, decoded.pts, decoded.repaired)
                    held = []
                held.append(self._make_frame(index, decoded, end, watch))
                index, repaired = index + 1, decoded.repaired
        if held:
            pts = self.start_pts + round(held[-1].end / self.spec.time_base)
            yield held, Cursor(index, pts, repaired)

    def _make_frame(
        self, index: int, decoded: DecodedFrame, end: Fraction, watch: FieldWatch | None
    ) -> Frame:
        time = self._to_time(decoded.pts)
        image = extract_planes(decoded.frame, self.spec.pixels, self.spec.colour)
        notices = [decoded.notice]
        if index == 0:
            notices = [*self.notices, *self.lost.messages, decoded.notice]
        if watch is not None:
            marked = decoded.frame.interlaced_frame
            notices.append(watch.look(image, float(time), marked=marked))
        notice = "; ".join(filter(None, notices))
        texts = {"concealed": decoded.concealed, "notice": notice}
        extras: dict[str, object] = {key: text for key, text in texts.items() if text}
        if decoded.captions:
            extras["captions"] = decoded.captions
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

    def apply_trim(self) -> VideoReader:
        """Return a reader of the part that the trim keeps."""
        trim, tick = self.options.trim, self.spec.time_base
        start = self.first_pts + (trim.start or 0) / tick
        end = None if trim.end is None else self.first_pts + trim.end / tick
        times, seekable = self._plan_trim(start, end)
        try:
            start_pts, end_pts, count, last = self._find_part(times, start, end)
        except NearTimes:  # only decoding tells the order of frames
            times, seekable = (decoded.pts for decoded in self._decode(None)), False
            start_pts, end_pts, count, last = self._find_part(times, start, end)
        if start_pts is None:
            raise BadSetting(
                f"{self.path} has no frame from {float(trim.start or 0):.3f} s"
                + (f" to {float(trim.end):.3f} s" if trim.end is not None else " on")
                + f": its last one is at {float((last - self.first_pts) * tick):.3f} s. "
                "Change --start or --end"
            )
        metadata = replace(
            self.metadata,
            offset=self.clock.to_seconds(start_pts),
            trimmed=True,
            until=None if end_pts is None else self.clock.to_seconds(end_pts),
        )
        return replace(
            self,
            spec=replace(self.spec, frames=count),
            start_pts=start_pts,
            end_pts=end_pts,
            seekable=seekable,
            metadata=metadata,
        )

    def _find_part(
        self, times: Generator[int], start: Fraction, end: Fraction | None
    ) -> tuple[int | None, int | None, int, int]:
        """Return start_pts, end_pts, the number of frames between, and the last time read."""
        start_pts = end_pts = None
        count, last = 0, self.first_pts
        with closing(times):
            for pts in times:
                last = max(last, pts)
                if pts < start:
                    continue
                if (end is not None and pts >= end) or count == self.options.trim.max_frames:
                    end_pts = pts
                    break
                start_pts, count = pts if start_pts is None else start_pts, count + 1
        return start_pts, end_pts, count, last

    def _plan_trim(
        self, start: Fraction, end: Fraction | None
    ) -> tuple[Generator[int], bool | None]:
        """Return the pts of all frames from `start` or earlier, and whether the video is seekable.

        They are read from packets where those are reliable, else each frame is decoded.
        """
        trim, keep_going = self.options.trim, self.options.keep_going
        seekable: bool | None = None
        with open_files(self.options.files) as container:
            stream = choose_stream(self.path, container, self.stream)
            # what replaces a damaged frame depends on all frames before it
            reliable = not keep_going and shows_every_packet(container, stream)
            reliable = reliable and self.deinterlace != "film"
            if trim.start:
                seekable = not keep_going and self._can_seek()
                reliable = reliable and seekable
            else:
                reliable = reliable and has_seekable_times(
                    self._decoding, container, stream, self._near, end, trim.max_frames
                )
        if reliable:
            return self._read_packet_times(start), seekable
        return (decoded.pts for decoded in self._decode(None)), seekable

    def _can_seek(self) -> bool:
        """Whether reading from a frame in the middle gives the same as reading from the start."""
        if self.seekable is not None:
            return self.seekable
        with open_files(self.options.files) as container:
            stream = choose_stream(self.path, container, self.stream)
            return has_seekable_times(self._decoding, container, stream, self._near)

    def _read_packet_times(self, start: Fraction) -> Generator[int]:
        """Yield the pts of frames in order, from `start` or earlier, without decoding."""
        early = self.clock.to_stored(int(start)) - REORDER_DEPTH * self._stored_duration
        times = read_packet_times(
            self.options.files,
            self.stream,
            self.clock.first,
            early,
            self._near,
        )
        with closing(times):
            ticks = (self.clock.to_tick(pts) for pts in times)
            yield from split_times(ticks) if self.deinterlace == "fields" else ticks

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
        with open_files(options.files) as container:
            stream = choose_stream(self.path, container, self.stream)
            skip = 0
            if target is not None and container.format.name in READ_FROM_START:
                skip = count_packets_before(
                    options.files, self.stream, self.clock.to_stored(target)
                )
            elif target is not None:
                with translate_errors(self.path, "seeking in it"):
                    container.seek(self.clock.to_stored(target), stream=stream)
            frames = decode_frames(
                self._decoding, container, stream, sought=target is not None, skip=skip
            )
            frames = report_side_data(frames, self.lost.kinds)
            frames = repair_timestamps(
                frames, self._decoding, self.clock.stored_tick, self._stored_duration
            )
            frames = map_times(frames, self.clock)
            if self.deinterlace is not None:
                frames = deinterlace_frames(frames, self.deinterlace, self.interlacing)
                # the first results after a seek were made without the frame before
                frames = islice(frames, self.clock.parts * (target is not None), None)
            yield from fit_frames(frames, self.spec, self.first_pts, self.pixel_aspect)

    @property
    def _decoding(self) -> DecodeOptions:
        options = self.options
        return DecodeOptions(
            options.path,
            options.threads,
            options.keep_going,
            options.max_pixels,
            self.clock.first,
            self.clock.tick if self.clock.counted else None,
            self.decode_delay,
            self.orphans,
        )

    @property
    def _default_duration(self) -> int:
        """The duration of a frame in ticks, where nothing else gives it."""
        return max(1, round(1 / (self.spec.rate or 25) / self.spec.time_base))

    @property
    def _stored_duration(self) -> int:
        """The same in stored ticks."""
        rate = (self.spec.rate or 25) / self.clock.parts
        return max(1, round(1 / rate / self.clock.stored_tick))

    @property
    def _near(self) -> int:
        """How many stored ticks apart frames are whose order their times may not tell."""
        rate = self.spec.rate and self.spec.rate / self.clock.parts
        near = min(JITTER, _NEAR / rate) if rate else JITTER
        return int(near / self.clock.stored_tick)

    def _to_time(self, pts: int) -> Fraction:
        return (pts - self.start_pts) * self.spec.time_base

    def _find_last_duration(self, last: DecodedFrame) -> Fraction:
        # With a variable rate and B-frames the last packet's duration is that of another frame (it
        # is counted in decoding order): the stream's end is the better source.
        if self.spec.rate is None and self.declared_end is not None and not last.repaired:
            left = self.declared_end - self.clock.to_seconds(last.pts)
            if 0 < left <= max(_LONGEST_LAST, last.duration * self.spec.time_base):
                return left
        known = last.duration if self.decode_delay is None or not self.spec.rate else 0
        return (known or self._default_duration) * self.spec.time_base


def _prepend(first: DecodedFrame, frames: Generator[DecodedFrame]) -> Generator[DecodedFrame]:
    yield first
    yield from frames
