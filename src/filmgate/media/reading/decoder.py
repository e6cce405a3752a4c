"""The decoder: pictures in the order they are shown, and none of them lost in silence."""

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
from filmgate.media.containers.integrity import flaw
from filmgate.media.containers.open import translated
from filmgate.media.reading.decoded_frame import (
    JUMP,
    DecodedFrame,
    DecodeOptions,
    counted,
    tells_all,
)
from filmgate.media.reading.pending_frames import PendingFrames, Slot

_TRIES = 16  # errors in a row after which reading ends


def pick(path: Path, container: InputContainer, video: int | None) -> VideoStream:
    """The stream to process: number `video`, else the default one, else the largest."""
    videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not videos:
        has = ", ".join(f"{s.index}: {s.type}" for s in container.streams) or "nothing"
        raise BadInput(f"{path} has no video stream: it holds {has}")
    best = container.streams.best("video") if video is None else None
    found = next((s for s in videos if s.index == (best.index if best else video)), None)
    if video is None and found is None:  # the best one is a cover
        found = videos[0]
    if found is None:
        numbers = ", ".join(str(s.index) for s in videos)
        raise BadInput(f"{path} has no video stream {video}: its video streams are {numbers}")
    if found.codec_context is None:
        raise Unsupported(f"{path}: FFmpeg knows no codec for its video stream {found.index}")
    return found


def shown(
    way: DecodeOptions, container: InputContainer, stream: VideoStream, sought: bool = False
) -> Iterator[DecodedFrame]:
    """Pictures as they are shown, from where the container stands; `sought`: not the beginning.

    Raises BadInput where one is damaged or missing, and at the end if it comes too early; a film
    that keeps going shows the last good one again there, until a key picture comes.
    """
    context = stream.codec_context
    context.thread_count, context.thread_type = 1 if way.keep_going else way.threads, "AUTO"
    context.options = {
        "err_detect": "crccheck+bitstream+buffer+explode",
        "max_pixels": str(way.max_pixels),
    }
    reel = _DecodePass(way, container, stream, sought)
    if not way.keep_going:
        yield from reel.shots()
        if found := reel.missing_end():
            raise BadInput(f"{way.path} is {found}; get the whole file")
        return
    held: list[DecodedFrame] = []  # a good one and what stands in for those after it
    for shot in reel.shots():
        if shot.good:
            yield from held
            held = []
        held.append(shot)
    end = reel.missing_end() or flaw(way.path)
    if held and end:  # nobody knows how many pictures are missing: it ends with the last good one
        held = [
            replace(held[0], concealed=held[0].concealed or f"{way.path} is {end}", repaired=True)
        ]
    yield from held


