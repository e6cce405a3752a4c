"""Detections become records: late confirmation, gaps, shots, poses, and the laws."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction as F
from functools import partial
from typing import Any

import numpy as np
import pytest

from filmgate.core.adapters import each
from filmgate.core.chain import Chain
from filmgate.core.frame import Frame
from filmgate.core.serialization import dumps, loads
from filmgate.errors import BadOutput, StageContractError, Unsupported
from filmgate.media.pixels.planes import Planes
from filmgate.media.records.text import format_records
from filmgate.models.families.bytetrack.tracker import ByteTracker
from filmgate.models.people.association import Assignments, Box, PersonDetection, Unseen
from filmgate.models.people.following import (
    ASSIGNMENTS,
    DETECTIONS,
    Associate,
    Finish,
    add_looks,
    add_poses,
    detect,
    get_detections,
    require_planes,
)
from filmgate.testing import SampleVideo, laws, make_sample_video
from tests.models.people.figures import Figure, TrueDetector, make_frames, name_people, walk

TRACKER = ByteTracker(high=0.6, low=0.1, hits=3, keep=1.0, fill=4)
CROSSING = (Figure(walk(20, 40, 2)), Figure(walk(130, 48, -2)))
LEAVING = (Figure(walk(130, 40, 3)), Figure(lambda n: (40, 45) if n < 8 or n >= 12 else None))


def make_chain(figures: int, tracker: ByteTracker = TRACKER) -> Chain:
    found = each(partial(detect, TrueDetector(figures)), name="detect", output=require_planes)
    return Chain((found, Associate(tracker), Finish(tracker.delay)))


def run(video: SampleVideo, figures: int, tracker: ByteTracker = TRACKER) -> list[Any]:
    """Return the records of each frame."""
    outputs = laws.run_chain(make_chain(figures, tracker), video)
    assert [frame.index for frame in outputs] == list(range(len(video.frames)))
    return [frame.extras["records"] for frame in outputs]


def test_people_who_cross_keep_their_numbers_from_their_first_frame() -> None:
    records = run(make_frames(CROSSING, 60), 2)
    assert [len(each) for each in records[:3]] == [2, 2, 2]
    assert name_people(records, CROSSING) == {0: [1], 1: [2]}


def test_who_leaves_and_returns_at_once_is_the_same_and_later_someone_new() -> None:
    figures = (
        Figure(lambda n: (40, 45) if not 10 <= n < 22 else None),
        Figure(lambda n: (110, 45) if not 10 <= n < 50 else None),
    )
    numbers = name_people(run(make_frames(figures, 60), 2), figures)
    assert numbers == {0: [1], 1: [2, 3]}


def test_a_short_gap_is_filled_between_the_boxes_around_it() -> None:
    figures = (Figure(lambda n: (40 + 2 * n, 45) if n not in (8, 9, 10) else None),)
    records = run(make_frames(figures, 20), 1)
    assert [[one["id"] for one in each] for each in records] == [[1]] * 20
    assert [each[0]["seen"] for each in records] == [n not in (8, 9, 10) for n in range(20)]
    assert records[9][0]["box"] == pytest.approx((51, 27, 14, 36), abs=0.51)
    assert "grey" not in records[9][0]


def test_a_gap_longer_than_the_delay_stays_empty() -> None:
    figures = (Figure(lambda n: (40, 45) if not 8 <= n < 14 else None),)
    records = run(make_frames(figures, 20), 1)
    assert [len(each) for each in records] == [1] * 8 + [0] * 6 + [1] * 6


def test_who_is_seen_too_few_times_has_no_record() -> None:
    figures = (Figure(walk(40, 45, 0)), Figure(walk(100, 45, 0, first=5, last=7)),
               Figure(walk(130, 45, 0, first=18)))  # fmt: skip
    records = run(make_frames(figures, 20), 3)
    assert {one["id"] for each in records for one in each} == {1}


def test_a_shot_boundary_ends_all_tracks_and_no_gap_is_filled_across_it() -> None:
    records = run(make_frames((Figure(walk(40, 45, 1)),), 20, cuts=[9, 11]), 1)
    ids = [[one["id"] for one in each] for each in records]
    assert ids == [[1]] * 9 + [[], []] + [[2]] * 9


def test_records_leave_a_few_frames_later_and_never_wait_for_the_end() -> None:
    chain, video = make_chain(2), make_frames(CROSSING, 20)
    state = chain.start(video.spec, video.frames[0].position)
    for frame in video.frames:
        state, outputs = chain.step(state, [frame])
        wanted = [frame.index - TRACKER.delay] if frame.index >= TRACKER.delay else []
        assert [out.index for out in outputs] == wanted
    assert len(chain.stages[2].finish(state[2].state)[1]) == TRACKER.delay


def test_images_other_extras_and_records_stay_and_those_between_stages_go() -> None:
    video = make_frames((Figure(walk(40, 45, 1)),), 12)
    mine = {"kind": "mine", "value": 1}
    frames = tuple(frame.with_extras(records=(mine,), notice="x") for frame in video.frames)
    outputs = laws.run_chain(make_chain(1), replace(video, frames=frames))
    for frame, out in zip(frames, outputs, strict=True):
        assert out.image is frame.image
        assert out.extras.keys() == {"records", "notice"}
        records: Any = out.extras["records"]
        assert records[0] == mine
        assert (records[1]["kind"], records[1]["version"], records[1]["grey"]) == ("person", 1, 100)
    assert len(list(format_records(outputs))) == 24


@dataclass(frozen=True)
class Ghosts:
    """A tracker with everyone confirmed at once, and a person who is never seen."""

    delay: int = 3

    def start(self) -> int:
        return 0

    def update(self, state: int, frame: Any, detections: Any) -> tuple[int, Assignments]:
        unseen = PersonDetection((1, 2, 3, 4), 0.25, {"depth": np.array([1.5, 2])})
        return state + 1, Assignments((1,) * len(detections), (), (Unseen(9, unseen),))


@dataclass(frozen=True)
class OnePerson:
    """A tracker to which everyone is the same person, in every shot."""

    delay: int = 6

    def start(self) -> int:
        return 0

    def update(self, state: int, frame: Any, detections: Any) -> tuple[int, Assignments]:
        assert all(one.features for one in detections)
        return state + 1, Assignments((1,) * len(detections))


def test_no_gap_is_filled_between_two_shots_with_the_same_person() -> None:
    figure = Figure(lambda n: (40 if n < 9 else 120, 45) if n not in (8, 9, 10) else None)
    for cuts, filled in (([], True), ([9], False), ([8], False), ([11], False)):
        outputs = laws.run_chain(replace_tracker(OnePerson()), make_frames((figure,), 16, cuts))
        counts = [len(out.extras["records"]) for out in outputs]  # type: ignore[arg-type]
        assert counts == [1] * 8 + [int(filled)] * 3 + [1] * 5


def test_features_do_not_wait_with_the_frames() -> None:
    first, associate, _ = replace_tracker(OnePerson()).stages
    video = make_frames((Figure(walk(40, 45, 1)),), 3)
    _, frames = first.step(first.start(video.spec, video.frames[0].position), video.frames)
    _, outputs = associate.step(0, frames)
    for frame, out in zip(frames, outputs, strict=True):
        before, after = get_detections(frame), get_detections(out)
        assert [bool(one.features) for one in before] == [True]
        assert after == (replace(before[0], features={}),)


def test_whom_a_tracker_only_supposes_has_records_too() -> None:
    video = make_frames((Figure(walk(40, 45, 1)),), 8)
    outputs = laws.run_chain(replace_tracker(Ghosts()), video)
    for out in outputs:
        records: Any = out.extras["records"]
        seen, ghost = records
        assert (seen["id"], seen["seen"]) == (1, True)
        assert (ghost["id"], ghost["seen"], ghost["depth"]) == (9, False, (1.5, 2.0))


def replace_tracker(tracker: Any) -> Chain:
    """Return the chain with another tracker; people have a feature."""

    def find(frames: Sequence[Frame]) -> list[Frame]:
        return add_looks(shade, detect(TrueDetector(1), frames))

    def shade(image: Planes, people: Sequence[PersonDetection]) -> list[PersonDetection]:
        return [replace(one, features={"shade": np.full(3, image.arrays[0].mean())})
                for one in people]  # fmt: skip

    found = each(find, name="detect", output=require_planes)
    return Chain((found, Associate(tracker), Finish(tracker.delay)))


def test_poses_get_corners_and_add_their_fields() -> None:
    seen: list[Any] = []

    def estimate(image: Planes, boxes: Sequence[Box]) -> list[dict[str, Any]]:
        seen.append((image.size, list(boxes)))
        return [{"pose": np.full((2, 3), n)} for n, _ in enumerate(boxes)]

    (frame,) = make_frames((), 1).frames
    people = tuple(PersonDetection((x, 4.0, 10.0, 20.0), 0.5, {"a": 1}) for x in (0.0, 30.0))
    frame, empty = frame.with_extras(**{DETECTIONS: people}), frame
    posed, unposed = add_poses(estimate, [frame, empty])
    assert seen == [((160, 90), [(0, 4, 10, 24), (30, 4, 40, 24)])]
    found: Any = posed.extras[DETECTIONS]
    assert [one.fields["a"] for one in found] == [1, 1]
    assert found[1].fields["pose"].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert unposed.extras[DETECTIONS] == ()


def estimate_always(pose: dict[str, Any]) -> Any:
    return lambda image, boxes: [pose for _ in boxes]


def test_points_of_a_pose_take_the_place_of_the_detectors() -> None:
    (frame,) = make_frames((), 1).frames
    fields = {"skeleton": "blazepose", "points": np.ones((33, 3)), "visibility": np.ones(33),
              "presence": np.ones(33), "world": np.ones((33, 3)), "grey": 5}  # fmt: skip
    frame = frame.with_extras(**{DETECTIONS: (PersonDetection((1, 2, 3, 4), 0.5, fields),)})
    pose = {"skeleton": "coco", "points": np.zeros((17, 2)), "point_scores": np.ones(17)}
    for added, wanted in ((pose, {*pose, "grey"}), ({"betas": np.ones(10)}, {*fields, "betas"})):
        ((person,),) = map(get_detections, add_poses(estimate_always(added), [frame]))
        assert person.fields.keys() == wanted
        assert person.fields["skeleton"] == ("coco" if "skeleton" in added else "blazepose")


def test_poses_that_are_not_finite_are_an_error_with_the_time() -> None:
    def estimate(image: Planes, boxes: Sequence[Box]) -> list[dict[str, Any]]:
        raise FloatingPointError("not a number")

    frame = make_frames((), 5).frames[4]
    people = (PersonDetection((1, 2, 3, 4), 0.5),)
    with pytest.raises(BadOutput, match=r"poses at 0\.160 s: not a number"):
        add_poses(estimate, [frame.with_extras(**{DETECTIONS: people})])


def test_state_with_poses_and_assignments_is_plain() -> None:
    person = PersonDetection((1, 2, 3, 4), 0.5, {"pose": np.eye(3)}, {"look": np.ones(4)})
    (frame,) = make_frames((), 1).frames
    who = Assignments((-1,), ((-1, 1),), (Unseen(2, person),))
    frame = frame.with_extras(**{DETECTIONS: (person,), ASSIGNMENTS: who})
    again: Any = loads(dumps((frame,)))[0].extras
    assert again[ASSIGNMENTS].confirmed == who.confirmed
    assert (again[DETECTIONS][0].features["look"] == 1).all()


@pytest.mark.parametrize("figures", [CROSSING, LEAVING], ids=["crossing", "leaving"])
def test_pieces_snapshots_retries_and_batches_change_no_number(figures: Any) -> None:
    video, chain = make_frames(figures, 18, cuts=[14]), make_chain(2)
    laws.check_cut(chain, video, [1, 7, 11], batch=4)
    laws.check_sleep(chain, video, [2, 9, 15], [0, 1, 2, 3])
    laws.check_batch(chain, video, 4, tolerance=0)
    laws.check_memory(chain, video)
    for stage in chain.stages[:1]:
        laws.check_retry(stage, video, 1, 4)


@pytest.mark.slow
def test_the_laws_hold() -> None:
    laws.check_stage(make_chain(2), make_frames(CROSSING, 40, cuts=[30]), tolerance=0, tries=3)


def test_what_is_refused() -> None:
    spec = make_sample_video().spec
    for stage in make_chain(1).stages[:2]:
        with pytest.raises(Unsupported, match="are found in planes"):
            stage.output(spec)
    frame = Frame(0, F(0), F(1), np.zeros((3, 4, 4)))
    with pytest.raises(Unsupported, match="the image is ndarray"):
        detect(TrueDetector(1), [frame])

    class TooFew:
        def detect(self, images: Any) -> list[Any]:
            return []

    with pytest.raises(StageContractError, match="TooFew returned 0 lists for 1 images"):
        detect(TooFew(), make_frames((), 1).frames)
