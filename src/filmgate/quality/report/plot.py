"""Plots of curves over time, drawn with Pillow: small, and identical on every machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Values = npt.NDArray[np.float64]

COLOURS = ("#1f5fa8", "#c2571a", "#3c8d40", "#7a4fa3")
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 12, 22, 34  # margins, in pixels
_SUPERSAMPLING = 2  # plots are drawn larger and downscaled, for smooth lines
_INK, _MARK, _LIMITS = "#333333", "#bbbbbb", ("#cc2222", "#b07a10")
_SAMPLE = 22  # pixels of a line in the legend


@dataclass(frozen=True, slots=True)
class Curve:
    """A named curve; points with y NaN are left out."""

    name: str
    x: Values
    y: Values


@dataclass(frozen=True, slots=True)
class Marks:
    """Vertical lines at `x`, and what they mean."""

    name: str
    x: Sequence[float]


@dataclass(frozen=True, slots=True)
class Limit:
    """A horizontal line at `y`, and what it means."""

    name: str
    y: float


def draw_plot(
    curves: Sequence[Curve],
    *,
    title: str,
    x_name: str,
    y_name: str,
    low: float | None = None,
    high: float | None = None,
    marks: Marks | None = None,
    limits: Sequence[Limit] = (),
    size: tuple[int, int] = (960, 200),
) -> Image.Image:
    """Return a panel of curves with a legend; `x_name` and `y_name` name the axes.

    `low` and `high` bound the y axis. Default: all finite values and limits. `size` is in pixels.
    """
    axes = _Axes.of(curves, low, high, limits, size)
    image = Image.new("RGB", (size[0] * _SUPERSAMPLING, size[1] * _SUPERSAMPLING), "white")
    draw = ImageDraw.Draw(image)
    left, right, top, bottom = axes.box
    for mark in marks.x if marks else ():
        at = axes.x(mark)
        draw.line([(at, top), (at, bottom)], fill=_MARK, width=_SUPERSAMPLING)
    for value in _choose_ticks(axes.low, axes.high):
        at = axes.y(value)
        draw.line([(left, at), (right, at)], fill="#eeeeee", width=1)
        draw.text((left - 6, at), f"{value:g}", _INK, _load_font(), anchor="rm")
    for value in _choose_ticks(axes.first, axes.last, 8):
        draw.text((axes.x(value), bottom + 4), f"{value:g}", _INK, _load_font(), anchor="ma")
    for limit, colour in zip(limits, _LIMITS, strict=False):
        _draw_dashes(draw, left, right, axes.y(limit.y), colour)
    for curve, colour in zip(curves, COLOURS, strict=False):
        _draw_curve(draw, axes, curve, colour)
    draw.rectangle((left, top, right, bottom), outline="#999999", width=1)
    draw.text((left, top - 6), title, _INK, _load_font(13), anchor="ls")
    draw.text(((left + right) / 2, bottom + 20 * _SUPERSAMPLING), x_name, _INK, _load_font(),
              anchor="ma")  # fmt: skip
    _draw_upwards(image, y_name, (top + bottom) // 2)
    _draw_legend(draw, axes, curves, marks, limits)
    return image.reduce(_SUPERSAMPLING)


def stack_vertically(panels: Sequence[Image.Image]) -> Image.Image:
    """Return panels of one width as one image, from top to bottom."""
    image = Image.new("RGB", (panels[0].width, sum(p.height for p in panels)), "white")
    top = 0
    for panel in panels:
        image.paste(panel, (0, top))
        top += panel.height
    return image


def stack_horizontally(images: Sequence[Image.Image], width: int) -> Image.Image:
    """Return images from left to right, each in a column of `width` pixels, on black."""
    row = Image.new("RGB", (len(images) * width, max(image.height for image in images)), "black")
    for k, image in enumerate(images):
        row.paste(image, (k * width, 0))
    return row


def encode_png(image: Image.Image) -> bytes:
    """Return the image as the bytes of a PNG file."""
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class _Axes:
    """Maps values to pixels of the plot before downscaling."""

    box: tuple[int, int, int, int]  # left, right, top, bottom
    first: float
    last: float
    low: float
    high: float

    @classmethod
    def of(
        cls,
        curves: Sequence[Curve],
        low: float | None,
        high: float | None,
        limits: Sequence[Limit],
        size: tuple[int, int],
    ) -> "_Axes":
        x = np.concatenate([curve.x for curve in curves])
        y = np.concatenate([curve.y[np.isfinite(curve.y)] for curve in curves])
        y = np.append(y, [limit.y for limit in limits])
        least = low if low is not None else float(y.min()) if len(y) else 0.0
        most = high if high is not None else float(y.max()) if len(y) else 1.0
        if most <= least:
            least, most = least - 0.5, least + 0.5
        box = (_LEFT, size[0] - _RIGHT, _TOP, size[1] - _BOTTOM)
        left, right, top, bottom = (n * _SUPERSAMPLING for n in box)
        first, last = (float(x.min()), float(x.max())) if len(x) else (0.0, 1.0)
        return cls((left, right, top, bottom), first, max(last, first + 1e-9), least, most)

    def x(self, value: float) -> float:
        left, right = self.box[:2]
        return left + (value - self.first) / (self.last - self.first) * (right - left)

    def y(self, value: float) -> float:
        top, bottom = self.box[2:]
        share = (value - self.low) / (self.high - self.low)
        return bottom - min(1.0, max(0.0, share)) * (bottom - top)


def _draw_curve(draw: ImageDraw.ImageDraw, axes: _Axes, curve: Curve, colour: str) -> None:
    """Draw a curve; points that share a column become a line from the lowest to the highest."""
    width = axes.box[1] - axes.box[0]
    many = len(curve.x) > 2 * width
    points: list[tuple[float, float]] = []
    if not many:
        for x, y in zip(curve.x, curve.y, strict=True):
            if np.isfinite(y):
                points.append((axes.x(float(x)), axes.y(float(y))))
            else:
                _draw_points(draw, points, colour)
                points = []
    else:
        for part in np.array_split(np.arange(len(curve.x)), width):
            y = curve.y[part][np.isfinite(curve.y[part])]
            if len(y):
                column = axes.x(float(curve.x[part[0]]))
                points += [(column, axes.y(float(y.min()))), (column, axes.y(float(y.max())))]
    _draw_points(draw, points, colour)


def _draw_points(draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], colour: str) -> None:
    if len(points) == 1:
        x, y = points[0]
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)
    elif points:
        draw.line(points, fill=colour, width=3, joint="curve")


def _draw_dashes(
    draw: ImageDraw.ImageDraw, left: float, right: float, y: float, colour: str
) -> None:
    for x in np.arange(left, right, 12):
        draw.line([(x, y), (min(x + 7, right), y)], fill=colour, width=_SUPERSAMPLING)


def _draw_upwards(image: Image.Image, text: str, middle: int) -> None:
    """Draw the name of the y axis at the left edge, from bottom to top."""
    font = _load_font()
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    name = Image.new("RGB", (max(1, right - left), max(1, bottom - top)), "white")
    ImageDraw.Draw(name).text((-left, -top), text, _INK, font)
    turned = name.rotate(90, expand=True)
    image.paste(turned, (12 * _SUPERSAMPLING, max(0, middle - turned.height // 2)))


def _draw_legend(
    draw: ImageDraw.ImageDraw,
    axes: _Axes,
    curves: Sequence[Curve],
    marks: Marks | None,
    limits: Sequence[Limit],
) -> None:
    """Draw a line and a name for everything in the panel, above it at the right."""
    _, right, top, _ = axes.box
    font, y = _load_font(), top - 6 - 4 * _SUPERSAMPLING
    entries = [
        (curve.name, colour, "curve") for curve, colour in zip(curves, COLOURS, strict=False)
    ]
    entries += [
        (limit.name, colour, "limit") for limit, colour in zip(limits, _LIMITS, strict=False)
    ]
    entries += [(marks.name, _MARK, "mark")] if marks else []
    for name, colour, kind in reversed(entries):
        draw.text((right, top - 6), name, _INK, font, anchor="rs")
        end = right - draw.textlength(name, font) - 4 * _SUPERSAMPLING
        start = end - _SAMPLE * _SUPERSAMPLING
        if kind == "limit":
            _draw_dashes(draw, start, end, y, colour)
        elif kind == "mark":
            at = (start + end) / 2
            draw.line([(at, y - 10), (at, y + 10)], fill=colour, width=2 * _SUPERSAMPLING)
        else:
            draw.line([(start, y), (end, y)], fill=colour, width=3)
        right = int(start) - 10 * _SUPERSAMPLING


def _choose_ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return round values between two bounds."""
    raw = (high - low) / about
    power = 10.0 ** np.floor(np.log10(raw))
    step = float(next(n for n in (1, 2, 5, 10) if n * power >= raw) * power)
    return [round(n * step, 10) for n in range(int(np.ceil(low / step)), int(high / step) + 1)]


def _load_font(size: int = 11) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * _SUPERSAMPLING)
