"""Time that only goes forward: timestamps that repeat or go back are put right."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice

from av.container import InputContainer
from av.video.stream import VideoStream

from filmgate.errors import BadInput
from filmgate.media.containers.open import translated
from filmgate.media.reading.decoded_frame import JUMP, DecodedFrame, DecodeOptions, counted

REORDERED = 32  # more packets than any codec moves a picture by


def straight(
    shots: Iterator[DecodedFrame], way: DecodeOptions, tick: Fraction, usual: int
) -> Iterator[DecodedFrame]:
    """The same pictures at times that grow; `tick` in seconds, a frame is `usual` ticks long.

    One that is not after the one before is moved to half a frame after it: so the next ones catch
    up. After a jump back of more than half a second the film goes on where the last frame ends,
    and what follows is moved as far. Each kind is noted once.
    """
    shift, far = 0, round(JUMP / tick)
    last: DecodedFrame | None = None
    told: set[str] = set()
    repaired = False
    for shot in shots:
        pts, note = shot.pts + shift, ""
        if last is not None and pts <= last.pts:
            length, at = shot.ticks or usual, f"{float((last.pts - way.begin) * tick):.3f} s"
            if last.pts - pts > far:
                shift += last.pts + (last.ticks or usual) - pts
                note = (
                    f"after {at} time jumps back by {float((last.pts - pts) * tick):.3f} s: the "
                    "film goes on there, as it does after later jumps; sound may be off from here"
                )
                pts, kind = shot.pts + shift, "jump"
            else:
                pts, kind = last.pts + max(1, length // 2), "step"
                note = f"after {at} a picture comes too early and is moved, as are later ones"
            repaired = True
            note = "" if kind in told else note
            told.add(kind)
        last = replace(shot, pts=pts, noted=shot.noted or note, repaired=repaired or shot.repaired)
        yield last


def in_order(
    way: DecodeOptions,
    container: InputContainer,
    stream: VideoStream,
    end: Fraction | None = None,
    frames: int | None = None,
) -> bool:
    """Whether any of its pictures can be sought by its time: its packets are looked at.

    Those up to `end` (ticks), the first `frames`. The index of an mp4 can't go back; pictures of a
    gif lean on those before, whatever it says.
    """
    if "mov" in container.format.name:
        return True
    if container.format.name == "gif" or counted(container, stream):
        return False
    depth = 1 if stream.codec_context.codec.intra_only else REORDERED
    recent: deque[int] = deque(maxlen=depth)
    try:
        with translated(way.path, "reading its times"):
            packets = (p for p in container.demux(stream) if p.size and not p.is_discard)
            for packet in islice(packets, frames and frames + REORDERED):
                pts, dts = packet.pts, packet.dts
                if pts is None or pts in recent or (dts is not None and pts < dts):
                    return False
                if len(recent) == depth and pts < min(recent):
                    return False
                recent.append(pts)
                if end is not None and len(recent) == depth and min(recent) >= end:
                    break
    except BadInput:
        return False
    return True
