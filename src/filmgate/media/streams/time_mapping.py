"""The times of the source's other streams on the result's timeline."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av.container import InputContainer

from filmgate.media.source_metadata import SourceMetadata


@dataclass(frozen=True, slots=True)
class TimeMapping:
    """From a film's timeline to its result's: film time stays, or all lasts `slow` times as long.

    Times are seconds on the containers' timelines.
    """

    origin: SourceMetadata
    slow: Fraction = Fraction(1)

    def __call__(self, time: Fraction) -> Fraction:
        """Where in the result lies what was at `time`."""
        return (time - self.origin.offset) * self.slow + self.origin.place

    @property
    def moves(self) -> bool:
        """Whether anything changes its place."""
        return self.origin.trimmed or self.slow != 1

    def chapters(self, source: InputContainer) -> list[Any]:
        """The source's chapters, those that were trimmed away left out."""
        found = source.chapters()
        if not self.moves:
            return found
        kept = []
        for chapter in found:
            tick = Fraction(chapter["time_base"] or 1)
            start, end = Fraction(chapter["start"]) * tick, Fraction(chapter["end"]) * tick
            if self.origin.trimmed:
                start, end = max(start, self.origin.offset), min(end, self.origin.until or end)
            if start < end:
                times = {"start": round(self(start) / tick), "end": round(self(end) / tick)}
                kept.append({**chapter, **times})
        return kept
