"""Regions and crops: known places in an image are at known places in a crop."""

from math import pi

import numpy as np
import pytest

from filmgate.models.people.regions import (
    Region,
    crop,
    find_angle,
    find_enclosing,
    find_overlap,
    find_upright,
)
from tests.models.people.fakes import (
    FALLEN,
    RED,
    STANDING,
    find_discs,
    make_planes,
)

TURNED = Region(70.0, 60.0, 90.0, 0.7)


def test_points_of_a_region_come_back() -> None:
    points = np.array([[0.0, 0.0], [1.0, 0.5], [0.3, 2.0]])
    assert TURNED.from_image(TURNED.to_image(points)) == pytest.approx(points)
    assert TURNED.to_image(np.array([[0.5, 0.5]])) == pytest.approx(np.array([[70.0, 60.0]]))


def test_a_positive_angle_turns_clockwise() -> None:
    quarter = Region(0.0, 0.0, 2.0, pi / 2)
    assert quarter.to_image(np.array([[1.0, 0.5]])) == pytest.approx(np.array([[0.0, 1.0]]))
    assert quarter.turn(np.array([[0.0, -1.0]])) == pytest.approx(np.array([[1.0, 0.0]]))


@pytest.mark.parametrize("angle", [-3.0, -pi / 2, 0.0, 0.4, 3.1])
def test_upright_region_turns_with_the_body(angle: float) -> None:
    centre = np.array([10.0, 20.0])
    top = centre + 8 * np.array([np.sin(angle), -np.cos(angle)])
    region = find_upright(centre, top)
    assert (region.x, region.y, region.side) == pytest.approx((10, 20, 16))
    assert np.cos(region.angle - angle) == pytest.approx(1)
    assert region.from_image(top[None]) == pytest.approx(np.array([[0.5, 0.0]]))


def test_points_at_one_place_give_a_small_region() -> None:
    point = np.array([3.0, 4.0])
    assert find_upright(point, point).side == 1
    assert find_enclosing(np.array([point, point]), 0.5).side == 1


def test_angles_are_between_minus_pi_and_pi() -> None:
    assert find_angle(np.zeros(2), np.array([-1.0, 1e-9]), -pi / 2) == pytest.approx(-pi / 2)
    assert find_angle(np.zeros(2), np.array([0.0, -3.0]), -pi / 2) == 0


def test_enclosing_region_is_the_smallest_of_its_angle() -> None:
    points = TURNED.to_image(np.array([[0.5, 0.0], [0.5, 1.0], [0.4, 0.5], [0.6, 0.2]]))
    region = find_enclosing(points, TURNED.angle)
    assert (region.x, region.y, region.side) == pytest.approx((70, 60, 90))
    inside = region.from_image(points)
    assert inside.min() >= -1e-9
    assert inside.max() <= 1 + 1e-9


@pytest.mark.parametrize(
    ("other", "shared"),
    [((0, 0, 2, 2), 1.0), ((1, 0, 3, 2), 1 / 3), ((2, 0, 4, 2), 0.0), ((5, 5, 5, 5), 0.0)],
)
def test_overlap_is_the_shared_part_of_both(other: tuple[int, ...], shared: float) -> None:
    assert find_overlap((0, 0, 2, 2), other) == pytest.approx(shared)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p10le", "yuv422p", "yuv411p", "gbrp"])
@pytest.mark.parametrize(
    "region", [Region(96, 72, 200), Region(60, 80, 70, 0.5), Region(20, 90, 130, -2.4)]
)
def test_a_crop_shows_what_is_in_the_region(pixels: str, region: Region) -> None:
    side = 224
    found = find_discs(crop(make_planes([STANDING], pixels), region, side), RED)
    wanted = region.from_image(np.array([STANDING.hips])) * side
    assert found == pytest.approx(wanted, abs=1.5 if "411" in pixels else 0.75)


@pytest.mark.parametrize("zoom", [2.0, 4.5])
def test_a_large_image_gives_the_same_crop(zoom: float) -> None:
    """What is smaller in the crop is averaged: single rows are not picked."""
    small = crop(make_planes([STANDING, FALLEN]), Region(70, 70, 120, 0.3), 64)
    large = crop(
        make_planes([STANDING, FALLEN], zoom=zoom),
        Region(70 * zoom, 70 * zoom, 120 * zoom, 0.3),
        64,
    )
    assert np.abs(small - large).mean() < 0.015
    assert find_discs(large, RED) == pytest.approx(find_discs(small, RED), abs=0.4)


@pytest.mark.parametrize("pixels", ["yuv420p", "gbrp", "gray"])
def test_outside_of_the_image_is_black(pixels: str) -> None:
    image = make_planes([], pixels)
    pixel = crop(image, Region(0, 72, 100), 50)
    assert pixel[:, :24].max() <= 0.01
    assert pixel[10:40, 27:] == pytest.approx(0.1, abs=0.02)
    assert crop(image, Region(-500, 72, 100), 50).max() <= 0.01
    assert crop(image, Region(96, 72, 1e-3), 50)[25, 25] == pytest.approx(0.1, abs=0.02)
