"""Images between two images: position, symmetry, alignment of planes."""

import cv2
import numpy as np
import pytest

from filmgate.flow.dis import DisFlow, downsample
from filmgate.flow.warp_numpy import Pair, Plane
from filmgate.quality.metrics.psnr_ssim import psnr
from tests.flow.scenes import texture, view

SCENE = texture(1)
INNER = np.s_[16:-16, 16:-16]


def between(a: Plane, b: Plane, t: float = 0.5, finest_cells: int = 1 << 18) -> Plane:
    return Pair.of((a,), (b,), 8, DisFlow(finest_cells=finest_cells)).interpolate(t)[0]


@pytest.mark.parametrize("cell", [1, 2, 4])
def test_flow_of_a_translation_is_that_translation(cell: int) -> None:
    a, b = (downsample(view(SCENE, x, y), cell) for x, y in ((30, 20), (22, 24)))
    there, back = DisFlow(cell=cell).estimate_both(a, b)
    assert np.array_equal(DisFlow(cell=cell).estimate(a, b), there)
    assert np.array_equal(DisFlow(cell=cell).estimate(b, a), back)
    edge = 16 // cell
    for field, sign in ((there, 1), (back, -1)):
        middle = np.median(field[edge:-edge, edge:-edge], axis=(0, 1)) * cell * sign
        assert middle == pytest.approx((8, -4), abs=0.2)


@pytest.mark.parametrize("t", [0.25, 0.5, 0.75])
def test_a_translation_is_rendered_at_its_position(t: float) -> None:
    a, b, truth = (view(SCENE, 30 - round(8 * s), 20 + round(4 * s)) for s in (0, 1, t))
    drawn = between(a, b, t)
    assert psnr(drawn[INNER], truth[INNER]) > 38
    faded = np.rint((1 - t) * a + t * b).astype(np.uint8)
    assert psnr(drawn[INNER], truth[INNER]) > psnr(faded[INNER], truth[INNER]) + 12


def test_uncovered_areas_come_from_the_image_that_shows_them() -> None:
    """A disc flies over a still ground: the ground is full, and the disc is at its place."""
    ground, disc = view(SCENE, 0, 0) // 2, 128 + view(texture(2), 0, 0) // 2
    seen = []
    for x in (44, 50, 56):
        mask = cv2.circle(np.zeros_like(ground), (x, 48), 20, 1, -1)
        seen.append(np.where(mask, np.roll(disc, x - 50, 1), ground))
    a, truth, b = seen
    faded = ((a.astype(int) + b + 1) // 2).astype(np.uint8)
    assert psnr(between(a, b), truth) > psnr(faded, truth) + 4


def test_swapping_the_images_gives_the_same_result() -> None:
    a, b = view(SCENE, 30, 20), view(SCENE, 22, 24)
    b[30:60, 30:60] = view(texture(3), 0, 0)[30:60, 30:60]
    there, back = between(a, b, 0.3), between(b, a, 0.7)
    assert np.abs(there.astype(int) - back).max() <= 1


def test_close_to_an_input_the_result_is_that_input() -> None:
    a, b = view(SCENE, 30, 20), view(SCENE, 26, 20)
    assert psnr(between(a, b, 1e-4), a) > 50
    assert psnr(between(a, b, 1 - 1e-4), b) > 50


def test_a_static_image_is_unchanged_and_ties_round_up() -> None:
    a = view(SCENE, 0, 0)
    assert np.array_equal(between(a, a), a)
    grey = np.full((64, 64), 100, np.uint8)
    assert (between(grey, grey + np.uint8(1)) == 101).all()


def test_the_same_images_give_the_same_bits() -> None:
    a, b = view(SCENE, 30, 20), view(SCENE, 22, 24)
    assert np.array_equal(between(a, b, 0.3), between(a, b, 0.3))


@pytest.mark.parametrize("step", [2, 4])
@pytest.mark.parametrize("cell", [1, 2, 4])
def test_a_smaller_plane_moves_with_the_first_one(step: int, cell: int) -> None:
    """Its samples are the means of squares of the first plane, before and after."""
    places = [view(SCENE, 30 - x, 20, 90, 122) for x in (0, 8, 4)]
    a, b, truth = (
        (full, *(np.asarray(downsample(full, step)) for _ in range(2))) for full in places
    )
    drawn = Pair.of(a, b, 8, DisFlow(cell=cell)).interpolate(0.5)
    edge = np.s_[16 // step : -16 // step, 16 // step : -16 // step]
    for plane, wanted in zip(drawn[1:], truth[1:], strict=True):
        assert plane.shape == wanted.shape
        assert psnr(plane[edge], wanted[edge]) > 38


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (15, 200), (64, 65), (33, 17)])
def test_images_of_any_size_work(size: tuple[int, int]) -> None:
    """OpenCV's search crashed the process on images of a few pixels."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 256, size).astype(np.uint8) for _ in range(2))
    assert between(a, b).shape == size


def test_large_images_are_searched_on_a_coarser_grid() -> None:
    a, b = view(SCENE, 30, 20), view(SCENE, 22, 24)
    drawn = between(a, b, finest_cells=400)
    assert psnr(drawn[INNER], view(SCENE, 26, 22)[INNER]) > 30
