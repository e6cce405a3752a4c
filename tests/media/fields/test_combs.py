"""Combs are no fine detail, and the order of fields is seen."""

import numpy as np
import pytest

from filmgate.core.frame import ColorTags
from filmgate.media.fields.combs import extract_luma, find_first_field, measure_combs
from filmgate.media.fields.watch import FieldWatch
from filmgate.media.pixels.planes import Planes
from tests.media.old_videos import Image, draw_bar, pull_down, weave


def wrap(image: Image, bits: int = 8) -> Planes:
    """Return a grey image as planes of so many bits."""
    if bits == 8:
        return Planes((image,), "gray", ColorTags())
    deep = np.asarray(image.astype(np.uint16) << (bits - 8), np.uint16)
    return Planes((deep,), f"gray{bits}le", ColorTags())


def draw_detail(number: int) -> Image:
    """Return fine texture that moves, with edges along and across."""
    y, x = np.mgrid[:96, :128]
    texture = 120 + 60 * np.sin((x + 2 * number) / 1.3) * np.cos((y + number) / 1.7)
    texture[(y + number) % 24 < 2] = 250
    return np.asarray(texture.clip(0, 255), np.uint8)


def judge(images: list[Image]) -> str:
    """Return what a watch reports about these frames."""
    watch = FieldWatch()
    found = [watch.look(wrap(one), n / 25, marked=False) for n, one in enumerate(images)]
    return "; ".join(filter(None, found))


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("first", ["top", "bottom"])
def test_fields_are_combed_and_their_order_is_found(bits: int, first: str) -> None:
    frames = [wrap(one, bits) for one in weave([draw_bar(n) for n in range(16)], first)]
    pairs = zip(frames[1:], frames, strict=False)
    assert all(measure_combs(extract_luma(a), extract_luma(b)).is_combed for a, b in pairs)
    assert find_first_field(frames) == first


def test_detail_that_moves_and_noise_are_not_combed() -> None:
    noise = np.random.default_rng(5)
    images = [noise.integers(0, 255, (96, 128), np.uint8).astype(np.uint8) for _ in range(20)]
    assert judge([draw_detail(n) for n in range(20)]) == ""
    assert judge(images) == ""
    assert find_first_field(wrap(draw_detail(n)) for n in range(20)) == ""


def test_still_frames_say_nothing() -> None:
    combed = weave([draw_bar(0), draw_bar(4)], "top")[0]
    assert judge([combed] * 30) == ""


def test_frames_are_compared_with_the_one_before() -> None:
    """Later on one frame in twelve is looked at: those in which nothing moves say nothing."""
    combed = weave([draw_bar(n) for n in range(40)], "top")
    images = [combed[0]] * 61 + [combed[1 + n // 12] for n in range(12 * 19)]
    assert judge(images) == ""


def test_fields_and_film_are_reported_once() -> None:
    fields = judge(weave([draw_bar(n) for n in range(60)], "top"))
    assert fields.count("are combed") == 1
    assert "8 of 8 moving frames" in fields
    film = judge(pull_down([draw_bar(n) for n in range(32)]))
    assert film.count("--deinterlace film") == 1


def test_a_mark_that_comes_later_is_reported() -> None:
    watch = FieldWatch()
    assert watch.look(wrap(draw_bar(0)), 0.0, marked=False) == ""
    assert "from 0.040 s on the video says" in watch.look(wrap(draw_bar(1)), 0.04, marked=True)
    assert watch.look(wrap(draw_bar(2)), 0.08, marked=True) == ""
