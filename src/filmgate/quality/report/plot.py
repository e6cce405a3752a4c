"""Curves over time, drawn with Pillow: small, and the same everywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Values = npt.NDArray[np.float64]

COLOURS = ("#1f5fa8", "#c2571a", "#3c8d40", "#7a4fa3")
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 22, 18  # margins, in pixels
_TWICE = 2  # drawn larger and shrunk, so that lines are smooth
_INK, _FAINT = "#333333", "#dddddd"


@dataclass(frozen=True, slots=True)
class Line:
    """A curve: its name and its points; what is not a number is left out."""

    name: str
    x: Values
    y: Values


def plot(
    lines: Sequence[Line],
    *,
    title: str,
    low: float | None = None,
    high: float | None = None,
    marks: Sequence[float] = (),
    limit: float | None = None,
    size: tuple[int, int] = (960, 200),
) -> Image.Image:
    """A panel of curves. `marks`: x of faint upright lines; `limit`: y of a red one across.

    `low` and `high` bound the scale, which otherwise holds everything that is finite.
    """
    frame = _Frame.of(lines, low, high, limit, size)
    image = Image.new("RGB", (size[0] * _TWICE, size[1] * _TWICE), "white")
    draw = ImageDraw.Draw(image)
    left, right, top, bottom = frame.box
    for mark in marks:
        at = frame.x(mark)
        draw.line([(at, top), (at, bottom)], fill=_FAINT, width=_TWICE)
    for value in _ticks(frame.low, frame.high):
        at = frame.y(value)
        draw.line([(left, at), (right, at)], fill="#eeeeee", width=1)
        draw.text((left - 6, at), f"{value:g}", _INK, _font(), anchor="rm")
    for value in _ticks(frame.first, frame.last, 8):
        draw.text((frame.x(value), bottom + 4), f"{value:g}", _INK, _font(), anchor="ma")
    if limit is not None:
        draw.line([(left, frame.y(limit)), (right, frame.y(limit))], fill="#cc2222", width=_TWICE)
    for line, colour in zip(lines, COLOURS, strict=False):
        _draw(draw, frame, line, colour)
    draw.rectangle((left, top, right, bottom), outline="#999999", width=1)
    _headline(draw, lines, title, frame)
    return image.resize(size, Image.Resampling.LANCZOS)


def stacked(panels: Sequence[Image.Image]) -> Image.Image:
    """Panels of one width below each other."""
    whole = Image.new("RGB", (panels[0].width, sum(p.height for p in panels)), "white")
    top = 0
    for panel in panels:
        whole.paste(panel, (0, top))
        top += panel.height
    return whole


def as_png(image: Image.Image) -> bytes:
    """The picture as the bytes of a PNG file."""
    held = BytesIO()
    image.save(held, "PNG", optimize=True)
    return held.getvalue()


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where values lie on the picture, which is drawn `_TWICE` as large."""

    box: tuple[int, int, int, int]  # left, right, top, bottom
    first: float
    last: float
    low: float
    high: float

    @classmethod
    def of(
        cls,
        lines: Sequence[Line],
        low: float | None,
        high: float | None,
        limit: float | None,
        size: tuple[int, int],
    ) -> "_Frame":
        x = np.concatenate([line.x for line in lines])
        y = np.concatenate([line.y[np.isfinite(line.y)] for line in lines])
        y = np.append(y, [] if limit is None else [limit])
        least = low if low is not None else float(y.min()) if len(y) else 0.0
        most = high if high is not None else float(y.max()) if len(y) else 1.0
        if most <= least:
            least, most = least - 0.5, least + 0.5
        box = (_LEFT, size[0] - _RIGHT, _TOP, size[1] - _BOTTOM)
        left, right, top, bottom = (n * _TWICE for n in box)
        first, last = (float(x.min()), float(x.max())) if len(x) else (0.0, 1.0)
        return cls((left, right, top, bottom), first, max(last, first + 1e-9), least, most)

    def x(self, value: float) -> float:
        left, right = self.box[:2]
        return left + (value - self.first) / (self.last - self.first) * (right - left)

    def y(self, value: float) -> float:
        top, bottom = self.box[2:]
        share = (value - self.low) / (self.high - self.low)
        return bottom - min(1.0, max(0.0, share)) * (bottom - top)


def _draw(draw: ImageDraw.ImageDraw, frame: _Frame, line: Line, colour: str) -> None:
    """The curve; where several points share a column, from their lowest to their highest."""
    wide = frame.box[1] - frame.box[0]
    many = len(line.x) > 2 * wide
    points: list[tuple[float, float]] = []
    if not many:
        for x, y in zip(line.x, line.y, strict=True):
            if np.isfinite(y):
                points.append((frame.x(float(x)), frame.y(float(y))))
            else:
                _stroke(draw, points, colour)
                points = []
    else:
        for part in np.array_split(np.arange(len(line.x)), wide):
            told = line.y[part][np.isfinite(line.y[part])]
            if len(told):
                at = frame.x(float(line.x[part[0]]))
                points += [(at, frame.y(float(told.min()))), (at, frame.y(float(told.max())))]
    _stroke(draw, points, colour)


def _stroke(draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], colour: str) -> None:
    if len(points) == 1:
        x, y = points[0]
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)
    elif points:
        draw.line(points, fill=colour, width=3, joint="curve")


def _headline(draw: ImageDraw.ImageDraw, lines: Sequence[Line], title: str, frame: _Frame) -> None:
    left, right, top, _ = frame.box
    draw.text((left, top - 6), title, _INK, _font(13), anchor="ls")
    at = right
    if len(lines) > 1:
        for line, colour in list(zip(lines, COLOURS, strict=False))[::-1]:
            draw.text((at, top - 6), line.name, colour, _font(12), anchor="rs")
            at -= int(draw.textlength(line.name, _font(12))) + 24


def _ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round values between two bounds."""
    raw = (high - low) / about
    power = 10.0 ** np.floor(np.log10(raw))
    step = float(next(n for n in (1, 2, 5, 10) if n * power >= raw) * power)
    return [round(n * step, 10) for n in range(int(np.ceil(low / step)), int(high / step) + 1)]


def _font(size: int = 11) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * _TWICE)
