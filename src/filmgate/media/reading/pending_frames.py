"""What packets promised to show: pictures that are due, lost, or lean on a lost one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from av.packet import Packet


@dataclass(slots=True)
class Slot:
    """A picture that is due at `pts`, number `order` of those decoded; `wrong`: not to be shown.

    `epoch` counts how often time jumped back before.
    """

    order: int
    epoch: int
    pts: int
    ticks: int
    key: bool
    wrong: str = ""


class PendingFrames:
    """Pictures that are due, in decoding order. A few dozen, unless nothing can be decoded.

    After a damaged one all are wrong until a key picture, and those that are shown before it.
    """

    def __init__(self, jump: int) -> None:
        self._jump = jump
        self._slots: list[Slot] = []
        self._order = self._epoch = 0
        self._latest: int | None = None
        self._wrong = ""
        self._healed: int | None = None  # pts of the first key picture after the damage

    def take(self, packet: Packet[Any]) -> None:
        """A packet that is about to be decoded; its pts is known."""
        pts = packet.pts or 0
        if self._latest is not None and pts < self._latest - self._jump:
            self._epoch, self._latest = self._epoch + 1, pts
        self._latest = pts if self._latest is None else max(self._latest, pts)
        self._order += 1
        slot = Slot(self._order, self._epoch, pts, packet.duration or 0, packet.is_keyframe)
        self._slots.append(slot)
        self._spread([slot])

    def damage(self, why: str, taken: bool = True) -> None:
        """What was `taken` last can't be decoded, or what follows it can't be read."""
        self._wrong, self._healed = why, None
        if taken:
            self._spread(self._slots[-1:], again=True)

    def came(self, pts: int, strict: bool) -> tuple[list[Slot], Slot | None]:
        """A picture was shown: those that should have been before it, and what was due there.

        Not `strict`: only those that were decoded before it too, for its time may be the wrong one.
        """
        mine = next((s for s in self._slots if s.pts == pts), None)
        if mine is None:
            return [], None
        lost = [
            s for s in self._slots
            if (s.epoch, s.pts) < (mine.epoch, pts)
            and (strict or (s.order < mine.order and s.epoch == mine.epoch))
        ]  # fmt: skip
        gone = {mine.order, *(s.order for s in lost)}
        self._slots = [s for s in self._slots if s.order not in gone]
        return sorted(lost, key=lambda s: (s.epoch, s.pts)), mine

    def lose(self, lost: Slot, why: str, *others: Slot) -> None:
        """`lost` was never shown: what was decoded after it (`others` too) may lean on it."""
        lost.wrong, self._wrong, self._healed = why, why, None
        after = [s for s in (*self._slots, *others) if s.order > lost.order]
        self._spread(sorted(after, key=lambda s: s.order))

    def rest(self) -> list[Slot]:
        """What is still due, as it would be shown."""
        return sorted(self._slots, key=lambda s: (s.epoch, s.pts))

    def _spread(self, slots: list[Slot], again: bool = False) -> None:
        for slot in slots:
            if slot.key and self._wrong and not again:
                if self._healed is None:
                    self._healed = slot.pts
                else:
                    self._wrong, self._healed = "", None
            if self._wrong and (self._healed is None or slot.pts < self._healed):
                slot.wrong = slot.wrong or self._wrong
