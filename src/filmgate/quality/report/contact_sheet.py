"""Contact sheets: rows of frames of a video, each with its number and time."""

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
from filmgate.media.sources import VideoFile

LABEL_HEIGHT = 16  # pixels of the label below each frame


def write_contact_sheet(
    video: Path, moments: Sequence[Fraction], png: Path, *, columns: int = 6, width: int = 240
) -> Path:
    """Write a PNG with one row of `columns` frames for each of `moments`; return its path.

    `moments` are seconds in rising order; `width` is pixels per frame. The video is read once.
    Raises BadInput.
    """
    rows: list[list[Image.Image]] = [[] for _ in moments]
    reader = VideoFile(video).open()
    for chunk, _ in reader.read(None, 1):
        for frame in chunk:
            for row, moment in zip(rows, moments, strict=True):
                if frame.time >= moment and len(row) < columns:
                    row.append(render_frame(frame, width))
        if all(len(row) == columns for row in rows):
            break
    return _save_rows(rows, png, columns, width)


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """A video and its result by `tasks`; `first` is the first output frame to show."""

    before: SourceFile
    after: SourceFile
    tasks: Sequence[Task]
    first: int


def write_before_after(
    pairs: Sequence[BeforeAfter], png: Path, *, columns: int = 6, width: int = 240
) -> Path:
    """Write a PNG with two rows for each pair, source frames above output frames of one time.

    Above an interpolated frame is the source frame that is shown at its time. Returns the path.
    """
    rows: list[list[Image.Image]] = []
    for pair in pairs:
        wanted = range(pair.first, pair.first + columns)
        source: Iterable[Frame] = (replace(f, image=f) for f in _read_frames(pair.before))
        for task in pair.tasks:
            source = task.timeline(source)
        above = (f.image for f in _select_frames(source, wanted) if isinstance(f.image, Frame))
        below = _select_frames(_read_frames(pair.after), wanted)
        rows.append([render_frame(frame, width, "before ") for frame in above])
        rows.append([render_frame(frame, width, "after ") for frame in below])
    return _save_rows(rows, png, columns, width)


def _read_frames(video: SourceFile) -> Iterator[Frame]:
    with video.open() as reader:
        for chunk, _ in reader.read(None, 1):
            yield from chunk


def _select_frames(frames: Iterable[Frame], wanted: range) -> Iterator[Frame]:
    for number, frame in enumerate(frames):
        if number in wanted:
            yield frame
        if number >= wanted[-1]:
            return


def _save_rows(rows: Sequence[Sequence[Image.Image]], png: Path, columns: int, width: int) -> Path:
    height = max(image.height for row in rows for image in row)
    sheet = Image.new("RGB", (columns * width, len(rows) * height), "black")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            sheet.paste(image, (x * width, y * height))
    sheet.save(png)
    return png


def render_frame(frame: Frame, width: int, prefix: str = "") -> Image.Image:
    """Return a frame, `width` pixels wide, with `prefix`, its number and its time below."""
    import torch

    assert isinstance(frame.image, Planes)
    rgb = to_rgb(frame.image, torch.float32, "cpu")  # (3, H, W) in [0, 1]
    values = (rgb * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    small = Image.fromarray(np.ascontiguousarray(values))
    small.thumbnail((width - 4, 4 * width))
    labeled = Image.new("RGB", (width, small.height + LABEL_HEIGHT), "black")
    labeled.paste(small, (2, 0))
    label = f"{prefix}{frame.index}: {float(frame.time):.3f} s"
    font = ImageFont.load_default(11)
    ImageDraw.Draw(labeled).text((4, small.height + 2), label, font=font)
    return labeled
