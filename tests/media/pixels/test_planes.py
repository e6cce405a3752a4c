"""An image of planes: RGB and back, and clear errors where it is taken for an array."""

from typing import Any

import numpy as np
import pytest
import torch

from filmgate.core.frame import ColorTags
from filmgate.errors import Unsupported
from filmgate.media.pixels.planes import Planes


def make(pixels: str, shapes: list[tuple[int, int]]) -> Planes:
    value: Any = np.uint16(480) if "10" in pixels else np.uint8(120)
    return Planes(tuple(np.full(shape, value) for shape in shapes), pixels, ColorTags("bt709"))


YUV = make("yuv420p", [(4, 6), (2, 3), (2, 3)])


@pytest.mark.parametrize(
    "image",
    [YUV, make("gbrp", [(4, 6)] * 3), make("gray", [(4, 6)]),
     make("yuv422p10le", [(4, 6), (4, 3), (4, 3)])],
)  # fmt: skip
def test_rgb_and_back_keeps_every_code(image: Planes) -> None:
    rgb = image.to_rgb()
    assert (tuple(rgb.shape), rgb.dtype) == ((3, 4, 6), torch.float32)
    back = image.from_rgb(rgb)
    assert (back.pixels, back.colour) == (image.pixels, image.colour)
    assert all(map(np.array_equal, back.arrays, image.arrays))
    assert image.to_rgb(torch.float16).dtype == torch.float16


def test_the_size_is_that_of_the_rgb_image_and_values_are_clipped() -> None:
    result = YUV.from_rgb(torch.full((3, 10, 8), 7.0))
    assert (result.size, [plane.shape for plane in result.arrays]) == (
        (8, 10), [(10, 8), (5, 4), (5, 4)],
    )  # fmt: skip
    assert result.arrays[0].max() == 235


@pytest.mark.parametrize(
    ("rgb", "words"),
    [
        (torch.zeros(1, 3, 4, 6), r"Tensor \(1, 3, 4, 6\) of torch.float32: pass a floating-point"),
        (torch.zeros(4, 6, 3), r"\(4, 6, 3\)"),
        (torch.zeros(3, 4, 6, dtype=torch.uint8), "of torch.uint8"),
        (np.zeros((3, 4, 6), np.float32), r"ndarray \(3, 4, 6\) of float32"),
        (YUV, "Planes: pass"),
    ],
)
def test_what_is_no_rgb_image_is_refused(rgb: torch.Tensor, words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        YUV.from_rgb(rgb)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_planes_would_hide_are_refused(value: float) -> None:
    rgb = torch.zeros(3, 4, 6)
    rgb[1, 2, 3] = value
    with pytest.raises(FloatingPointError, match="NaN or infinite"):
        YUV.from_rgb(rgb)


@pytest.mark.parametrize(
    ("image", "planes"),
    [
        (YUV, "yuv420p is no single array: its planes are Y 6x4, U 3x2, V 3x2. Call image.to_rgb"),
        (make("gbrap", [(4, 6)] * 4), "planes are G 6x4, B 6x4, R 6x4, alpha 6x4"),
        (make("gray10le", [(4, 6)]), "planes are grey 6x4"),
    ],
)
def test_an_image_is_no_array(image: Planes, planes: str) -> None:
    functions: tuple[Any, ...] = np.asarray, np.array, np.mean
    for convert in functions:
        with pytest.raises(Unsupported, match=planes):
            convert(image)


def test_the_repr_is_short() -> None:
    assert repr(YUV) == "Planes(6x4 yuv420p)"
