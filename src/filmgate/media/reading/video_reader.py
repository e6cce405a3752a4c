"""A file as frames: every picture that is shown, with its exact time, from any place on."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from heapq import heappop, heappush
from itertools import chain, islice
from pathlib import Path
from types import TracebackType

from av.container import InputContainer
from av.video.stream import VideoStream

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.snapshot import Cursor
from filmgate.errors import BadInput, BadSetting
from filmgate.media.containers.integrity import flaw
from filmgate.media.containers.open import opened, translated
from filmgate.media.pixels.av_frames import planes_of
from filmgate.media.reading.decoded_frame import DecodedFrame, DecodeOptions, tells_all
from filmgate.media.reading.decoder import pick, shown
from filmgate.media.reading.deinterlace import whole
from filmgate.media.reading.stream_info import declared_end, fields_of, light_of, spec_of, turn_of
from filmgate.media.reading.timestamps import REORDERED, in_order, straight
from filmgate.media.reading.uniform_size import fitted
from filmgate.media.source_metadata import SourceMetadata
from filmgate.media.sources import VideoFile


@dataclass(frozen=True, slots=True)
class VideoReader:
    """A film that can be read from any place, as often as wanted; nothing stays open in between.

    Ticks of `spec.time_base`: `begin` and `start` are the pts of the first picture and of the first
    one that is kept, `stop` of the first that is cut off behind (None: none is). `video` is the
    number of the stream, `end` where the container says that it ends, `fields` what is shown first
    of an interlaced picture. `sought`: whether pictures can be sought (None: not known yet).
    """

    file: VideoFile
    video: int
    spec: StreamSpec
    begin: int
    start: int
    stop: int | None
    end: Fraction | None
    fields: str
    sought: bool | None
    origin: SourceMetadata
    threads: int

    @classmethod
    def of(
        cls, source: VideoFile | Path, video: int | None = None, threads: int | None = None
    ) -> VideoReader:
        """The film at `source`, its first frame decoded. Raises BadInput, Unsupported."""
        file = source if isinstance(source, VideoFile) else VideoFile(source, video)
        path, threads = Path(file.path), threads or min(8, os.cpu_count() or 1)
        with opened(path, max_pixels=file.max_pixels) as container:
            stream = pick(path, container, file.video)
            if not file.keep_going and (found := flaw(path)):
                last = _last_time(path, container, stream)
                raise BadInput(
                    f"{path} is {found}; pictures can be found up to {last:.3f} s: get the whole "
                    "file"
                )
            way = DecodeOptions(path, threads, file.keep_going, file.max_pixels)
            first = next(shown(way, container, stream), None)
            if first is None:
                raise BadInput(f"{path} shows no picture: stream {stream.index} is empty")
            with translated(path, "reading its times"):
                spec = spec_of(container, stream, first.frame)
            film = cls(
                file=file,
                video=stream.index,
                spec=spec,
                begin=first.pts,
                start=first.pts,
                stop=None,
                end=declared_end(stream),
                fields=fields_of(stream, first.frame),
                sought=None,
                origin=SourceMetadata(
                    max_pixels=file.max_pixels,
                    path=path,
                    video=stream.index,
                    offset=first.pts * spec.time_base,
                    aspect=stream.sample_aspect_ratio,
                    turn=turn_of(first.frame),
                    light=light_of(first.frame),
                ),
                threads=threads,
            )
        return film if (file.from_, file.to, file.frames) == (None,) * 3 else film._trimmed()

    @property
    def path(self) -> Path:
        """Where it lies."""
        return Path(self.file.path)

    @property
    def offset(self) -> Fraction:
        """Container time of the first shown frame, in seconds: film time is container time less."""
        return self.start * self.spec.time_base

    def read(self, cursor: Cursor | None, size: int) -> Iterator[tuple[list[Frame], Cursor]]:
        """Chunks that end at multiples of `size`, each with the place after it.

        Frames hold Planes that lie in the decoder's memory. Raises BadInput, Unsupported with the
        time of what is wrong.
        """
        held: list[Frame] = []
        index = cursor.index if cursor else 0
        repaired = cursor is not None and cursor.concealed
        for shot, end in self._timed(cursor):
            if held and index % size == 0:
                yield held, Cursor(index, shot.pts, shot.repaired)
                held = []
            image = planes_of(shot.frame, self.spec.pixels, self.spec.colour)
            said = {
                "concealed": shot.concealed,
                "noted": "; ".join(filter(None, (self._note() * (not index), shot.noted))),
            }
            extras = {key: text for key, text in said.items() if text}
            time = self._at(shot.pts)
            held.append(Frame(index, time, end - time, image, extras))
            index, repaired = index + 1, shot.repaired
        if held:
            pts = self.start + round(held[-1].end / self.spec.time_base)
            yield held, Cursor(index, pts, repaired)

    def times(self) -> Iterator[tuple[Fraction, Fraction]]:
        """(time, duration) of every frame shown, in seconds of film time."""
        for shot, end in self._timed(None):
            yield self._at(shot.pts), end - self._at(shot.pts)

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass  # nothing stays open between two reads

    def _trimmed(self) -> VideoReader:
        """The part of it that its file definition keeps."""
        file, tick = self.file, self.spec.time_base
        begin = self.begin + (file.from_ or 0) / tick
        end = None if file.to is None else self.begin + file.to / tick
        sought: bool | None = None
        with opened(self.path, max_pixels=self.file.max_pixels) as container:
            stream = pick(self.path, container, self.video)
            # what stands in for a damaged picture depends on all before it
            told = not file.keep_going and tells_all(container, stream)
            if file.from_:
                sought = not file.keep_going and self._can_seek()
                told = told and sought
            else:
                told = told and in_order(self._way, container, stream, end, file.frames)
        times = self._packet_times(begin) if told else (s.pts for s in self._pass(None))
        start = stop = None
        count, last = 0, self.begin
        for pts in times:
            last = max(last, pts)
            if pts < begin:
                continue
            if (end is not None and pts >= end) or count == file.frames:
                stop = pts
                break
            start, count = pts if start is None else start, count + 1
        if start is None:
            raise BadSetting(
                f"{self.path} shows no frame from {float(file.from_ or 0):.3f} s"
                + (f" to {float(file.to):.3f} s" if file.to is not None else " on")
                + f": its last one comes at {float((last - self.begin) * tick):.3f} s"
            )
        origin = replace(
            self.origin,
            offset=start * tick,
            trimmed=True,
            until=None if stop is None else stop * tick,
        )
        spec = replace(self.spec, frames=count)
        return replace(self, spec=spec, start=start, stop=stop, sought=sought, origin=origin)

    def _can_seek(self) -> bool:
        """Whether reading from a place in the middle gives what reading from the beginning does."""
        if self.sought is not None:
            return self.sought
        with opened(self.path, max_pixels=self.file.max_pixels) as container:
            stream = pick(self.path, container, self.video)
            return in_order(self._way, container, stream)

    def _packet_times(self, begin: Fraction) -> Iterator[int]:
        """Each picture's pts, in order, from `begin` or earlier on; none is decoded."""
        with opened(self.path, max_pixels=self.file.max_pixels) as container:
            stream = pick(self.path, container, self.video)
            early = int(begin) - REORDERED * self._usual
            if early > self.begin:
                with translated(self.path, "seeking in it"):
                    container.seek(early, stream=stream)
            times: list[int] = []
            with translated(self.path, "reading its times"):
                for packet in container.demux(stream):
                    if packet.pts is None or not packet.size or packet.is_discard:
                        continue
                    heappush(times, packet.pts)
                    if len(times) > REORDERED and (pts := heappop(times)) >= self.begin:
                        yield pts
            yield from (pts for pts in sorted(times) if pts >= self.begin)

    def _timed(self, cursor: Cursor | None) -> Iterator[tuple[DecodedFrame, Fraction]]:
        """Pictures that are kept, from `cursor` on, and the film time when they end."""
        if cursor is not None:
            shots = self._from(cursor.pts, f"frame {cursor.index}", seek=not cursor.concealed)
        elif self.start != self.begin:
            shots = self._from(self.start, "the first frame that is kept", seek=True)
        else:
            shots = self._pass(None)
        held: DecodedFrame | None = None
        for following in shots:
            if held is not None:
                yield held, self._at(following.pts)
            if self.stop is not None and following.pts >= self.stop:
                return
            held = following
        if held is not None:
            yield held, self._at(held.pts) + self._last_duration(held)

    def _from(self, pts: int, what: str, seek: bool) -> Iterator[DecodedFrame]:
        """Pictures from `pts` on, the same as when reading from the beginning."""
        back = 0
        while True:
            early = pts - back
            sought = early if seek and early > self.begin and self._can_seek() else None
            landed = self._landed(pts, sought)
            if landed is not None:
                yield from landed
                return
            if sought is None:
                raise BadInput(
                    f"{self.path} has no frame at {float(self._at(pts)):.3f} s, where {what} was: "
                    "the file has changed; start again"
                )
            back = 4 * back or int(1 / self.spec.time_base)

    def _landed(self, pts: int, seek: int | None) -> Iterator[DecodedFrame] | None:
        """Pictures from exactly `pts` on; None if this seek lands too late or breaks a picture."""
        shots = self._pass(seek)
        before: list[str] = []
        try:
            for shot in shots:
                if seek is not None and shot.repaired:
                    shots.close()  # it depends on more than was read
                    return None
                if shot.pts == pts:
                    if pts == self.start:
                        noted = "; ".join(filter(None, (*before, shot.noted)))
                        shot = replace(shot, noted=noted)
                    return chain([shot], shots)
                if shot.pts > pts:
                    shots.close()
                    return None
                before.append(shot.noted)
        except BadInput:
            if seek is None:
                raise
            return None
        return iter(()) if before else None  # the place after the last frame

    def _pass(self, seek: int | None) -> Generator[DecodedFrame]:
        """Pictures from the last key picture before `seek` on, all as the first one was."""
        with opened(self.path, max_pixels=self.file.max_pixels) as container:
            stream = pick(self.path, container, self.video)
            if seek is not None:
                with translated(self.path, "seeking in it"):
                    container.seek(seek, stream=stream)
            shots = shown(self._way, container, stream, sought=seek is not None)
            shots = straight(shots, self._way, self.spec.time_base, self._usual)
            if self.file.deinterlace:
                # the first one lacks the one before it
                shots = islice(whole(shots, every=not self.fields), int(seek is not None), None)
            yield from fitted(shots, self.spec, self.begin)

    @property
    def _way(self) -> DecodeOptions:
        file = self.file
        return DecodeOptions(self.path, self.threads, file.keep_going, file.max_pixels, self.begin)

    @property
    def _usual(self) -> int:
        """How long a frame is, in ticks, where nothing tells it."""
        return max(1, round(1 / (self.spec.rate or 25) / self.spec.time_base))

    def _at(self, pts: int) -> Fraction:
        return (pts - self.start) * self.spec.time_base

    def _note(self) -> str:
        """What a person should know of the film from its first frame on."""
        if self.file.deinterlace and not self.fields:
            return "the film does not say that it is interlaced: every picture is deinterlaced"
        if self.fields and not self.file.deinterlace:
            return (
                f"the film is interlaced ({self.fields} field first): --deinterlace makes whole "
                "pictures of it"
            )
        return ""

    def _last_duration(self, last: DecodedFrame) -> Fraction:
        # In a film of variable rate with B-frames the last packet's own duration is that of
        # another frame (it is counted in decoding order): the stream's end knows better.
        if self.spec.rate is None and self.end is not None and not last.repaired:
            left = self.end - last.pts * self.spec.time_base
            if left > 0:
                return left
        return (last.ticks or self._usual) * self.spec.time_base


def _last_time(path: Path, container: InputContainer, stream: VideoStream) -> float:
    """How far the packets of a film that is cut short go, in seconds."""
    last = 0.0
    with suppress(BadInput), translated(path, "reading it"):
        for packet in container.demux(stream):
            if packet.pts is not None and packet.size:
                last = max(last, float(packet.pts * packet.time_base))
    return last
