"""Frames that packets announced: due, lost, or dependent on a lost one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any

from av.packet import Packet

from filmgate.media.timing.frame_clock import JITTER, JUMP

_FIRST_PACKETS = 8  # show whether a video starts in an open group


def read_head(packets: Iterator[Packet[Any]]) -> tuple[Iterator[Packet[Any]], bool]:
    """Return all `packets`, and whether the first frames need frames before the start."""
    head: list[Packet[Any]] = []
    for packet in packets:
        head.append(packet)
        if len(head) == _FIRST_PACKETS or not packet.size:
            break
    start = next((packet.pts for packet in head if packet.is_keyframe), None)
    orphans = start is None or any(p.pts is not None and p.pts < start for p in head)
    return chain(head, packets), orphans


@dataclass(slots=True)
class PendingFrame:
    """A frame due at `pts`, number `order` in decoding order; `damage`: why it is not shown.

    `epoch` counts the jumps back in time before it. `orphan`: it may need frames before the start
    of the video, as the leading frames of an open GOP do. `hidden`: it is not to be shown.
    `failed`: it could not be decoded.
    """

    order: int
    epoch: int
    pts: int
    duration: int
    keyframe: bool
    damage: str = ""
    orphan: bool = False
    hidden: bool = False
    failed: bool = False


class PendingFrames:
    """Frames that are due, in decoding order; a few dozen, unless nothing can be decoded.

    After a damaged frame all are damaged up to a keyframe, and those shown before that keyframe.
    Frames that come more than half a second before earlier ones start an epoch; of frames 4 ms
    apart, times may have another order than frames. `tick`: of pts, in seconds. `from_keyframe`:
    the video starts with one, unless it is damaged; False: it may start anywhere.
    """

    def __init__(self, tick: Fraction, from_keyframe: bool) -> None:
        self._jump, self._jitter = round(JUMP / tick), int(JITTER / tick)
        self._from_keyframe = from_keyframe
        self._frames: list[PendingFrame] = []
        self._order = self._epoch = 0
        self._latest: int | None = None
        self._start: int | None = None  # pts of the first keyframe
        self._damage = ""
        self._recovery_pts: int | None = None  # of the first keyframe after the damage

    def add(self, packet: Packet[Any]) -> None:
        """Add the frame of a packet that is about to be decoded; its pts is known.

        Of the hidden ones only orphans are kept.
        """
        pts = packet.pts or 0
        if self._start is None and packet.is_keyframe:
            self._start = pts
        orphan = pts < self._start if self._start is not None else not self._from_keyframe
        orphan = orphan and not self._epoch
        if packet.is_discard and not orphan:
            return
        if self._latest is not None and pts < self._latest - self._jump:
            self._epoch, self._latest = self._epoch + 1, pts
        self._latest = pts if self._latest is None else max(self._latest, pts)
        self._order += 1
        frame = PendingFrame(
            self._order,
            self._epoch,
            pts,
            packet.duration or 0,
            packet.is_keyframe,
            orphan=orphan,
            hidden=packet.is_discard,
        )
        self._frames.append(frame)
        self._spread_damage([frame])

    def report_damage(self, damage: str, last_added: bool = True) -> None:
        """Record that the frame added last can't be decoded, or that what follows is unreadable."""
        self._damage, self._recovery_pts = damage, None
        if last_added:
            self._spread_damage(self._frames[-1:], keyframes_recover=False)

    def fail_orphan(self) -> bool:
        """Record that an orphan can't be decoded; return False if none is due.

        With several threads the error of a frame comes when a later one is decoded.
        """
        orphan = next((f for f in self._frames if f.orphan and not f.failed), None)
        if orphan is not None:
            orphan.failed = True
        return orphan is not None

    def match(self, pts: int, strict: bool) -> tuple[list[PendingFrame], PendingFrame | None]:
        """Remove the frame due at `pts` and those due before it; return the latter and the former.

        Not `strict`: only those also decoded before it, because its pts may be the wrong one.
        """
        match = next((f for f in self._frames if f.pts == pts), None)
        if match is None:
            return [], None
        lost = [
            f for f in self._frames
            if (f.epoch, f.pts) < (match.epoch, pts - self._jitter)
            and (strict or (f.order < match.order and f.epoch == match.epoch))
        ]  # fmt: skip
        removed = {match.order, *(f.order for f in lost)}
        self._frames = [f for f in self._frames if f.order not in removed]
        return sorted(lost, key=lambda f: (f.epoch, f.pts)), match

    def mark_lost(self, lost: PendingFrame, damage: str, *others: PendingFrame) -> None:
        """Record that `lost` was never shown: frames decoded after it may depend on it."""
        lost.damage, self._damage, self._recovery_pts = damage, damage, None
        after = [f for f in (*self._frames, *others) if f.order > lost.order]
        self._spread_damage(sorted(after, key=lambda f: f.order))

    def list_remaining(self) -> list[PendingFrame]:
        """Return the frames that are still due, in the order of their times."""
        return sorted(self._frames, key=lambda f: (f.epoch, f.pts))

    def _spread_damage(self, frames: list[PendingFrame], keyframes_recover: bool = True) -> None:
        for frame in frames:
            if frame.keyframe and self._damage and keyframes_recover:
                if self._recovery_pts is None:
                    self._recovery_pts = frame.pts
                else:
                    self._damage, self._recovery_pts = "", None
            if self._damage and (self._recovery_pts is None or frame.pts < self._recovery_pts):
                frame.damage = frame.damage or self._damage
