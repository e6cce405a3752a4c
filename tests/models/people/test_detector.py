"""Anchors, decoding and merging of detections."""

import numpy as np
import pytest

from filmgate.models.families.blazepose import model as pose
from filmgate.models.families.face_mesh import model as face
from filmgate.models.people.detector import (
    Detection,
    Detector,
    decode,
    merge_detections,
    place_anchors,
)
from tests.models.people.fakes import FALLEN, STANDING, FakeDetector, make_planes


@pytest.mark.parametrize(
    ("strides", "shapes"),
    [(pose.STRIDES, pose.DETECTOR_SHAPES),
     (face.STRIDES["short"], face.DETECTOR_SHAPES["short"]),
     (face.STRIDES["full"], face.DETECTOR_SHAPES["full"])],
)  # fmt: skip
def test_there_is_an_anchor_for_each_box_of_a_network(
    strides: tuple[int, ...], shapes: tuple[tuple[int, ...], ...]
) -> None:
    anchors = place_anchors(shapes[0][1], strides)
    assert anchors.shape == (shapes[1][1], 2)
    assert anchors.min() > 0
    assert anchors.max() < 1


def test_anchors_run_row_by_row_with_several_at_a_place() -> None:
    anchors = place_anchors(8, (4, 4, 8))
    assert anchors.tolist() == [
        [0.25, 0.25], [0.25, 0.25], [0.75, 0.25], [0.75, 0.25],
        [0.25, 0.75], [0.25, 0.75], [0.75, 0.75], [0.75, 0.75], [0.5, 0.5],
    ]  # fmt: skip


def test_boxes_and_points_are_decoded_from_their_anchor() -> None:
    boxes = np.array([[2.0, -4.0, 8.0, 16.0, 1.0, 3.0], [0.0] * 6])
    (found,) = decode(boxes, np.array([0.0, -9.0]), np.array([[0.5, 0.25], [0.1, 0.1]]), 20, 0.5)
    assert found.score == 0.5
    assert found.box == pytest.approx((0.4, -0.35, 0.8, 0.45))
    assert found.points == pytest.approx(np.array([[0.55, 0.4]]))


def test_extreme_logits_are_scores() -> None:
    found = decode(np.ones((2, 6)), np.array([1e4, -1e4]), np.zeros((2, 2)), 8, 0.0)
    assert [one.score for one in found] == pytest.approx([1, 0])
    assert decode(np.ones((2, 6)), np.array([-1.0, -1.0]), np.zeros((2, 2)), 8, 0.5) == []


def make(score: float, left: float) -> Detection:
    return Detection(score, (left, 0, left + 10, 10), np.array([[left, 5.0]]))


def test_overlapping_detections_are_a_weighted_mean() -> None:
    merged = merge_detections([make(0.3, 2), make(0.9, 0), make(0.8, 40), make(0.5, 4)])
    assert [one.score for one in merged] == [0.9, 0.8]
    assert merged[0].box[0] == pytest.approx((0.3 * 2 + 0.5 * 4) / 1.7)
    assert merged[0].points[0, 0] == merged[0].box[0]
    assert merged[1].box == (40, 0, 50, 10)


def test_a_box_without_area_is_a_detection() -> None:
    flat = Detection(0.9, (1, 1, 1, 1), np.zeros((1, 2)))
    assert [one.score for one in merge_detections([flat, make(0.8, 0)])] == [0.9, 0.8]


@pytest.mark.parametrize("zoom", [1, 2.5])
def test_detections_are_in_pixels_of_the_image(zoom: float) -> None:
    detector = Detector(FakeDetector(), pose.STRIDES)
    found = detector.detect(make_planes([STANDING, FALLEN], zoom=zoom))
    hips = sorted(one.points[0].tolist() for one in found)
    assert hips == pytest.approx(np.array([STANDING.hips, FALLEN.hips]) * zoom, abs=zoom)
    assert detector.detect(make_planes([])) == []
