"""PHALP's tracker: life-cycle, laws on random scenes, what tells people apart, bounded state."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from filmgate.core.serialization import dumps, loads
from filmgate.core.values import count_bytes
from filmgate.errors import BadInput
from filmgate.models import registry
from filmgate.models.families.phalp import PhalpOptions
from filmgate.models.families.phalp.appearance import TextureComparison
from filmgate.models.families.phalp.predictor import PosePredictor
from filmgate.models.families.phalp.tracker import PhalpTracker
from filmgate.models.people.association import Assignments, PersonDetection
from filmgate.models.people.following import DETECTIONS, Associate
from filmgate.testing import check_cut, check_memory, check_sleep, make_sample_video
from tests.models.families.phalp import tiny as tiny_phalp
from tests.models.families.phalp.tiny import Scene, follow, frame, name_ids, person


def make_tracker(**options: Any) -> PhalpTracker:
    tracker = registry.build_person_tracker("phalp", PhalpOptions(**options))
    assert isinstance(tracker, PhalpTracker)
    return tracker


def make_predictor(as_upstream: bool = False) -> PosePredictor:
    zeros, ones = torch.zeros(229), torch.ones(229)
    return PosePredictor(tiny_phalp.predictor(), zeros, ones, as_upstream=as_upstream)


def make_scene() -> Scene:
    """A always, B not in frames 5 to 7, C from frame 6 on, D in frames 2 and 3 only."""
    scene = []
    for t in range(14):
        people = {"A": person(20 + t), "B": person(200 - t), "C": person(330), "D": person(480)}
        seen = {"A": True, "B": not 5 <= t <= 7, "C": t >= 6, "D": t in (2, 3)}
        scene.append({name: one for name, one in people.items() if seen[name]})
    return scene


# --- life-cycle -----------------------------------------------------------------------------------


@pytest.mark.parametrize("as_upstream", [False, True])
def test_numbers_are_those_of_the_published_code(as_upstream: bool) -> None:
    scene = make_scene()
    found = follow(make_tracker(as_upstream=as_upstream), scene)
    ids = name_ids(scene, found)
    assert ids["A"] == [-1] * 4 + [1] * 10
    assert ids["B"] == [-2] * 4 + [2] * 7, "it keeps its number after three frames without it"
    assert ids["D"] == [-3, -3]
    assert ids["C"] == [-4] * 4 + [4] * 4
    confirmed = {t: who.confirmed for t, who in enumerate(found) if who.confirmed}
    assert confirmed == {4: ((-1, 1), (-2, 2)), 10: ((-4, 4),)}
    unseen = {t: [one.id for one in who.unseen] for t, who in enumerate(found) if who.unseen}
    assert unseen == {5: [2], 6: [2], 7: [2]}


def test_a_track_that_is_not_confirmed_ends_when_it_is_missed_and_its_number_is_used_up() -> None:
    scene = [{"A": person(20)} if t != 3 else {} for t in range(9)]
    ids = name_ids(scene, follow(make_tracker(), scene))["A"]
    assert ids == [-1] * 3 + [-2] * 4 + [2]


@pytest.mark.parametrize(("gap", "kept"), [(50, True), (51, False)])
def test_a_number_ends_after_more_than_50_frames_without_the_person(gap: int, kept: bool) -> None:
    scene = [{"A": person(20)} if t < 6 or t >= 6 + gap else {} for t in range(6 + gap + 1)]
    found = follow(make_tracker(), scene)
    assert name_ids(scene, found)["A"][-1] == (1 if kept else -2)
    assert sum(bool(who.unseen) for who in found) == 50


def test_options_change_the_life_cycle() -> None:
    scene = [{"A": person(20)} if t != 4 else {} for t in range(6)]
    once = make_tracker(n_init=1, max_age=0)
    found = follow(once, scene)
    assert name_ids(scene, found)["A"] == [1, 1, 1, 1, 2]
    assert [who.confirmed for who in found][:2] == [((-1, 1),), ()]
    assert once.delay == 0
    weak = [{"W": person(20, score=0.5), "A": person(20, score=0.6)}] * 5
    assert name_ids(weak, follow(make_tracker(), weak)) == {"W": [0] * 5, "A": [-1] * 4 + [1]}
    assert name_ids(weak, follow(make_tracker(min_score=0.5), weak))["W"][0] == -1
    far = [{"A": person(20)}, {"A": person(120)}]
    assert name_ids(far, follow(make_tracker(), far))["A"] == [-1, -1]
    assert name_ids(far, follow(make_tracker(threshold=1), far))["A"] == [-1, -2]


def test_someone_who_is_not_seen_is_supposed_to_move_on_and_as_upstream_stays() -> None:
    scene = [{"A": person(20 + 10.0 * t, fields={"name": t})} if t < 8 else {} for t in range(11)]
    (one,) = follow(make_tracker(), scene)[-1].unseen
    left, top, width, height = one.detection.box
    assert left == pytest.approx(20 + 10 * 10, abs=4)
    assert (top, width, height) == pytest.approx((100, 75, 150), rel=1e-6)
    assert dict(one.detection.fields) == {}
    (one,) = follow(make_tracker(as_upstream=True), scene)[-1].unseen
    assert one.detection == scene[7]["A"]


def test_as_upstream_the_places_that_are_remembered_become_the_new_one_at_a_shot_boundary() -> None:
    tracker = make_tracker(as_upstream=True)
    state = tracker.start()
    for t in range(7):
        state, _ = tracker.update(state, frame(t), [person(20 + 10.0 * t)])
    for cut, x in ((False, 110), (True, 90)):
        after, who = tracker.update(state, frame(7, cut), [person(90)])
        assert who.ids == (1,)
        (track,) = after.tracks
        assert track.predicted[0] == pytest.approx((x + 37.5) / 640, abs=0.02)
        assert (track.locations == track.locations[-1]).all() == cut


# --- laws -----------------------------------------------------------------------------------------


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """People who walk at their own speed, cross, and are missed now and then; some have poses."""
    count, length = draw(st.integers(1, 4)), draw(st.integers(6, 12))
    chance = np.random.default_rng(draw(st.integers(0, 10_000)))
    starts, speeds = chance.uniform(0, 500, count), chance.uniform(-12, 12, count)
    heights = chance.uniform(80, 250, count)
    posed = [bool(flag) for flag in chance.integers(0, 2, count)]
    scene = []
    for t in range(length):
        people = {}
        for k in range(count):
            if chance.random() < 0.85:
                fields = tiny_phalp.make_pose(k) if posed[k] else {}
                x = float(starts[k] + speeds[k] * t + chance.normal(0, 1))
                people[f"{k}"] = person(x, 60.0, float(heights[k]), fields=fields)
        scene.append(people)
    return scene


@settings(max_examples=settings().max_examples // 3)
@given(scene=scenes(), as_upstream=st.booleans(), data=st.data())
def test_a_run_resumes_from_any_frame_and_no_state_is_modified(
    scene: Scene, as_upstream: bool, data: st.DataObject
) -> None:
    tracker = make_tracker(as_upstream=as_upstream, n_init=3, max_age=4)
    straight = follow(tracker, scene)
    sleeps = data.draw(st.sets(st.integers(0, len(scene))))
    state, found = tracker.start(), list[Assignments]()
    for t, people in enumerate(scene):
        before = dumps(state)
        if t in sleeps:
            state = loads(before)
        after, who = tracker.update(state, frame(t), list(people.values()))
        assert dumps(state) == before, "an update must not modify the state that it is given"
        state, found = after, [*found, who]
    assert [*map(dumps, found)] == [*map(dumps, straight)]


@pytest.mark.slow
def test_the_stage_around_it_keeps_the_laws() -> None:
    """With poses, textures and both networks."""
    comparison = TextureComparison(tiny_phalp.encoder(), "cpu", 2)
    stage = Associate(PhalpTracker(make_predictor(), comparison, n_init=3, max_age=3))
    video = make_sample_video(14, pixels="yuv420p", width=640, height=360)
    frames = []
    for one, people in zip(video.frames, make_scene(), strict=True):
        found = tuple(
            replace(each, fields=tiny_phalp.make_pose(ord(name)),
                    features={"texture": tiny_phalp.make_texture(ord(name), 32)})
            for name, each in people.items()
        )  # fmt: skip
        frames.append(one.with_extras(**{DETECTIONS: found, "cut": one.index == 9}))
    video = replace(video, frames=tuple(frames))
    for cuts in ([1, 5, 9], [4, 10]):
        check_cut(stage, video, cuts, 2)
        check_sleep(stage, video, cuts, range(4))
    check_memory(stage, video)


def list_groups(ids: dict[str, list[int]]) -> dict[str, list[tuple[int, ...]]]:
    """Return, for each of the people, which of their detections have one number."""
    return {
        name: sorted(
            tuple(k for k, one in enumerate(own) if abs(one) == id) for id in {*map(abs, own)}
        )
        for name, own in ids.items()
    }


@settings(max_examples=settings().max_examples // 3)
@given(scene=scenes(), data=st.data())
def test_the_order_of_detections_changes_only_how_births_in_one_frame_are_numbered(
    scene: Scene, data: st.DataObject
) -> None:
    tracker = make_tracker(n_init=3)
    mixed = [dict(data.draw(st.permutations(list(people.items())))) for people in scene]
    ids, other = (name_ids(s, follow(tracker, s)) for s in (scene, mixed))
    assert list_groups(ids) == list_groups(other)
    for name, own in ids.items():
        assert [one > 0 for one in own] == [one > 0 for one in other[name]]
    births = [abs(other[name][0]) for name in mixed[0]]
    assert births == [*range(1, len(births) + 1)], "in the order of the detections"


# --- what tells people apart ----------------------------------------------------------------------


def hide_and_swap(one: dict[str, Any], other: dict[str, Any], **parts: Any) -> list[int]:
    """Return the numbers of two people who swap places while they are not seen.

    `one` and `other` are what they have besides their boxes.
    """
    tracker = PhalpTracker(n_init=2, **parts)
    scene: list[dict[str, PersonDetection]] = []
    for t in range(8):
        left, right = (200.0, 215.0) if t < 5 else (215.0, 200.0)
        scene.append({} if t in (5, 6) else {"A": person(left, **one), "B": person(right, **other)})
    ids = name_ids(scene, follow(tracker, scene))
    return [ids["A"][-1], ids["B"][-1]]


def test_places_alone_cannot_tell_two_who_swap_but_poses_and_looks_can() -> None:
    assert hide_and_swap({}, {}) == [2, 1]
    poses = [{"fields": tiny_phalp.make_pose(k)} for k in (1, 2)]
    assert hide_and_swap(*poses) == [1, 2]
    textures = [{"features": {"texture": tiny_phalp.make_texture(k, 64)}} for k in (1, 2)]
    for one, texture in enumerate(textures):
        texture["features"]["texture"][:3] *= 20 if one else 0.1  # packed, they end at 1
        texture["features"]["texture"][3] = 1
    assert hide_and_swap(*textures) == [2, 1], "without the encoder textures do not count"
    comparison = TextureComparison(_Sums(), "cpu", 1)  # type: ignore[arg-type]
    assert hide_and_swap(*textures, comparison=comparison) == [1, 2]
    assert hide_and_swap(textures[0], {}, comparison=comparison) == [2, 1], "one is unknown"


class _Sums(torch.nn.Module):
    """Codes that tell textures by their sums of squares."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.square().sum((1, 2, 3), keepdim=True)


