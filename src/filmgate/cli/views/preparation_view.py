"""Show what a stage does before its first frame: how far it is, and what that looks like."""

from __future__ import annotations

from dataclasses import dataclass

from rich.color import Color
from rich.style import Style
from rich.text import Text

from filmgate.core.events import Prepared
from filmgate.core.stage import Preview
from filmgate.units import format_duration


@dataclass
class PreparationView:
    """Describes moves; its clock is the time in the events."""

    first: Prepared | None = None  # of the moves of this kind

    def describe(self, event: Prepared) -> str:
        """Return how many moves are made, and how long the others will take."""
        if self.first is None or (self.first.stage, self.first.what) != (event.stage, event.what):
            self.first = event
        words = [f"{event.stage}: {event.what} {event.done}/{event.total}"]
        made = event.done - self.first.done
        move_s = (event.seconds - self.first.seconds) / made if made else event.next_s
        if move_s and event.done < event.total:
            left = format_duration(move_s * (event.total - event.done))
            kind = "" if made else " (predicted)"
            words += [f"{move_s:.1f} s each", f"{left} left{kind}"]
        return "  ".join(words)


def draw_preview(preview: Preview, width: int) -> Text:
    """Return a preview as text, at most `width` columns: each character shows two pixels."""
    text, columns = Text(no_wrap=True, end=""), min(preview.width, width)
    for row in range(0, preview.height - preview.height % 2 or 1, 2):
        if row:
            text.append("\n")
        for column in range(columns):
            upper = _get_colour(preview, row, column)
            lower = _get_colour(preview, min(row + 1, preview.height - 1), column)
            text.append("▀", Style(color=upper, bgcolor=lower))
    return text


def _get_colour(preview: Preview, row: int, column: int) -> Color:
    start = 3 * (row * preview.width + column)
    red, green, blue = preview.rgb[start : start + 3]
    return Color.from_rgb(red, green, blue)
