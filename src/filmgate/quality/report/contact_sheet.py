"""Contact sheets: rows of frames of a video at their own size, each with its number and time.

A row starts with the complete frame, small, on which a box marks the place that the others show
pixel by pixel: the place with the most detail, the same for all frames of the row.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from filmgate.core.frame import Frame
from filmgate.core.job import SourceFile, Task
from filmgate.media.pixels.display import to_bgr
from filmgate.media.pixels.planes import Planes
from filmgate.media.sources import VideoFile

LABEL_HEIGHT = 16  # pixels of the label below each frame
_GAP = 2  # pixels on each side of a frame
_BOX_COLOUR = "#ff3030"
_CHANGE = 0.7  # of all difference between two images is in a place that was changed by itself

Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels


def write_contact_sheet(
    video: Path, moments: Sequence[Fraction], png: Path, *, columns: int = 6, width: int = 240
) -> Path:
    """Write a PNG with one row for each of `moments`: an overview and `columns` crops.

    `moments` are seconds in rising order; `width` is pixels of each column. Crops have the video's
    own pixels. The video is read once. Returns the path. Raises BadInput.
    """
    rows: list[list[Frame]] = [[] for _ in moments]
    reader = VideoFile(video).open()
    for chunk, _ in reader.read(None, 1):
        for frame in chunk:
            for row, moment in zip(rows, moments, strict=True):
                if frame.time >= moment and len(row) < columns:
                    row.append(frame)
        if all(len(row) == columns for row in rows):
            break
    return _save_rows([_render_rows({"": row}, width)[0] for row in rows if row], png, width)


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """A video and its result by `tasks`; `first` is the first output frame to show."""

    before: SourceFile
    after: SourceFile
    tasks: Sequence[Task]
    first: int


def write_before_after(
    pairs: Sequence[BeforeAfter], png: Path, *, columns: int = 4, width: int = 360
) -> Path:
    """Write a PNG with two rows for each pair, source frames above output frames of one time.

    Each row is an overview and `columns` crops of the same place. The larger of the two is shown
    pixel by pixel, and the pixels of the other are repeated to the same size. Above an interpolated
    frame is the source frame that is shown at its time. Returns the path.
    """
    rows: list[list[Image.Image]] = []
    for pair in pairs:
        wanted = range(pair.first, pair.first + columns)
        source: Iterable[Frame] = (replace(f, image=f) for f in _read_frames(pair.before))
        for task in pair.tasks:
            source = task.timeline(source)
        above = [f.image for f in _select_frames(source, wanted) if isinstance(f.image, Frame)]
        below = list(_select_frames(_read_frames(pair.after), wanted))
        if above and below:
            rows += _render_rows({"before ": above, "after ": below}, width)
    return _save_rows(rows, png, width)


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


def _render_rows(rows: dict[str, list[Frame]], width: int) -> list[list[Image.Image]]:
    """Return a row of labelled images for each prefix and its frames, all of the same place."""
    images = {prefix: [render_image(frame) for frame in row] for prefix, row in rows.items()}
    firsts = [row[0] for row in images.values()]
    large = max(firsts, key=lambda image: image.width)
    place = width - 2 * _GAP, round((width - 2 * _GAP) * 0.75)
    box = find_change(firsts[0], firsts[-1], place) or find_detail(large, place)
    size = box[2] - box[0], box[3] - box[1]
    rendered = []
    for prefix, frames in rows.items():
        first = images[prefix][0]
        scale = first.width / large.width, first.height / large.height
        left, right = (edge * scale[0] for edge in box[::2])
        top, bottom = (edge * scale[1] for edge in box[1::2])
        own = (left, top, right, bottom)
        crops = [image.resize(size, Image.Resampling.NEAREST, own) for image in images[prefix]]
        zoom = "" if scale == (1, 1) else f", shown {1 / scale[0]:g}x"
        title = f"{prefix}{first.width}x{first.height}{zoom}"
        labels = [f"{prefix}{frame.index}: {float(frame.time):.3f} s" for frame in frames]
        overview = label_image(_render_overview(first, own, size), title, width)
        crops = [label_image(*pair, width) for pair in zip(crops, labels, strict=True)]
        rendered.append([overview, *crops])
    return rendered


def find_change(before: Image.Image, after: Image.Image, size: tuple[int, int]) -> Box | None:
    """Return the box of at most `size` (width, height) in the middle of what was changed.

    None if two images differ elsewhere too, or not at all, or in size.
    """
    if before.size != after.size:
        return None
    one, other = (np.asarray(image.convert("L"), np.float32) for image in (before, after))
    difference = np.abs(one - other)
    left, top, right, bottom = _find_most(difference, size)
    inside = difference[top:bottom, left:right]
    if inside.mean() < 1 or inside.sum() < _CHANGE * difference.sum():
        return None
    x, y = (float(np.average(np.arange(len(sums)), weights=sums))
            for sums in (inside.sum(0), inside.sum(1)))  # fmt: skip
    width, height = right - left, bottom - top
    left = min(max(0, round(left + x - width / 2)), before.width - width)
    top = min(max(0, round(top + y - height / 2)), before.height - height)
    return left, top, left + width, top + height


def find_detail(image: Image.Image, size: tuple[int, int]) -> Box:
    """Return the box of at most `size` (width, height) whose pixels differ most from neighbours."""
    grey = np.asarray(image.convert("L"), np.float32)
    edges = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    return _find_most(np.minimum(edges, 64), size)


def _find_most(values: npt.NDArray[Any], size: tuple[int, int]) -> Box:
    """Return the box of at most `size` with the largest sum of values (rows, columns)."""
    width, height = (min(a, b) for a, b in zip(size, values.shape[::-1], strict=True))
    sums = cv2.boxFilter(values, -1, (width, height), anchor=(0, 0), normalize=False)
    inside = sums[: values.shape[0] - height + 1, : values.shape[1] - width + 1]
    top, left = np.unravel_index(int(np.argmax(inside)), inside.shape)
    return int(left), int(top), int(left) + width, int(top) + height


def _render_overview(
    image: Image.Image, box: Sequence[float], size: tuple[int, int]
) -> Image.Image:
    """Return the image, at most `size`, with the place of the crops marked."""
    small = image.copy()
    small.thumbnail(size, Image.Resampling.BOX)
    share = small.width / image.width, small.height / image.height
    left, top, right, bottom = (edge * share[k % 2] for k, edge in enumerate(box))
    ImageDraw.Draw(small).rectangle((left, top, right - 1, bottom - 1), outline=_BOX_COLOUR)
    return small


def label_image(image: Image.Image, label: str, width: int) -> Image.Image:
    """Return the image in a column `width` pixels wide, with a label below."""
    labelled = Image.new("RGB", (width, image.height + LABEL_HEIGHT), "black")
    labelled.paste(image, (_GAP, 0))
    font = ImageFont.load_default(11)
    ImageDraw.Draw(labelled).text((2 * _GAP, image.height + 2), label, font=font)
    return labelled


def _save_rows(rows: Sequence[Sequence[Image.Image]], png: Path, width: int) -> Path:
    height = max(image.height for row in rows for image in row)
    sheet = Image.new("RGB", (max(map(len, rows)) * width, len(rows) * height), "black")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            sheet.paste(image, (x * width, y * height))
    sheet.save(png)
    return png


def render_image(frame: Frame) -> Image.Image:
    """Return a frame of planes as an RGB image of its own size."""
    import torch

    assert isinstance(frame.image, Planes)
    values = (frame.image.to_rgb() * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(np.ascontiguousarray(values))


def render_frame(frame: Frame, width: int, prefix: str = "") -> Image.Image:
    """Return a frame, `width` pixels wide, with `prefix`, its number and its time below."""
    assert isinstance(frame.image, Planes)
    small = Image.fromarray(np.ascontiguousarray(to_bgr(frame.image)[..., ::-1]))
    small.thumbnail((width - 2 * _GAP, 4 * width))
    return label_image(small, f"{prefix}{frame.index}: {float(frame.time):.3f} s", width)
