"""The One-Euro filter."""

from fractions import Fraction as F

import numpy as np
import pytest

from filmgate.models.people.smoothing import FilterState, OneEuro, start_filter


def run(points: np.ndarray, rate: int = 25, scale: float = 100) -> np.ndarray:
    euro = OneEuro()
    state, results = start_filter(points[0], F(0)), [points[0]]
    for n, each in enumerate(points[1:], 1):
        state = euro.filter(state, each, F(n, rate), scale)
        results.append(state.points)
    return np.array(results)


def test_noise_at_rest_is_removed_and_motion_is_followed() -> None:
    noise = np.random.default_rng(1).normal(0, 0.2, (200, 5, 2))
    assert run(noise)[20:].std() < 0.5 * noise[20:].std()
    steady = np.arange(100)[:, None, None] * np.full((1, 5, 2), 4.0)  # a side a second
    assert np.abs(run(steady) - steady)[20:].max() < 1


def test_turned_and_scaled_points_give_turned_and_scaled_results() -> None:
    points = np.random.default_rng(2).normal(0, 3, (30, 4, 2)).cumsum(0)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    assert run(points @ turn) == pytest.approx(run(points) @ turn)
    assert run(points * 7, scale=700) == pytest.approx(run(points) * 7)


def test_states_are_not_changed_and_time_that_stands_still_starts_again() -> None:
    euro, ones = OneEuro(), np.ones((2, 2))
    state = start_filter(ones, F(1))
    euro.filter(state, 5 * ones, F(2), 10)
    assert (state.points == 1).all()
    assert (state.speeds == 0).all()
    again: FilterState = euro.filter(state, 5 * ones, F(1), 10)
    assert (again.points == 5).all()
