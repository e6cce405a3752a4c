"""The tracker of boxes: its filter, its two stages, gaps, and people with true boxes."""

from fractions import Fraction as F
from typing import Any

import numpy as np
import pytest

from filmgate.core.serialization import dumps, loads
from filmgate.errors import BadSetting
from filmgate.models.families.bytetrack import ByteTrackOptions, build_person_tracker
from filmgate.models.families.bytetrack.motion import correct, predict, start_motion
from filmgate.models.families.bytetrack.tracker import ByteTracker, ByteTrackState
from filmgate.models.people.association import Assignments, Box, FrameInfo, PersonDetection
from filmgate.models.registry import build_person_tracker as build_by_name
from tests.cases import mark_slow_cases
from tests.models.people.figures import Figure, list_truth, walk

TRACKER = ByteTracker(high=0.6, low=0.1, hits=3, keep=1.0, fill=4)


def update(
    tracker: ByteTracker, state: ByteTrackState, n: int, people: list[PersonDetection],
    rate: int = 25, cut: bool = False,
) -> tuple[ByteTrackState, Assignments]:  # fmt: skip
    before = dumps(state)
    after, who = tracker.update(state, FrameInfo(n, F(n, rate), 160, 90, cut), people)
    assert dumps(state) == before
    assert len(who.ids) == len(people)
    return loads(dumps(after)), who


def follow(boxes: list[list[tuple[Box, float]]], **settings: Any) -> list[tuple[int, ...]]:
    """Return the numbers in each frame of boxes and scores."""
    tracker = build_person_tracker(ByteTrackOptions(hits=2, **settings), build_by_name)  # type: ignore[arg-type]
    state, ids = tracker.start(), []
    for n, people in enumerate(boxes):
        found = [PersonDetection(box, score) for box, score in people]
        state, who = update(tracker, state, n, found)
        ids.append(who.ids)
    return ids


def at(x: float, score: float = 0.9, y: float = 40) -> tuple[Box, float]:
    return (x, y, 14.0, 36.0), score


def test_the_filter_is_a_kalman_filter_of_constant_velocity() -> None:
    """Compared with the matrix form of one coordinate, at frames of 1/30 s and of 1/10 s."""
    for step in (F(1, 30), F(1, 10)):
        motion = start_motion((95.0, 40.0, 10.0, 20.0), F(0))
        x, p = np.array([100.0, 0.0]), np.diag([(2 / 20 * 20) ** 2, (10 / 160 * 20) ** 2])
        frames = float(step) * 30
        f = np.array([[1, frames], [0, 1]])
        for n, place in enumerate((101.0, 103.0, 104.0, 107.0), 1):
            height = float(motion.values[3])
            noise = np.diag([(height / 20) ** 2, (height / 160) ** 2]) * frames
            x, p = f @ x, f @ p @ f.T + noise
            motion = predict(motion, n * step)
            assert [motion.values[0], motion.speeds[0]] == pytest.approx(x)
            height = float(motion.values[3])
            gain = p[:, :1] / (p[0, 0] + (height / 20) ** 2)
            x, p = x + gain[:, 0] * (place - x[0]), p - gain @ p[:1]
            motion = correct(motion, (place - 5, 40.0, 10.0, 20.0))
            assert [motion.values[0], motion.speeds[0]] == pytest.approx(x)
            assert motion.variances[:, 0] == pytest.approx([p[0, 0], p[0, 1], p[1, 1]])


def test_a_low_score_continues_a_track_and_begins_none() -> None:
    ids = follow([[at(20)]] * 3 + [[at(20, 0.2), at(100, 0.5)]] * 3)
    assert ids == [(-1,), (1,), (1,), (1, 0), (1, 0), (1, 0)]
    assert follow([[at(20)]] * 3 + [[at(20, 0.05)]])[-1] == (0,)


def test_high_scores_are_matched_first() -> None:
    assert follow([[at(20)]] * 3 + [[at(20, 0.4), at(23)]])[-1] == (0, 1)


def test_a_track_that_is_not_confirmed_ends_at_its_first_gap() -> None:
    assert follow([[at(20)], [], [at(20)], [at(20)]]) == [(-1,), (), (-2,), (1,)]


def test_confirmation_names_the_provisional_number_once() -> None:
    state, named = TRACKER.start(), []
    for n in range(5):
        state, who = update(TRACKER, state, n, [PersonDetection(*at(20 + n))])
        named.append((who.ids, who.confirmed))
    assert named == [((-1,), ()), ((-1,), ()), ((1,), ((-1, 1),)), ((1,), ()), ((1,), ())]
    once = ByteTracker(high=0.6, low=0.1, hits=1, keep=1.0, fill=0)
    _, who = update(once, once.start(), 0, [PersonDetection(*at(20))])
    assert (who.ids, who.confirmed, once.delay) == ((1,), ((-1, 1),), 0)


@pytest.mark.parametrize(("missing", "same"), [(20, True), (30, False)])
def test_who_is_missing_for_longer_is_someone_new(missing: int, same: bool) -> None:
    boxes: list[Any] = [[at(20)]] * 5 + [[]] * missing + [[at(21)]] * 3
    assert follow(boxes, keep=1.0)[-1] == ((1,) if same else (2,))


def test_a_shot_boundary_ends_all_tracks_and_numbers_go_on() -> None:
    state, ids = TRACKER.start(), []
    for n in range(8):
        state, who = update(TRACKER, state, n, [PersonDetection(*at(20))], cut=n == 4)
        ids.append(who.ids[0])
    assert ids == [-1, -1, 1, 1, -2, -2, 2, 2]


def test_the_state_is_bounded() -> None:
    state, sizes = TRACKER.start(), []
    for n in range(120):
        people = [PersonDetection(*at(20 * k + n % 7 * 30)) for k in range(4)]
        state, _ = update(TRACKER, state, n, people)
        sizes.append(len(state.tracks))
    assert max(sizes[60:]) <= max(sizes[:60]) <= 4 * 26


@pytest.mark.parametrize("rate", mark_slow_cases([10, 25], [10, 25, 60]))
def test_people_with_true_boxes_keep_their_numbers_at_any_rate(rate: int) -> None:
    """Two cross, one hides behind another for a moment, one enters late; speeds per second."""
    figures = [
        Figure(walk(10, 40, 50 / rate)),
        Figure(walk(150, 46, -50 / rate)),
        Figure(walk(80, 44, 0, first=rate // 2)),
    ]
    numbers: dict[int, set[int]] = {}
    state = TRACKER.start()
    for n in range(int(2.4 * rate)):
        truth = list_truth(figures, n)
        hidden = {2} if abs(truth.get(0, (0.0,))[0] - 73) < 4 else set()
        seen = {k: box for k, box in truth.items() if k not in hidden}
        found = [PersonDetection(box, 0.9) for box in seen.values()]
        state, who = update(TRACKER, state, n, found, rate)
        for k, id in zip(seen, who.ids, strict=True):
            if id > 0:
                numbers.setdefault(k, set()).add(id)
    assert numbers == {0: {1}, 1: {2}, 2: {3}}


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"high": 1.5}, "high is 1.5: pass a number from 0 to 1"),
        ({"low": 0.7}, "low is 0.7 and high is 0.6"),
        ({"hits": 0}, "hits is 0"),
        ({"fill": 101}, "fill is 101"),
        ({"keep": -1.0}, "keep is -1.0: pass 0 to 60 seconds"),
        ({"hits": 2.5}, "hits is 2.5"),
    ],
)
def test_settings_that_are_refused(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(BadSetting, match=match):
        ByteTrackOptions(**wrong)
