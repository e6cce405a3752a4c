"""The decoder: frames in the order they are shown, with every missing frame detected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from filmgate.errors import BadInput
from filmgate.media.containers.detection import BARE_STREAMS
from filmgate.media.containers.integrity import find_damage
from filmgate.media.containers.open import translate_errors
from filmgate.media.pixels.pixel_shapes import PixelShapes
from filmgate.media.reading.alpha import choose_decoder
from filmgate.media.reading.decode_times import DecodeTimes, UntimedFrames
from filmgate.media.reading.decoded_frame import (
    DecodedFrame,
    DecodeOptions,
    choose_checks,
    shows_every_packet,
)
from filmgate.media.reading.pending_frames import PendingFrame, PendingFrames, read_head
from filmgate.media.timing.frame_clock import JITTER

REMEDY = "get an intact copy, or pass --keep-going to process what can be decoded"
_MAX_ERRORS = 16  # read errors in a row after which reading ends
_STARTS_ANYWHERE = BARE_STREAMS | {"mpegts", "mpeg"}  # not only at keyframes


def decode_frames(
    options: DecodeOptions,
    container: InputContainer,
    stream: VideoStream,
    sought: bool = False,
    skip: int = 0,
) -> Iterator[DecodedFrame]:
    """Yield frames in shown order from the container's position; `sought`: it is not the start.

    The first packets of the stream, `skip` of them, are left out.
    Raises BadInput where a frame is damaged or missing, and at the end if the video is truncated.
    With `keep_going` the last good frame is repeated instead, up to the next keyframe.
    """
    decoding = _DecodePass(options, container, stream, sought, skip)
    context = decoding.decoder
    one_thread = options.keep_going or decoding.starts_in_open_group()
    context.thread_count = 1 if one_thread else options.threads
    context.thread_type = "AUTO"
    context.options = {
        "err_detect": choose_checks(stream),
        "max_pixels": str(options.max_pixels),
    }
    if options.keep_going:
        yield from _conceal_damage(options, decoding)
    else:
        yield from _refuse_damage(options, decoding)


def _refuse_damage(options: DecodeOptions, decoding: _DecodePass) -> Iterator[DecodedFrame]:
    """Yield each frame when the next one is there: only then is known what to say about it."""
    held: DecodedFrame | None = None
    try:
        for frame in decoding.decode():
            if held is not None:
                yield decoding.add_notices(held)
            held = frame
        if (short := decoding.find_early_end()) and decoding.knows_its_end:
            raise BadInput(f"{options.path} is truncated: {short}; {REMEDY}")
    except BadInput:
        if held is not None:
            yield decoding.add_notices(held)
        raise
    if held is not None:
        yield decoding.add_notices(held, short and f"the video may be truncated: {short}")


def _conceal_damage(options: DecodeOptions, decoding: _DecodePass) -> Iterator[DecodedFrame]:
    """Yield each good frame with its repetitions when the next good one is there."""
    held: list[DecodedFrame] = []
    for frame in decoding.decode():
        if frame.original and held:
            yield decoding.add_notices(held[0])
            yield from held[1:]
            held = []
        held.append(frame)
    short = decoding.find_early_end()
    end = f"truncated: {short}" if short and decoding.knows_its_end else find_damage(options.path)
    end = end or decoding.unread
    if not held:
        return
    if end:  # how many frames are missing is unknown: end with the last good one
        concealed = held[0].concealed or f"{options.path} is {end}"
        held = [replace(held[0], concealed=concealed, repaired=True)]
    notice = f"the video may be truncated: {short}" if short and not end else ""
    yield decoding.add_notices(held[0], notice)
    yield from held[1:]


class _DecodePass:
    """One pass through a video: frames that packets announce, that arrive, and replacements.

    `_free_times`, where a container stores only those of decoding, are not given to a frame yet.
    """

    def __init__(
        self,
        options: DecodeOptions,
        container: InputContainer,
        stream: VideoStream,
        sought: bool,
        skip: int,
    ) -> None:
        self._options, self._container, self._stream = options, container, stream
        self.decoder = choose_decoder(stream)
        self._packets: Iterator[Packet[Any]] = islice(self._read_packets(), skip, None)
        self._time_base = options.counted or stream.time_base or Fraction(1, 1000)
        self._all_shown = shows_every_packet(container, stream) and not options.counted
        anywhere = container.format.name in _STARTS_ANYWHERE
        self._pending = PendingFrames(self._time_base, from_keyframe=not anywhere)
        self._count = 0
        self._shapes = PixelShapes(self.decoder)
        self._free_times = DecodeTimes.of(options, container)
        timed = options.counted or self._free_times
        self._untimed = UntimedFrames(options.path, stream, self._time_base, wanted=not timed)
        self._last: DecodedFrame | None = None
        self._left_out, self._orphans = 0, options.orphans
        self.unread = ""  # why reading ended, if by damage
        self._ends: dict[int, int] = {}  # of the packets so far, in ticks, by stream
        # With decoding times only: the damage of all frames until a keyframe decoded after it.
        self._damage, self._damage_dts = "", 0
        self._awaits_keyframe = sought
        # The pts of the keyframe sought: frames shown before it depend on frames not decoded.
        self._floor: int | None = None
        self._reached_floor = False

    def decode(self) -> Iterator[DecodedFrame]:
        """Yield every shown frame. Raises BadInput, unless the options keep going."""
        for packet in self._packets:
            if packet.size and not self._announce(packet):
                continue
            if not packet.size and packet.dts is not None:
                continue  # the frame before lasts longer
            if not packet.size and self._free_times:
                self._free_times.end()
            try:
                frames = self._decode_packet(packet)
            except av.FFmpegError:
                yield from self._replace_undecodable(packet)
                continue
            for frame in self._untimed.release(frames, end=not packet.size):
                yield from self._show(frame)
        if self._options.keep_going:
            remaining = self._pending.list_remaining()
            yield from self._repeat_last([frame for frame in remaining if not frame.orphan])
            if self._left_out and not self.unread:
                self.unread = "damaged: the frames at its end can't be decoded"
        elif self._last and self._all_shown:
            missing = [f.pts for f in self._pending.list_remaining() if not f.orphan]
            self._refuse(missing + (self._free_times.list_left() if self._free_times else []))

    def starts_in_open_group(self) -> bool:
        """Whether the video is an H.264 whose first frames need frames before its start.

        FFmpeg's error for one of them, with several threads, comes again for every later frame.
        """
        if self._stream.codec_context.name != "h264" or self._awaits_keyframe:
            return False
        if self._options.orphans:
            return True
        self._packets, orphans = read_head(self._packets)
        return orphans

    def _decode_packet(self, packet: Packet[Any]) -> list[VideoFrame]:
        """Return the frames that are ready. Raises BadInput; FFmpegError if the options keep going.

        A frame that needs others before the start of the video gives none, and no error.
        """
        with self._translate_errors():
            try:
                frames = self.decoder.decode(packet)
                self._shapes.note(packet)
                return frames
            except av.InvalidDataError:
                if not (self._free_times or self._pending).fail_orphan():
                    raise
                return []

    def add_notices(self, shown: DecodedFrame, notice: str = "") -> DecodedFrame:
        """Return the frame with `notice`, and one about frames left out since the last call."""
        count, self._orphans = self._orphans, 0
        if not (count or notice):
            return shown
        cut = f"{count} frame{'s' if count > 1 else ''} at the start left out: what they refer to "
        texts = (shown.notice, f"{cut}was cut off" if count else "", notice)
        return replace(shown, notice="; ".join(filter(None, texts)))

    @property
    def knows_its_end(self) -> bool:
        """Whether a video shorter than its header says is truncated, and not the header wrong."""
        return "mov" in self._container.format.name

    def find_early_end(self) -> str:
        """Return how the video is shorter than its header says, an empty text if it is not."""
        # other containers store no length: FFmpeg guesses one
        if not any(name in self._container.format.name for name in ("mov", "matroska", "avi")):
            return ""
        length = Fraction(self._container.duration or 0, 1_000_000)
        start = Fraction(self._container.start_time or 0, 1_000_000)
        # Matroska's length counts from 0, not from the first timestamp
        declared = length if "matroska" in self._container.format.name else length + start
        ends = (end * (self._container.streams[index].time_base or Fraction(0))
                for index, end in self._ends.items())  # fmt: skip
        reached = max(ends, default=Fraction(0))
        if self._last is None or reached >= declared - max(Fraction(1, 2), length / 100):
            return ""
        return (
            f"it ends after {self._format_time(self._last.pts)}, and its header says "
            f"{float(length):.3f} s"
        )

    def _read_packets(self) -> Iterator[Packet[Any]]:
        """Yield the stream's packets, and an empty one at the end."""
        errors = 0
        while errors <= _MAX_ERRORS:
            packets = self._container.demux()
            while True:
                try:
                    with self._translate_errors():
                        packet = next(packets, None)
                except av.FFmpegError:
                    errors += 1
                    self.unread = f"damaged: {self._describe_position()}, the rest can't be read"
                    self._pending.report_damage(self.unread, False)
                    break
                if packet is None:
                    return
                errors, self.unread = (0, "") if packet.size else (errors, self.unread)
                if self._options.counted:
                    packet.pts = packet.dts = None
                if packet.pts is not None:
                    index, end = packet.stream.index, packet.pts + (packet.duration or 0)
                    self._ends[index] = max(self._ends.get(index, 0), end)
                if packet.stream.index == self._stream.index:
                    yield packet
        yield Packet()  # flushes the decoder, as the demuxer does at the end of an intact video

    def _translate_errors(self) -> AbstractContextManager[None]:
        """Turn FFmpeg's errors into BadInput, unless the options keep going."""
        if self._options.keep_going:
            return nullcontext()
        return translate_errors(self._options.path, self._describe_position, REMEDY)

    def _announce(self, packet: Packet[Any]) -> bool:
        """Note the frame of a packet; False: skip it, because decoding starts at a keyframe."""
        if packet.is_discard:
            if packet.pts is not None and self._floor is None and self._free_times is None:
                self._pending.add(packet)
            return True
        if self._awaits_keyframe and not packet.is_keyframe:
            return False
        if self._awaits_keyframe:
            self._awaits_keyframe, self._floor = False, packet.pts
        if self._free_times is not None:
            self._free_times.add(packet)
        elif packet.pts is not None and (self._floor is None or packet.pts >= self._floor):
            self._pending.add(packet)
        return True

    def _show(self, frame: VideoFrame) -> Iterator[DecodedFrame]:
        """Yield replacements for the frames lost before a decoded frame, and that frame."""
        pts = self._free_times.take() if self._free_times else frame.pts
        if self._options.counted:
            pts, self._count = self._count, self._count + 1
        if pts is None:  # the container has not all times
            pts = self._last.pts + max(1, self._last.duration) if self._last else 0
        lost, match = self._pending.match(pts, strict=self._options.keep_going)
        if not self._reaches_floor(pts):
            return
        shown = match or PendingFrame(0, 0, pts, 0, keyframe=False)
        self._orphans += sum(other.orphan and not other.hidden for other in lost)
        if shown.orphan and frame.is_corrupt:
            self._orphans += 1
            return
        if self._free_times and self._last is not None:
            self._free_times.require_all()
        self._judge(frame, shown, lost)
        yield from self._repeat_last([other for other in lost if other.damage])
        if shown.damage:
            yield from self._repeat_last([shown])
            return
        gap = ""
        if self._left_out:
            gap = f"{self._left_out} damaged frames before it are left out"
            self._left_out = 0
        repaired = bool(gap or (self._last and self._last.repaired))
        duration = 1 if self._options.counted else frame.duration or 0
        aspect, notice = self._shapes.find(frame)
        self._last = DecodedFrame(frame, pts, duration, gap, notice, True, repaired, b"", aspect)
        yield self._last

    def _reaches_floor(self, pts: int) -> bool:
        """Whether the sought keyframe is shown, with this frame or before.

        A frame shown after it may have an earlier time, and one before it a later time, by jitter.
        """
        if self._floor is None or self._reached_floor:
            return True
        jitter = int(JITTER / self._time_base)
        self._reached_floor = pts == self._floor or pts > self._floor + jitter
        return self._reached_floor

    def _judge(self, frame: VideoFrame, shown: PendingFrame, lost: list[PendingFrame]) -> None:
        """Find the damage of a decoded frame and of those lost before it, and spread it.

        Raises BadInput for damage, unless the options keep going.
        """
        keep_going = self._options.keep_going
        if frame.key_frame and shown.pts > self._damage_dts:
            self._damage = ""
        shown.damage = shown.damage or self._damage
        # before the first shown frame there may be frames whose references were never read
        certain = self._last is not None and self._all_shown
        lost = [other for other in lost if not other.orphan]
        missing = [other for other in lost if not other.damage] if certain else []
        if missing and not keep_going:
            self._refuse([other.pts for other in missing])
        for other in missing:
            if not other.damage:  # it may depend on another one lost with it
                self._pending.mark_lost(other, self._describe_loss(other.pts), shown, *lost)
        if frame.is_corrupt:
            if not keep_going:
                self._refuse([shown.pts])
            self._pending.mark_lost(shown, self._describe_loss(shown.pts))

    def _replace_undecodable(self, packet: Packet[Any]) -> Iterator[DecodedFrame]:
        """Record that a packet can't be decoded; yield the replacement if its time is known."""
        if self._free_times and (pts := self._free_times.take()) is not None:
            self._damage, self._damage_dts = self._describe_loss(pts), packet.dts or 0
            yield from self._repeat_last(
                [PendingFrame(0, 0, pts, 0, keyframe=False, damage=self._damage)]
            )
        elif self._options.counted:
            self._left_out += 1
        elif packet.pts is not None and (self._floor is None or packet.pts >= self._floor):
            self._pending.report_damage(self._describe_loss(packet.pts))

    def _repeat_last(self, frames: list[PendingFrame]) -> Iterator[DecodedFrame]:
        """Yield the last frame in place of `frames`."""
        for frame in frames:
            if self._last is None:
                self._left_out += 1
                continue
            cause = frame.damage or self._describe_loss(frame.pts)
            at = self._format_time(frame.pts)
            self._last = replace(
                self._last,
                pts=frame.pts,
                duration=frame.duration,
                concealed=f"at {at} the last good frame is repeated: {cause}",
                original=False,
                repaired=True,
            )
            yield self._last

    def _refuse(self, pts: list[int]) -> None:
        if pts:
            loss = self._describe_loss(min(pts))
            raise BadInput(f"{self._options.path} is damaged: {loss}; {REMEDY}")

    def _describe_loss(self, pts: int) -> str:
        return f"the frame at {self._format_time(pts)} can't be decoded"

    def _describe_position(self) -> str:
        if self._last is None:
            return "decoding its first frame"
        return f"decoding after {self._format_time(self._last.pts)}"

    def _format_time(self, pts: int) -> str:
        return f"{float((pts - self._options.first_pts) * self._time_base):.3f} s"