class _DecodePass:
    """One pass through a film: what its packets promised, what came, what stands in for the rest.

    Where the container does not tell when pictures are shown, the first of them is shown when the
    first packet is decoded, and so on: `_ticks` are the times still to be given away.
    """

    def __init__(
        self, way: DecodeOptions, container: InputContainer, stream: VideoStream, sought: bool
    ) -> None:
        self._way, self._container, self._stream = way, container, stream
        self._base = stream.time_base or Fraction(1, 1000)
        self._sure = tells_all(container, stream)
        self._promised = PendingFrames(round(JUMP / self._base))
        self._ticks: deque[int] | None = deque() if counted(container, stream) else None
        self._last: DecodedFrame | None = None
        self._left_out = 0
        self._reached = Fraction(0)
        # Where pictures are counted: what all lean on until a key picture that is decoded later.
        self._hurt, self._hurt_at = "", 0
        self._key_due = sought
        self._floor: int | None = None  # what lies before it leans on what was not decoded

    def shots(self) -> Iterator[DecodedFrame]:
        """Every picture that is shown."""
        for packet in self._packets():
            if packet.size and not packet.is_discard and not self._take(packet):
                continue
            try:
                with self._checked():
                    frames = self._stream.decode(packet)
            except av.FFmpegError:
                yield from self._damaged(packet)
                continue
            for frame in frames:
                yield from self._came(frame)
        if self._way.keep_going:
            yield from self._stand_ins(self._promised.rest())
        elif self._last and self._sure:
            self._refuse([slot.pts for slot in self._promised.rest()] + list(self._ticks or ()))

    def missing_end(self) -> str:
        """What is wrong with where the film ended; empty if it is as long as it says."""
        # the others tell no length: FFmpeg guesses one
        if not any(name in self._container.format.name for name in ("mov", "matroska", "avi")):
            return ""
        length = Fraction(self._container.duration or 0, 1_000_000)
        begin = Fraction(self._container.start_time or 0, 1_000_000)
        # Matroska's length counts from 0, not from where it begins
        declared = length if "matroska" in self._container.format.name else length + begin
        if self._last is None or self._reached >= declared - max(Fraction(1, 2), length / 100):
            return ""
        return (
            f"cut short: it ends after {self._at(self._last.pts)}, and says that it lasts "
            f"{float(length):.3f} s"
        )

    def _packets(self) -> Iterator[Packet[Any]]:
        """Packets of the stream, and an empty one at the end."""
        errors = 0
        while errors <= _TRIES:
            packets = self._container.demux()
            while True:
                try:
                    with self._checked():
                        packet = next(packets, None)
                except av.FFmpegError:
                    errors += 1
                    self._promised.damage(f"what follows could not be read, {self._doing()}", False)
                    break
                if packet is None:
                    return
                errors = 0
                if packet.pts is not None:
                    end = (packet.pts + (packet.duration or 0)) * packet.time_base
                    self._reached = max(self._reached, end)
                if packet.stream.index == self._stream.index:
                    yield packet
        yield Packet()  # as the demuxer ends a film that it can read to its end

    def _checked(self) -> AbstractContextManager[None]:
        """Errors are the film's end, unless it keeps going: then they stay FFmpeg's."""
        if self._way.keep_going:
            return nullcontext()
        return translated(self._way.path, self._doing())

    def _take(self, packet: Packet[Any]) -> bool:
        """Whether the packet is to be decoded: the first one after a seek must be a key picture."""
        if self._key_due and not packet.is_keyframe:
            return False
        if self._key_due:
            self._key_due, self._floor = False, packet.pts
        if self._ticks is not None:
            self._ticks.append(packet.dts or 0)
        elif packet.pts is not None and (self._floor is None or packet.pts >= self._floor):
            self._promised.take(packet)
        return True

    def _came(self, frame: VideoFrame) -> Iterator[DecodedFrame]:
        """What a decoded picture brings: stand-ins for those lost before it, and itself."""
        pts = self._ticks.popleft() if self._ticks else frame.pts
        if pts is None:
            raise BadInput(f"{self._way.path} has a picture without a time, {self._doing()}")
        if self._floor is not None and pts < self._floor:
            return
        lost, mine = self._promised.came(pts, strict=self._way.keep_going)
        mine = mine or Slot(0, 0, pts, 0, key=False)
        if frame.key_frame and pts > self._hurt_at:
            self._hurt = ""
        mine.wrong = mine.wrong or self._hurt
        # before the first picture there may be some that lean on what is not there
        silent = [s for s in lost if not s.wrong] if self._last and self._sure else []
        if silent and not self._way.keep_going:
            self._refuse([slot.pts for slot in silent])
        for slot in silent:
            if not slot.wrong:  # it may lean on one that was lost with it
                self._promised.lose(slot, self._cause(slot.pts), mine, *lost)
        if frame.is_corrupt:
            if not self._way.keep_going:
                self._refuse([pts])
            self._promised.lose(mine, self._cause(pts))
        yield from self._stand_ins([slot for slot in lost if slot.wrong])
        if mine.wrong:
            yield from self._stand_ins([mine])
            return
        late = f"{self._left_out} damaged pictures before it are left out" if self._left_out else ""
        repaired = bool(late or (self._last and self._last.repaired))
        self._last = DecodedFrame(frame, pts, frame.duration or 0, late, repaired=repaired)
        self._left_out = 0
        yield self._last

    def _damaged(self, packet: Packet[Any]) -> Iterator[DecodedFrame]:
        """A packet that can't be decoded."""
        if self._ticks:
            pts = self._ticks.popleft()
            self._hurt, self._hurt_at = self._cause(pts), packet.dts or 0
            yield from self._stand_ins([Slot(0, 0, pts, 0, key=False, wrong=self._hurt)])
        elif packet.pts is not None and (self._floor is None or packet.pts >= self._floor):
            self._promised.damage(self._cause(packet.pts))

    def _stand_ins(self, slots: list[Slot]) -> Iterator[DecodedFrame]:
        for slot in slots:
            if self._last is None:
                self._left_out += 1
                continue
            why = slot.wrong or self._cause(slot.pts)
            self._last = replace(
                self._last,
                pts=slot.pts,
                ticks=slot.ticks,
                concealed=f"at {self._at(slot.pts)} the last good picture is shown again: {why}",
                good=False,
                repaired=True,
            )
            yield self._last

    def _refuse(self, pts: list[int]) -> None:
        if pts:
            raise BadInput(f"{self._way.path} is damaged: {self._cause(min(pts))}")

    def _cause(self, pts: int) -> str:
        return f"the picture at {self._at(pts)} can't be decoded"

    def _doing(self) -> str:
        if self._last is None:
            return "decoding its first picture"
        return f"decoding after {self._at(self._last.pts)}"

    def _at(self, pts: int) -> str:
        return f"{float((pts - self._way.begin) * self._base):.3f} s"
