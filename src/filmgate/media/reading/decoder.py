"""The decoder: frames in the order they are shown, with every missing frame detected."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from filmgate.errors import BadInput, Unsupported
from filmgate.media.containers.integrity import find_damage
from filmgate.media.containers.open import translate_errors
from filmgate.media.reading.decoded_frame import (
    JUMP,
    DecodedFrame,
    DecodeOptions,
    has_only_decode_times,
    shows_every_packet,
)
from filmgate.media.reading.pending_frames import PendingFrame, PendingFrames

_MAX_ERRORS = 16  # read errors in a row after which reading ends


def choose_stream(path: Path, container: InputContainer, index: int | None) -> VideoStream:
    """Return the video stream to process: `index`, else the default one, else the largest."""
    videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not videos:
        streams = ", ".join(f"{s.index}: {s.type}" for s in container.streams) or "nothing"
        raise BadInput(f"{path} has no video stream: it has {streams}")
    best = container.streams.best("video") if index is None else None
    stream = next((s for s in videos if s.index == (best.index if best else index)), None)
    if index is None and stream is None:  # FFmpeg's best one is a cover
        stream = videos[0]
    if stream is None:
        indices = " or ".join(str(s.index) for s in videos)
        raise BadInput(f"{path} has no video stream {index}: pass --stream {indices}")
    if stream.codec_context is None:
        raise Unsupported(f"{path}: FFmpeg has no decoder for its video stream {stream.index}")
    return stream


def decode_frames(
    options: DecodeOptions, container: InputContainer, stream: VideoStream, sought: bool = False
) -> Iterator[DecodedFrame]:
    """Yield frames in shown order from the container's position; `sought`: it is not the start.

    Raises BadInput where a frame is damaged or missing, and at the end if the video is too short.
    With `keep_going` the last good frame is repeated instead, up to the next keyframe.
    """
    context = stream.codec_context
    context.thread_count = 1 if options.keep_going else options.threads
    context.thread_type = "AUTO"
    context.options = {
        "err_detect": "crccheck+bitstream+buffer+explode",
        "max_pixels": str(options.max_pixels),
    }
    decoding = _DecodePass(options, container, stream, sought)
    if not options.keep_going:
        yield from decoding.decode()
        if damage := decoding.find_early_end():
            raise BadInput(f"{options.path} is {damage}; get the complete file")
        return
    held: list[DecodedFrame] = []  # a good frame and its repetitions
    for frame in decoding.decode():
        if frame.original:
            yield from held
            held = []
        held.append(frame)
    end = decoding.find_early_end() or find_damage(options.path)
    if held and end:  # how many frames are missing is unknown: end with the last good one
        concealed = held[0].concealed or f"{options.path} is {end}"
        held = [replace(held[0], concealed=concealed, repaired=True)]
    yield from held


class _DecodePass:
    """One pass through a video: frames that packets announce, that arrive, and replacements.

    Where a container stores only decoding times, the first shown frame gets the first packet's
    time, and so on: `_free_times` are those not given to a frame yet.
    """

    def __init__(
        self, options: DecodeOptions, container: InputContainer, stream: VideoStream, sought: bool
    ) -> None:
        self._options, self._container, self._stream = options, container, stream
        self._time_base = stream.time_base or Fraction(1, 1000)
        self._all_shown = shows_every_packet(container, stream)
        self._pending = PendingFrames(round(JUMP / self._time_base))
        self._free_times: deque[int] | None = (
            deque() if has_only_decode_times(container, stream) else None
        )
        self._last: DecodedFrame | None = None
        self._left_out = 0
        self._reached = Fraction(0)
        # With decoding times only: the damage of all frames until a keyframe decoded after it.
        self._damage, self._damage_dts = "", 0
        self._awaits_keyframe = sought
        self._floor: int | None = None  # frames before this pts depend on frames not decoded

    def decode(self) -> Iterator[DecodedFrame]:
        """Yield every shown frame. Raises BadInput, unless the options keep going."""
        for packet in self._read_packets():
            if packet.size and not packet.is_discard and not self._announce(packet):
                continue
            try:
                with self._translate_errors():
                    frames = self._stream.decode(packet)
            except av.FFmpegError:
                yield from self._replace_undecodable(packet)
                continue
            for frame in frames:
                yield from self._show(frame)
        if self._options.keep_going:
            yield from self._repeat_last(self._pending.list_remaining())
        elif self._last and self._all_shown:
            missing = [frame.pts for frame in self._pending.list_remaining()]
            self._refuse(missing + list(self._free_times or ()))

    def find_early_end(self) -> str:
        """Return what is wrong if the video is shorter than its header says, else an empty text."""
        # other containers store no length: FFmpeg guesses one
        if not any(name in self._container.format.name for name in ("mov", "matroska", "avi")):
            return ""
        length = Fraction(self._container.duration or 0, 1_000_000)
        start = Fraction(self._container.start_time or 0, 1_000_000)
        # Matroska's length counts from 0, not from the first timestamp
        declared = length if "matroska" in self._container.format.name else length + start
        if self._last is None or self._reached >= declared - max(Fraction(1, 2), length / 100):
            return ""
        return (
            f"truncated: it ends after {self._format_time(self._last.pts)}, and its header says "
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
                    self._pending.report_damage(
                        f"what follows can't be read, {self._describe_position()}", False
                    )
                    break
                if packet is None:
                    return
                errors = 0
                if packet.pts is not None:
                    end = (packet.pts + (packet.duration or 0)) * packet.time_base
                    self._reached = max(self._reached, end)
                if packet.stream.index == self._stream.index:
                    yield packet
        yield Packet()  # flushes the decoder, as the demuxer does at the end of an intact video

    def _translate_errors(self) -> AbstractContextManager[None]:
        """Turn FFmpeg's errors into BadInput, unless the options keep going."""
        if self._options.keep_going:
            return nullcontext()
        return translate_errors(self._options.path, self._describe_position())

    def _announce(self, packet: Packet[Any]) -> bool:
        """Note the frame of a packet; False: skip it, because decoding starts at a keyframe."""
        if self._awaits_keyframe and not packet.is_keyframe:
            return False
        if self._awaits_keyframe:
            self._awaits_keyframe, self._floor = False, packet.pts
        if self._free_times is not None:
            self._free_times.append(packet.dts or 0)
        elif packet.pts is not None and (self._floor is None or packet.pts >= self._floor):
            self._pending.add(packet)
        return True

    def _show(self, frame: VideoFrame) -> Iterator[DecodedFrame]:
        """Yield replacements for the frames lost before a decoded frame, and that frame."""
        pts = self._free_times.popleft() if self._free_times else frame.pts
        if pts is None:
            raise BadInput(
                f"{self._options.path} has a frame without a time, {self._describe_position()}"
            )
        if self._floor is not None and pts < self._floor:
            return
        lost, match = self._pending.match(pts, strict=self._options.keep_going)
        shown = match or PendingFrame(0, 0, pts, 0, keyframe=False)
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
        self._last = DecodedFrame(frame, pts, frame.duration or 0, gap, repaired=repaired)
        yield self._last

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
        if self._free_times:
            pts = self._free_times.popleft()
            self._damage, self._damage_dts = self._describe_loss(pts), packet.dts or 0
            yield from self._repeat_last(
                [PendingFrame(0, 0, pts, 0, keyframe=False, damage=self._damage)]
            )
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
            raise BadInput(f"{self._options.path} is damaged: {self._describe_loss(min(pts))}")

    def _describe_loss(self, pts: int) -> str:
        return f"the frame at {self._format_time(pts)} can't be decoded"

    def _describe_position(self) -> str:
        if self._last is None:
            return "decoding its first frame"
        return f"decoding after {self._format_time(self._last.pts)}"

    def _format_time(self, pts: int) -> str:
        return f"{float((pts - self._options.first_pts) * self._time_base):.3f} s"
