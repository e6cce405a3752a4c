"""What could not be copied from the other streams, found while it is copied."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction


@dataclass(slots=True)
class CopyReport:
    """Packets that were moved or lost, by description of their stream; times in output seconds."""

    moved: dict[str, Fraction] = field(default_factory=dict)
    refused: dict[str, tuple[int, Fraction]] = field(default_factory=dict)
    unreadable: dict[str, Fraction] = field(default_factory=dict)

    def move(self, stream: str, time: Fraction) -> None:
        """Note that a packet's time was moved."""
        self.moved.setdefault(stream, time)

    def refuse(self, stream: str, time: Fraction) -> None:
        """Note that a packet was lost because the container did not take it."""
        count, first = self.refused.get(stream, (0, time))
        self.refused[stream] = (count + 1, first)

    def skip(self, stream: str, time: Fraction) -> None:
        """Note that what follows `time` was lost because it is damaged."""
        self.unreadable.setdefault(stream, max(time, Fraction(0)))

    @property
    def is_complete(self) -> bool:
        """Whether nothing was lost."""
        return not self.refused and not self.unreadable

    def describe(self, suffix: str) -> list[str]:
        """Return the messages about it."""
        lines = [
            f"{stream}: times step back at {float(time):.3f} s; they are moved, as are later ones"
            for stream, time in self.moved.items()
        ]
        for stream, (count, time) in self.refused.items():
            packets = f"{count} packet{'s' if count != 1 else ''}"
            lines.append(f"{stream}: {packets} from {float(time):.3f} s on are left out: {suffix} "
                         "can't hold them")  # fmt: skip
        lines += [
            f"{stream}: damaged at {float(time):.3f} s; what cannot be read is left out"
            for stream, time in self.unreadable.items()
        ]
        return lines
