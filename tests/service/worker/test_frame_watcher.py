"""Previews and samples of a run: which frames, in which order, and what cannot be shown."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from filmgate.core.frame import Frame
from filmgate.media.pixels.display import to_bgr
from filmgate.media.pixels.planes import Planes
from filmgate.service.contracts import Preview
from filmgate.service.worker import frame_watcher
from filmgate.service.worker.frame_watcher import FrameWatcher


def make_frame(index: int, size: tuple[int, int] = (64, 48)) -> Frame:
    """Return a grey frame as bright as its index."""
    image = Planes((np.full(size[::-1], index, np.uint8),), "gray")
    return Frame(index, Fraction(index, 25), Fraction(1, 25), image)


def read_image(jpeg: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1), np.uint8)


def read_level(jpeg: bytes) -> int:
    return round(float(read_image(jpeg).mean()))


def test_preview_shows_the_same_moment_before_and_after() -> None:
    previews: list[Preview] = []
    watch = FrameWatcher(previews.append, None)
    watch.see([make_frame(n) for n in range(10, 14)], [])  # the stages are behind
    assert not previews
    watch.see([make_frame(n) for n in range(14, 18)], [make_frame(n) for n in range(10, 13)])
    watch.see([], [make_frame(13, (128, 96)), make_frame(14, (128, 96))])
    [preview] = previews
    assert (read_level(preview.before), read_level(preview.after)) == (13, 13)
    assert read_image(preview.combined).shape == (96, 256, 3)


def test_samples_are_the_first_middle_and_last_frame(tmp_path: Path) -> None:
    watch = FrameWatcher(lambda preview: None, tmp_path)
    watch.set_length(40)
    for start in range(0, 40, 4):
        frames = [make_frame(n) for n in range(start, start + 4)]
        watch.see(frames, [replace(frame, image=make_frame(frame.index + 50).image)
                           for frame in frames])  # fmt: skip
    levels = {path.stem: read_level(path.read_bytes()) for path in tmp_path.iterdir()}
    assert levels == {
        "sample-first-in": 0, "sample-first-out": 50, "sample-middle-in": 20,
        "sample-middle-out": 70, "sample-last-in": 39, "sample-last-out": 89,
    }  # fmt: skip


def test_frames_without_an_image_are_not_shown(tmp_path: Path) -> None:
    watch = FrameWatcher(lambda preview: pytest.fail("there is nothing to show"), tmp_path)
    watch.set_length(None)
    frame = replace(make_frame(0), image=None)
    watch.see([frame], [frame])
    assert not list(tmp_path.iterdir())


def test_previews_take_a_hundredth_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, previews = [0.0], list[Preview]()
    monkeypatch.setattr(frame_watcher, "monotonic", lambda: now_s[0])
    make = frame_watcher._encode

    def encode_slowly(*arguments: object) -> bytes:
        now_s[0] += 0.1
        return make(*arguments)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(frame_watcher, "_encode", encode_slowly)
    watch = FrameWatcher(previews.append, None)
    for n in range(1000):
        watch.see([make_frame(n % 200)], [make_frame(n % 200)])
        now_s[0] += 0.1
    assert 3 <= len(previews) <= 5


@pytest.mark.parametrize(
    ("pixels", "codes", "wanted"),
    [
        ("yuv444p", (235, 128, 128), (255, 255, 255)),
        ("yuv444p10le", (64, 512, 512), (0, 0, 0)),
        ("yuv420p", (81, 90, 240), (0, 0, 255)),  # red, as BT.601 has it
        ("gbrp", (0, 0, 255), (0, 0, 255)),
    ],
)
def test_colors_for_display(pixels: str, codes: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    dtype = np.uint16 if "10" in pixels else np.uint8
    sizes = [(16, 16)] + [(8, 8) if "420" in pixels else (16, 16)] * 2
    arrays = tuple(np.full(s, c, dtype) for s, c in zip(sizes, codes, strict=True))
    image = to_bgr(Planes(arrays, pixels))
    assert image.shape == (16, 16, 3)
    assert np.abs(image[8, 8].astype(int) - np.array(wanted)).max() <= 2
