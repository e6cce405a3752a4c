"""Overlaps of boxes and the best pairs, compared with a search of all pairs."""

from itertools import permutations

import numpy as np
import pytest

from filmgate.models.people.matching import match, measure_overlaps


def test_overlaps_are_shared_area_by_common_area() -> None:
    boxes = [(0.0, 0.0, 4.0, 4.0), (2.0, 0.0, 4.0, 4.0), (10.0, 10.0, 1.0, 1.0)]
    wanted = np.array([[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]])
    assert measure_overlaps(boxes, boxes) == pytest.approx(wanted)
    assert measure_overlaps([], boxes).shape == (0, 3)
    assert measure_overlaps([(1.0, 1.0, 0.0, 0.0)], [(1.0, 1.0, 0.0, 0.0)]) == 0


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)])
def test_pairs_have_the_largest_sum_of_those_that_are_allowed(shape: tuple[int, int]) -> None:
    chance = np.random.default_rng(sum(shape) * shape[0])
    for _ in range(20):
        overlaps, weights = chance.random(shape), chance.random(shape[1])
        pairs = match(overlaps, 0.3, weights)
        assert len(dict(pairs)) == len(pairs) == len({column for _, column in pairs})
        assert all(overlaps[pair] >= 0.3 for pair in pairs)
        values = np.where(overlaps >= 0.3, overlaps * weights, 0)
        large = values if shape[0] <= shape[1] else values.T
        best = max(
            sum(large[row, column] for row, column in enumerate(order))
            for order in permutations(range(large.shape[1]), large.shape[0])
        )
        assert sum(values[pair] for pair in pairs) == pytest.approx(best)


def test_nothing_is_matched_with_none() -> None:
    assert match(np.zeros((0, 3)), 0.2) == []
    assert match(np.zeros((2, 2)), 0.2) == []
