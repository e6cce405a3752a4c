"""The tracker on people made of discs: geometry, several people, shots, and the laws."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction as F
from typing import Any

import numpy as np
import pytest
import torch

from filmgate.core.frame import Frame
from filmgate.core.serialization import dumps, loads
from filmgate.errors import BadSetting, Unsupported
from filmgate.media.pixels.planes import Planes
from filmgate.media.records.text import format_records
from filmgate.models.people.tracker import TrackerState
from filmgate.testing import laws, make_sample_video
from tests.models.people.fakes import (
    COLOUR,
    FALLEN,
    HIGH,
    STANDING,
    WIDE,
    Person,
    get_points,
    make_planes,
    make_tracker,
    make_video,
    track,
    without_smoothing,
)

THIRD = Person((110, 116), (90, 108), (116, 130))


def read_one(image: Planes) -> list[Any]:
    """Return hips, hand and record of each person in an image, from left to right."""
    video = make_video([[]])
    frame = replace(video.frames[0], image=image)
    (records,) = track(make_tracker(), replace(video, frames=(frame,)))
    return sorted(records, key=lambda record: get_points(record)[32, 0])


def test_records_hold_the_places_of_the_discs() -> None:
    standing, fallen = read_one(make_planes([STANDING, FALLEN]))
    for record, person in ((standing, STANDING), (fallen, FALLEN)):
        points = get_points(record)
        assert points.shape == (33, 3)
        assert points[0, :2] == pytest.approx(np.array(person.hand), abs=0.5)
        assert points[32, :2] == pytest.approx(np.array(person.hips), abs=0.5)
        radius = np.linalg.norm(person.places[0] - person.places[1])
        assert points[0, 2] == pytest.approx(0.1 * 2.5 * radius, rel=0.05)
        left, top, width, height = record["box"]
        assert (left, top) == pytest.approx(points[:, :2].min(0), abs=0.01)
        assert (width, height) == pytest.approx(np.ptp(points[:, :2], axis=0), abs=0.01)
        assert record["visibility"][0] == pytest.approx(0.953, abs=1e-3)
        assert record["presence"][0] == pytest.approx(0.047, abs=1e-3)
    assert (standing["kind"], standing["score"]) == ("pose", 1)
    assert {standing["id"], fallen["id"]} == {1, 2}


def test_metres_are_turned_as_the_body_is() -> None:
    standing, fallen = read_one(make_planes([STANDING, FALLEN]))
    assert standing["world"][0] == pytest.approx((0, -1, 0.5), abs=0.02)
    along = np.array(FALLEN.top) - FALLEN.hips
    along = along / np.linalg.norm(along)
    assert fallen["world"][0] == pytest.approx((*along, 0.5), abs=0.02)


@pytest.mark.parametrize("zoom", [0.75, 2.0])
def test_a_scaled_image_gives_scaled_points(zoom: float) -> None:
    for small, large in zip(
        read_one(make_planes([STANDING, FALLEN])),
        read_one(make_planes([STANDING, FALLEN], zoom=zoom)),
        strict=True,
    ):
        assert get_points(large) == pytest.approx(get_points(small) * zoom, abs=0.5 * zoom)


def test_a_flipped_image_gives_flipped_points() -> None:
    image = make_planes([STANDING, FALLEN], "yuv444p")
    flipped = image.with_arrays(tuple(a[:, ::-1].copy() for a in image.arrays))
    for one, other in zip(read_one(image), reversed(read_one(flipped)), strict=True):
        mirrored = get_points(one) * (-1, 1, 1) + (WIDE, 0, 0)
        assert get_points(other) == pytest.approx(mirrored, abs=0.5)


def test_a_turned_image_gives_turned_points() -> None:
    image = make_planes([STANDING, FALLEN], "yuv444p")
    turned = image.with_arrays(tuple(np.rot90(a, -1).copy() for a in image.arrays))
    hands = {tuple(np.round(get_points(r)[0, :2])) for r in read_one(turned)}
    wanted = [(HIGH - p.hand[1], p.hand[0]) for p in (STANDING, FALLEN)]
    assert sorted(hands) == pytest.approx(np.array(sorted(wanted)), abs=1)


def test_several_people_keep_their_numbers() -> None:
    people = [[STANDING.move(n, 0), FALLEN.move(-n / 2, 0), THIRD.move(0, -n)] for n in range(7)]
    records = track(make_tracker(), make_video(people))
    first = {record["id"]: get_points(record)[32] for record in records[0]}
    assert sorted(first) == [1, 2, 3]
    for n, each in enumerate(records):
        assert [record["id"] for record in each] == [1, 2, 3]
        for record in each:
            moved = get_points(record)[32, :2] - first[record["id"]][:2]
            assert np.linalg.norm(moved) <= n + 1


def test_at_most_so_many_are_followed() -> None:
    records = track(make_tracker(most=2), make_video([[STANDING, FALLEN, THIRD]] * 6))
    assert [len(each) for each in records] == [2] * 6


def test_a_newcomer_is_found_by_the_next_search() -> None:
    people = [[STANDING]] * 2 + [[STANDING, FALLEN]] * 8
    counts = [len(each) for each in track(make_tracker(every=5), make_video(people))]
    assert counts == [1] * 5 + [2] * 5


def test_who_leaves_is_dropped_and_gets_a_new_number() -> None:
    people = [[STANDING, FALLEN]] * 3 + [[FALLEN]] * 3 + [[STANDING, FALLEN]] * 6
    found = track(make_tracker(every=3), make_video(people))
    ids = [sorted(record["id"] for record in each) for each in found]
    assert [len(each) for each in ids] == [2] * 3 + [1] * 3 + [2] * 6
    kept, new = ids[3][0], ids[6][1]
    assert Counter(n for each in ids for n in each)[kept] == 12
    assert new == 3


def test_a_shot_boundary_ends_all_tracks() -> None:
    video = make_video([[STANDING]] * 3 + [[STANDING.move(1, 0)]] * 3, cuts=[3])
    ids = [each[0]["id"] for each in track(make_tracker(every=100), video)]
    assert ids == [1, 1, 1, 2, 2, 2]


def test_two_tracks_of_one_person_become_one() -> None:
    people = [[STANDING, FALLEN]] + [[STANDING]] * 3
    tracker, video = make_tracker(), make_video(people)
    state, _ = tracker.step(tracker.start(video.spec, video.frames[0].position), video.frames[:1])
    near = replace(state.tracks[1], region=state.tracks[0].region)
    state = replace(state, tracks=(state.tracks[0], near))
    state, (frame,) = tracker.step(state, video.frames[1:2])
    assert len(state.tracks) == 1
    assert [record["id"] for record in frame.extras["records"]] == [state.tracks[0].id]  # type: ignore[attr-defined]


def test_smoothing_removes_jitter() -> None:
    chance = np.random.default_rng(3)
    moves = chance.normal(0, 0.5, (18, 2))
    video = make_video([[STANDING.move(x, y)] for x, y in moves])

    def jitter(tracker: Any) -> float:
        places = np.array([get_points(each[0])[0, :2] for each in track(tracker, video)])
        return float(np.abs(np.diff(places[5:], axis=0)).mean())

    assert jitter(make_tracker()) < 0.6 * jitter(without_smoothing(make_tracker()))


def test_other_records_and_extras_are_kept_and_written() -> None:
    video = make_video([[STANDING]])
    mine = {"kind": "mine", "value": 1}
    frame = video.frames[0].with_extras(records=(mine,), notice="x")
    tracker = make_tracker()
    _, (out,) = tracker.step(tracker.start(video.spec, frame.position), [frame])
    assert out.image is frame.image
    assert out.extras["notice"] == "x"
    records: Any = out.extras["records"]
    assert records[0] == mine
    assert len(list(format_records([out]))) == 2
    assert loads(dumps(out)).extras["records"] == records


def test_state_is_a_plain_value() -> None:
    video, tracker = make_video([[STANDING, FALLEN]]), make_tracker()
    state, _ = tracker.step(tracker.start(video.spec, video.frames[0].position), video.frames)
    again: TrackerState = loads(dumps(state))
    assert [each.region for each in again.tracks] == [each.region for each in state.tracks]
    assert (again.tracks[0].filter.points == state.tracks[0].filter.points).all()
    assert again.next_id == 3


def test_pieces_and_snapshots_change_nothing() -> None:
    moving = [[STANDING.move(2 * n, n), FALLEN][: 1 + (n > 2)] for n in range(6)]
    video, tracker = make_video(moving, cuts=[5]), make_tracker(every=2)
    laws.check_cut(tracker, video, [1, 4], batch=2)
    laws.check_sleep(tracker, video, [1, 4], [0, 1, 2])


@pytest.mark.slow
@pytest.mark.parametrize("smooth", [True, False])
def test_the_laws_hold(smooth: bool) -> None:
    moving = [[STANDING.move(2 * n, n), FALLEN.move(-n, 0)][: 1 + (n % 9 > 2)] for n in range(12)]
    tracker = make_tracker() if smooth else without_smoothing(make_tracker())
    laws.check_stage(tracker, make_video(moving, cuts=[8]), tolerance=0, tries=3)


def test_settings_that_are_refused() -> None:
    for wrong in ({"most": 0}, {"every": 0}, {"threshold": 1.0}):
        with pytest.raises(BadSetting, match=f"{next(iter(wrong))} is"):
            make_tracker(**wrong)


def test_streams_that_are_refused() -> None:
    tracker, spec = make_tracker(), make_video([[]]).spec
    assert tracker.output(spec) == spec
    for wrong, match in (
        (make_sample_video().spec, "are found in planes"),
        (replace(spec, pixels="yuva420p"), "alpha"),
        (replace(spec, colour=replace(COLOUR, transfer="arib-std-b67")), "HDR"),
    ):
        with pytest.raises(Unsupported, match=match):
            tracker.output(wrong)
    frame = Frame(0, F(0), F(1), torch.zeros(3, 4, 4))
    with pytest.raises(Unsupported, match="are found in planes"):
        tracker.step(tracker.start(spec, frame.position), [frame])
