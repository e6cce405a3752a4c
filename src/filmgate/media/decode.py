"""The decoder: pictures in the order they are shown, and none of them lost in silence."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from filmgate.errors import BadFilm, Unsupported
from filmgate.media.safety import translated

# Their packets may hold pictures that are only kept for reference, so none is known to be lost.
_INVISIBLE = frozenset({"vp8", "mpeg4"})


def pick(path: Path, container: InputContainer, video: int | None) -> VideoStream:
    """The stream to process: number `video`, else the default one, else the largest."""
    films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not films:
        has = ", ".join(f"{s.index}: {s.type}" for s in container.streams) or "nothing"
        raise BadFilm(f"{path} has no video stream: it holds {has}")
    best = container.streams.best("video") if video is None else None
    found = next((s for s in films if s.index == (best.index if best else video)), None)
    if video is None and found is None:  # the best one is a cover
        found = films[0]
    if found is None:
        numbers = ", ".join(str(s.index) for s in films)
        raise BadFilm(f"{path} has no video stream {video}: its video streams are {numbers}")
    if found.codec_context is None:
        raise Unsupported(f"{path}: FFmpeg knows no codec for its video stream {found.index}")
    return found


def shown(
    path: Path, container: InputContainer, stream: VideoStream, threads: int, start: int = 0
) -> Iterator[tuple[VideoFrame, int]]:
    """Pictures and their pts, as they are shown, from where the container stands.

    Raises BadFilm, with the time (film time if `start` is the pts of its first picture), where a
    picture is damaged or missing, where time goes backwards, and at the end if it comes too early.
    """
    base = stream.time_base or Fraction(1, 1000)
    context = stream.codec_context
    context.thread_count, context.thread_type = threads, "AUTO"
    context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
    waiting: set[int] = set()
    last: int | None = None
    reached = Fraction(0)

    def at(pts: int) -> str:
        return f"{float((pts - start) * base):.3f} s"

    def lose(lost: set[int]) -> None:
        # before the first picture there may be some that lean on what is not there
        if lost and last is not None and context.name not in _INVISIBLE:
            raise BadFilm(f"{path} is damaged: the picture at {at(min(lost))} can't be decoded")

    packets = container.demux()
    while True:
        doing = "decoding its first picture" if last is None else f"decoding after {at(last)}"
        with translated(path, doing):
            packet = next(packets, None)
            if packet is None:
                break
            if packet.pts is not None:
                reached = max(reached, (packet.pts + (packet.duration or 0)) * packet.time_base)
            if packet.stream.index != stream.index:
                continue
            if packet.pts is not None and packet.size and not packet.is_discard:
                waiting.add(packet.pts)
            frames = stream.decode(packet)
        for frame in frames:
            pts = frame.pts
            if pts is None:
                raise BadFilm(f"{path} has a picture without a time, {doing}")
            if last is not None and pts <= last:
                raise BadFilm(f"{path} goes back in time, from {at(last)} to {at(pts)}")
            if frame.is_corrupt:
                raise BadFilm(f"{path} is damaged: the picture at {at(pts)} can't be decoded whole")
            lose({early for early in waiting if early < pts})
            waiting = {later for later in waiting if later > pts}
            last = pts
            yield frame, pts
    if last is not None:
        lose(waiting)
        _reached_its_end(path, container, reached, at(last))


def _reached_its_end(path: Path, container: InputContainer, reached: Fraction, last: str) -> None:
    length = Fraction(container.duration or 0, 1_000_000)
    declared = length + Fraction(container.start_time or 0, 1_000_000)
    if reached < declared - max(Fraction(1, 2), length / 100):
        raise BadFilm(
            f"{path} is cut short: it ends after {last}, and says that it lasts "
            f"{float(length):.3f} s; get the whole file"
        )
