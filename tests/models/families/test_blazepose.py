"""BlazePose as a detector of single images: boxes and points of people made of discs."""

import numpy as np
import pytest

from filmgate.errors import BadSetting
from filmgate.models import registry
from filmgate.models.families.blazepose import BlazePoseOptions
from filmgate.models.families.blazepose.detector import PoseDetector, find_box
from tests.models.people.fakes import FALLEN, STANDING, make_planes, make_tracker


def make_detector(most: int = 8) -> PoseDetector:
    model = make_tracker().model
    return PoseDetector(model, most, 0.5)  # type: ignore[arg-type]


def test_each_person_is_found_once_with_all_points_inside_of_the_box() -> None:
    (people,) = make_detector().detect([make_planes([STANDING, FALLEN])])
    assert len(people) == 2
    hips = []
    for person in people:
        points = person.fields["points"]
        assert points.shape == (33, 3)
        left, top, width, height = person.box
        inside = (points[:, :2] >= (left, top)) & (points[:, :2] <= (left + width, top + height))
        assert inside.all()
        assert person.fields["visibility"].shape == (33,)
        assert person.fields["world"].shape == (33, 3)
        hips.append(tuple(points[32, :2].round()))
    assert sorted(hips) == [pytest.approx(STANDING.hips, abs=1), pytest.approx(FALLEN.hips, abs=1)]


def test_at_most_so_many_are_found_and_an_empty_image_has_none() -> None:
    images = [make_planes([STANDING, FALLEN]), make_planes([])]
    assert [len(people) for people in make_detector(most=1).detect(images)] == [1, 0]


def test_boxes_are_inside_of_the_image_and_have_an_area() -> None:
    for points in (np.full((33, 3), -50.0), np.full((33, 3), 500.0), np.zeros((33, 3))):
        left, top, width, height = find_box(points, (192, 144))
        assert 0 <= left < left + width <= 192
        assert 0 <= top < top + height <= 144


def test_options_that_only_a_tracker_has_are_refused() -> None:
    for options in (BlazePoseOptions(every=5), BlazePoseOptions(smooth=False)):
        with pytest.raises(BadSetting, match="every and smooth are for following points"):
            registry.build_detector("blazepose", options)
