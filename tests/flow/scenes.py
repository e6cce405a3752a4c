"""Test images: smooth noise, and views into it."""

from fractions import Fraction

import cv2
import numpy as np
import numpy.typing as npt

from filmgate.core.frame import Frame
from filmgate.media.pixels.planes import Planes

Gray = npt.NDArray[np.uint8]


def texture(seed: int, rows: int = 160, columns: int = 240, blur: float = 2.0) -> Gray:
    """Smooth noise over the full range of 8 bits."""
    noise = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    soft = np.asarray(cv2.GaussianBlur(noise, (0, 0), blur))
    return np.interp(soft, (soft.min(), soft.max()), (0, 255)).astype(np.uint8)


def view(image: Gray, x: int, y: int, rows: int = 96, columns: int = 128) -> Gray:
    """Return the part of an image whose upper left corner is at (x, y)."""
    return np.ascontiguousarray(image[y : y + rows, x : x + columns])


def video(images: list[Gray]) -> list[Frame]:
    """Grey frames, one a second."""
    return [
        Frame(i, Fraction(i), Fraction(1), Planes((image,), "gray"))
        for i, image in enumerate(images)
    ]