def test_a_track_remembers_the_texture_and_the_pose_of_detections_that_have_none() -> None:
    tracker = PhalpTracker()
    state = tracker.start()
    full = person(20, fields=tiny_phalp.make_pose(1),
                  features={"texture": tiny_phalp.make_texture(1, 32)})  # fmt: skip
    for t, one in enumerate([person(20), full, person(20), person(20), full]):
        state, _ = tracker.update(state, frame(t), [one])
        (track,) = state.tracks
        assert (track.texture is not None) == (t >= 1)
        assert (track.predicted_pose is not None) == (t >= 1)
    assert track.poses is not None
    assert np.isnan(track.poses).all(1).tolist() == [True] * 3 + [False, True, True, False]
    for t in range(5, 12):
        state, _ = tracker.update(state, frame(t), [person(20)])
    (track,) = state.tracks
    assert track.poses is None, "the last seven had none"
    assert track.predicted_pose is None
    assert track.texture is not None


def test_poses_are_predicted_once_for_all_and_as_upstream_in_two_groups() -> None:
    scene = [{name: person(x, fields=tiny_phalp.make_pose(k)) for k, (name, x, until) in
              enumerate((("A", 20, 9), ("B", 250, 4), ("C", 450, 9))) if t < until}
             for t in range(6)]  # fmt: skip
    results: list[Sequence[Any]] = []
    for as_upstream in (False, True):
        predictor, calls = make_predictor(as_upstream), list[int]()
        predictor.net.register_forward_hook(lambda _, x, out, to=calls: to.append(len(x[0])))
        tracker = PhalpTracker(predictor, n_init=2, as_upstream=as_upstream)
        state = tracker.start()
        for t, people in enumerate(scene):
            state, _ = tracker.update(state, frame(t), list(people.values()))
        assert calls == ([3, 3, 3, 3, 3] if not as_upstream else [3, 3, 3, 2, 1, 2, 1])
        results.append([track.predicted_pose for track in state.tracks])
    for ours, theirs in zip(*results, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5), "histories without gaps: no difference"


