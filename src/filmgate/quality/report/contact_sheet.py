"""A contact sheet: frames of a film in rows, each with its number and time, to be looked at."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from filmgate.core.frame import Frame
from filmgate.core.job import SourceFile, Task
from filmgate.media.pixels.planes import Planes
from filmgate.media.pixels.rgb import to_rgb
from filmgate.media.reading.video_reader import VideoReader

LABEL = 16  # pixels for the words below each picture


def contact_sheet(
    video: Path, moments: Sequence[Fraction], png: Path, *, columns: int = 6, width: int = 240
) -> Path:
    """Writes a PNG with a row of `columns` frames from each of `moments` (seconds, rising) on.

    Pictures are `width` pixels wide. Reads the film once. Raises BadInput.
    """
    rows: list[list[Image.Image]] = [[] for _ in moments]
    opened = VideoReader.of(video)
    for chunk, _ in opened.read(None, 1):
        for frame in chunk:
            for row, moment in zip(rows, moments, strict=True):
                if frame.time >= moment and len(row) < columns:
                    row.append(picture_of(frame, width))
        if all(len(row) == columns for row in rows):
            break
    return _saved(rows, png, columns, width)


@dataclass(frozen=True, slots=True)
class Pair:
    """A film, what the tasks made of it, and the number of the first result to look at."""

    before: SourceFile
    after: SourceFile
    tasks: Sequence[Task]
    first: int


def before_after(pairs: Sequence[Pair], png: Path, *, columns: int = 6, width: int = 240) -> Path:
    """Writes a PNG with two rows for each pair: what was shown at a time, and what is shown now.

    Where the result has frames between frames, the film's own stands there as long as it is shown.
    """
    rows: list[list[Image.Image]] = []
    for pair in pairs:
        wanted = range(pair.first, pair.first + columns)
        shown: Iterable[Frame] = (replace(f, image=f) for f in _frames(pair.before))
        for task in pair.tasks:
            shown = task.timeline(shown)
        rows.append([picture_of(f.image, width, "before ") for f in _those(shown, wanted)
                     if isinstance(f.image, Frame)])  # fmt: skip
        rows.append([picture_of(f, width, "after ") for f in _those(_frames(pair.after), wanted)])
    return _saved(rows, png, columns, width)


def _frames(video: SourceFile) -> Iterator[Frame]:
    with video.open() as opened:
        for chunk, _ in opened.read(None, 1):
            yield from chunk


def _those(frames: Iterable[Frame], wanted: range) -> Iterator[Frame]:
    for number, frame in enumerate(frames):
        if number in wanted:
            yield frame
        if number >= wanted[-1]:
            return


def _saved(rows: Sequence[Sequence[Image.Image]], png: Path, columns: int, width: int) -> Path:
    height = max(picture.height for row in rows for picture in row)
    sheet = Image.new("RGB", (columns * width, len(rows) * height), "black")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            sheet.paste(picture, (x * width, y * height))
    sheet.save(png)
    return png


def picture_of(frame: Frame, width: int, said: str = "") -> Image.Image:
    """A frame, `width` pixels wide, with what is said and its number and time below."""
    import torch

    assert isinstance(frame.image, Planes)
    rgb = to_rgb(frame.image, torch.float32, "cpu")  # (3, H, W) in [0, 1]
    values = (rgb * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    small = Image.fromarray(np.ascontiguousarray(values))
    small.thumbnail((width - 4, 4 * width))
    framed = Image.new("RGB", (width, small.height + LABEL), "black")
    framed.paste(small, (2, 0))
    words = f"{said}{frame.index}: {float(frame.time):.3f} s"
    ImageDraw.Draw(framed).text((4, small.height + 2), words, font=ImageFont.load_default(11))
    return framed
