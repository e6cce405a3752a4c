"""Hands and things in front of a mouth, made of pixels of a real clip."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from filmgate.core.frame import Frame
from filmgate.core.stage import AnyStage
from filmgate.media.pixels.planes import Planes
from filmgate.media.pixels.rgb import to_planes
from filmgate.media.sources import VideoFile
from filmgate.models.families.face_mesh.model import LIPS
from filmgate.models.families.latentsync.covered import measure_covered
from filmgate.models.families.latentsync.faces import LANDMARKS, ChooseFace

HANDS_CLIP = "ls_demo1.mp4"  # a woman who moves her hands, 1080x1920
ENTERS, STAYS = 8, 24  # frames


@dataclass(frozen=True)
class Occluder:
    """Pixels (H, W, 3) RGB and how much of them is seen (H, W), 0 to 1. `width`: of the face's."""

    pixels: Any
    alpha: Any
    width: float

    def draw(self, image: Any, x: float, y: float, face: float) -> tuple[Any, Any]:
        """Return an image (H, W, 3) with it around (x, y), and where it is, for a face so wide."""
        scale = self.width * face / self.alpha.shape[1]
        matrix = np.array([[scale, 0, x - scale * self.alpha.shape[1] / 2],
                           [0, scale, y - scale * self.alpha.shape[0] / 2]])  # fmt: skip
        size = image.shape[1], image.shape[0]
        alpha: Any = cv2.warpAffine(self.alpha, matrix, size, flags=cv2.INTER_AREA)
        above: Any = cv2.warpAffine(self.pixels, matrix, size, flags=cv2.INTER_AREA)
        return (image + (above - image) * alpha[..., None]).round().astype(np.uint8), alpha


def read_frames(path: Path, start: int = 0, end: int | None = None) -> Iterator[Frame]:
    with VideoFile(path).open() as reader:
        for chunk, _ in reader.read(None, 1):
            for frame in chunk:
                if end is not None and frame.index >= end:
                    return
                if frame.index >= start:
                    yield frame


def to_rgb(frame: Frame) -> Any:
    """Return the image as (H, W, 3), 8 bits."""
    image: Any = frame.image
    return (image.to_rgb() * 255).permute(1, 2, 0).numpy().round().astype(np.uint8)


def with_rgb(frame: Frame, image: Any) -> Frame:
    assert isinstance(frame.image, Planes)
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255
    return replace(frame, image=to_planes(tensor, frame.image.pixels, frame.image.colour))


def make_occluders(clips: Path) -> dict[str, Occluder]:
    """Return two hands, a dark disc and a bright one."""
    first, other = (to_rgb(next(read_frames(clips / HANDS_CLIP, n, n + 1))) for n in (100, 200))
    return {
        "clasped hands": _cut_skin(first[1165:1385, 485:685], 1.0),
        "open hand": _cut_skin(other[1300:1500, 560:700], 1.1),
        "microphone": _cut_disc(first[1350:1490, 400:500], 0.55),
        "cup": _cut_disc(first[330:450, 420:540], 0.75),
    }


def _cut_skin(pixels: Any, width: float) -> Occluder:
    """Return the largest part of the colour of skin."""
    red, green, blue = (pixels[..., k].astype(int) for k in range(3))
    skin = ((red > green + 12) & (red > blue + 12) & (red > 70)).astype(np.uint8)
    skin = cv2.morphologyEx(skin, cv2.MORPH_OPEN, np.ones((5, 5)))
    skin = cv2.morphologyEx(skin, cv2.MORPH_CLOSE, np.ones((13, 13)))
    _, labels, sizes, _ = cv2.connectedComponentsWithStats(skin)
    largest = (labels == 1 + sizes[1:, 4].argmax()).astype(np.float32)
    return Occluder(pixels.astype(np.float32), cv2.GaussianBlur(largest, (0, 0), 1.2), width)


def _cut_disc(pixels: Any, width: float) -> Occluder:
    height, across = pixels.shape[:2]
    y, x = np.mgrid[:height, :across] + 0.5
    inside = 1 - np.hypot(2 * x / across - 1, 2 * y / height - 1)
    alpha = np.clip(inside * min(height, across) / 4, 0, 1).astype(np.float32)
    return Occluder(pixels.astype(np.float32), alpha, width)


def find_faces(tracker: AnyStage, frames: Iterator[Frame]) -> Iterator[tuple[Frame, Any, Any]]:
    """Yield each frame with the record of its largest face and its landmarks; None without one."""
    state: Any = ()
    choose, started = ChooseFace(), False
    for frame in frames:
        if not started:
            state, started = tracker.start(None, frame.position), True  # type: ignore[arg-type]
        state, (found,) = tracker.step(state, [replace(frame, extras={})])
        records: Any = found.extras["records"]
        largest = max(records, key=lambda one: one["box"][2] * one["box"][3], default=None)
        yield frame, largest, choose([found])[0].extras.get(LANDMARKS)


def move_in_front(
    frames: Sequence[Frame], records: Sequence[Any], occluder: Occluder
) -> Iterator[tuple[Frame, float]]:
    """Yield frames in which it comes from below, stays in front of the mouth and leaves again.

    With each comes how much of the lips it hides, 0 to 1.
    """
    before = (len(frames) - STAYS) // 2 - ENTERS
    for k, (frame, record) in enumerate(zip(frames, records, strict=True)):
        points = np.array(record["points"])[list(LIPS), :2]
        away = max(before + ENTERS - k, k - before - ENTERS - STAYS, 0) / ENTERS
        if away > 1:
            yield frame, 0.0
            continue
        x, y = points.mean(0)
        width, height = record["box"][2:]
        x += 0.03 * width * np.sin(k / 3)
        image, alpha = occluder.draw(
            to_rgb(frame), x, y + 0.08 * height + 1.2 * height * away, width
        )
        spots = points.astype(int)
        yield with_rgb(frame, image), float((alpha[spots[:, 1], spots[:, 0]] > 0.5).mean())


def count_found(hidden: Sequence[float], covered: Sequence[bool]) -> dict[str, int]:
    """Return how many frames hide half of the lips or more, of these the ones that are left as they
    are, and of those that hide nothing (and are not next to such) the ones that are."""
    shares = measure_covered(covered)
    wanted = [one >= 0.5 for one in hidden]
    near = [max(hidden[max(0, k - 3) : k + 4]) > 0 for k in range(len(hidden))]
    return {
        "hidden": sum(wanted),
        "left": sum(bool(share == 1) for share, one in zip(shares, wanted, strict=True) if one),
        "seen": len(near) - sum(near),
        "left by mistake": sum(bool(share == 1) for share, one in zip(shares, near, strict=True)
                               if not one),
    }  # fmt: skip
