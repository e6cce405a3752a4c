"""Times of the source's other streams on the output's timeline."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av.container import InputContainer

from filmgate.core.source_metadata import SourceMetadata


@dataclass(frozen=True, slots=True)
class TimeMapping:
    """Map container times of `source`, in seconds, to those of the output.

    The trim of `source` is taken off and the rest lasts `time_scale` times as long.
    """

    source: SourceMetadata
    time_scale: Fraction = Fraction(1)

    def __call__(self, time: Fraction) -> Fraction:
        """Return the output's time for the source's `time`."""
        return (time - self.source.offset) * self.time_scale + self.source.output_offset

    @property
    def changes_times(self) -> bool:
        """Whether any time differs between source and output."""
        moved = self.source.offset != self.source.output_offset
        return self.source.trimmed or moved or self.time_scale != 1

    def map_chapters(self, container: InputContainer) -> list[Any]:
        """Return the container's chapters in order, with output times.

        Those trimmed away are left out; muxers spoil others that are not in order.
        """
        chapters: list[Any] = container.chapters()
        chapters.sort(key=lambda c: Fraction(c["start"]) * Fraction(c["time_base"] or 1))
        if not self.changes_times:
            return chapters
        kept = []
        for chapter in chapters:
            tick = Fraction(chapter["time_base"] or 1)
            start, end = Fraction(chapter["start"]) * tick, Fraction(chapter["end"]) * tick
            if self.source.trimmed:
                start, end = max(start, self.source.offset), min(end, self.source.until or end)
            if start < end:
                times = {"start": round(self(start) / tick), "end": round(self(end) / tick)}
                kept.append({**chapter, **times})
        return kept
