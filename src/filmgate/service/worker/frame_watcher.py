"""See the frames of a run: previews for who waits, samples to judge the quality by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from time import monotonic
from typing import Any

from filmgate.core.frame import Frame
from filmgate.errors import FilmgateError
from filmgate.media.pixels.display import to_bgr
from filmgate.media.pixels.planes import Planes
from filmgate.media.records.thumbnail import cut_thumbnail
from filmgate.service.contracts import Preview
from filmgate.storage.atomic import write_atomic

_PREVIEW_SIZE = (1280, 960)  # pixels at most: smaller ones do not show what a model adds
_PREVIEW_S, _SHARE = 2.0, 0.01  # between two previews, which take at most this share of the time
_QUALITY, _SAMPLE_QUALITY = 80, 95  # of JPEG
_LARGEST = (1 << 16, 1 << 16)


@dataclass(frozen=True)
class _Waiting:
    """An image of the source whose result is not there yet; `name` of the sample, "" a preview."""

    name: str
    time: Fraction
    before: Any


class FrameWatcher:
    """A `FrameWatch` that makes previews and, into a `folder` if there is one, samples."""

    def __init__(self, on_preview: Callable[[Preview], None], folder: Path | None) -> None:
        self._on_preview, self._folder = on_preview, folder
        self._waiting: list[_Waiting] = []
        self._due_s = monotonic()
        self._samples: dict[int, str] = {}

    def set_length(self, frames: int | None) -> None:
        """Choose the samples; `frames`: of the source, None if it is unknown."""
        if self._folder is not None:
            places = {0: "first"}
            if frames:
                places = {frames - 1: "last", frames // 2: "middle", 0: "first"}
            self._samples = places

    def see(self, inputs: Sequence[Frame], outputs: Sequence[Frame]) -> None:
        """Take note of frames that went into the chain, and of those that came out of it."""
        start_s = monotonic()
        with suppress(FilmgateError, OSError):  # an image that cannot be shown
            for frame in inputs:
                if place := self._samples.pop(frame.index, ""):
                    self._begin(place, frame, _LARGEST)
            if inputs and start_s >= self._due_s and not any(not w.name for w in self._waiting):
                self._begin("", inputs[-1], _PREVIEW_SIZE)
            for frame in outputs if self._waiting else ():
                for waiting in [one for one in self._waiting if one.time < frame.end]:
                    self._waiting.remove(waiting)
                    self._complete(waiting, frame)
        took_s = monotonic() - start_s
        if took_s > 0.001:
            self._due_s = max(self._due_s, monotonic() + max(_PREVIEW_S, took_s / _SHARE))

    def _begin(self, name: str, frame: Frame, size: tuple[int, int]) -> None:
        if (image := _shrink(frame, size)) is not None:
            self._waiting.append(_Waiting(name, frame.time, image))

    def _complete(self, waiting: _Waiting, frame: Frame) -> None:
        after = _shrink(frame, _LARGEST if waiting.name else _PREVIEW_SIZE)
        if after is None:
            return
        if not waiting.name:
            joined = _join(waiting.before, after)
            images = (_encode(image, _QUALITY) for image in (waiting.before, after, joined))
            self._on_preview(Preview(*images))
        elif self._folder is not None:
            for side, image in (("in", waiting.before), ("out", after)):
                path = self._folder / f"sample-{waiting.name}-{side}.jpg"
                write_atomic(path, _encode(image, _SAMPLE_QUALITY))


def _shrink(frame: Frame, size: tuple[int, int]) -> Any:
    """Return the image of a frame as an array (rows, columns, 3), uint8, B G R; None if it has
    none that can be shown."""
    if not isinstance(frame.image, Planes):
        return None
    small = cut_thumbnail(frame.image, (0, 0, *frame.image.size), size)
    return None if small is None else to_bgr(small)


def _join(before: Any, after: Any) -> Any:
    """Return both images side by side, at the height of the larger one."""
    import cv2
    import numpy as np

    height = max(before.shape[0], after.shape[0])
    scaled = [
        cv2.resize(np.ascontiguousarray(image), (image.shape[1] * height // image.shape[0], height))
        for image in (before, after)
    ]
    return np.hstack(scaled)


def _encode(image: Any, quality: int) -> bytes:
    import cv2
    import numpy as np

    done: Any = cv2.imencode(
        ".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    return bytes(done[1].tobytes())