# --- bounds and errors ----------------------------------------------------------------------------


def test_what_a_track_remembers_is_bounded() -> None:
    tracker, sizes = PhalpTracker(), list[int]()
    state = tracker.start()
    texture = tiny_phalp.make_texture(3)
    for t in range(25):
        one = person(20, fields=tiny_phalp.make_pose(1), features={"texture": texture})
        state, _ = tracker.update(state, frame(t), [one])
        sizes.append(count_bytes(state))
    assert len(set(sizes)) == 1
    assert 393_216 < sizes[0] < 403_000


WRONG: tuple[dict[str, Any], ...] = (
    {"fields": tiny_phalp.make_pose(1) | {"betas": (0.0,) * 9}},
    {"fields": tiny_phalp.make_pose(1) | {"camera": "front"}},
    {"fields": tiny_phalp.make_pose(1) | {"body_pose": np.full((23, 3, 3), np.nan)}},
    {"features": {"texture": np.zeros((3, 256, 256))}},
    {"features": {"texture": np.zeros((4, 40, 40))}},
    {"features": {"texture": np.full((4, 32, 32), np.inf)}},
    {"height": -3.0},
    {"y": float("nan")},
)


@pytest.mark.parametrize("wrong", WRONG)
def test_values_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=": pass "):
        follow(make_tracker(), [{"A": person(20, **wrong)}])


def test_fields_of_other_models_are_no_pose() -> None:
    people = [{"A": person(20, fields={"camera": "front", "points": ((1.0, 2.0),)})}] * 6
    assert name_ids(people, follow(make_tracker(), people))["A"] == [-1] * 4 + [1, 1]


def test_frames_without_people_and_people_at_one_place_are_no_problem() -> None:
    scene = [{}, {}, {"A": person(20), "B": person(20)}, {"A": person(20), "B": person(20)}]
    ids = name_ids(scene, follow(make_tracker(), scene))
    assert {ids["A"][0], ids["B"][0]} == {ids["A"][1], ids["B"][1]} == {-1, -2}
