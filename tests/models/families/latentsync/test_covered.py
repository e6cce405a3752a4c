"""Faces whose mouth is covered fade out, and come back: on pretended faces, and on real clips."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from filmgate.core.chain import Chain
from filmgate.core.frame import Frame
from filmgate.device.placement import Placement
from filmgate.media.pixels.planes import Planes
from filmgate.models import registry
from filmgate.models.contracts import LipSyncRequest
from filmgate.models.families import latentsync
from filmgate.models.families.face_mesh import FAMILY
from filmgate.models.families.face_mesh.model import LIPS, measure_spread
from filmgate.models.families.latentsync.covered import LeaveCovered, measure_covered
from filmgate.models.families.latentsync.faces import LANDMARKS, ChooseFace
from filmgate.models.families.latentsync.stages import FACE, PreparedFace
from filmgate.tasks.lipsync import LipSync
from filmgate.testing import SampleVideo, laws, make_sample_video
from tests.models.families.latentsync import occluders
from tests.models.people.real import build_real_tracker

CLIPS = Path(__file__).parents[5] / "shared" / "clips"


def make_video(covered: str) -> SampleVideo:
    """Return a frame for each letter: c covered, "." seen, a space without a face, | a new shot."""
    video, frames = make_sample_video(len(covered), width=32, height=16), list[Frame]()
    for frame, letter in zip(video.frames, covered, strict=True):
        face = PreparedFace((1, 0, 0, 0, 1, 0), 0.5, torch.zeros(8, 1, 1), 0.0, letter in "cC")
        extras = {} if letter == " " else {FACE: face}
        frames.append(replace(frame, extras=extras | ({"cut": True} if letter in "C|" else {})))
    return SampleVideo(video.spec, tuple(frames))


def run(covered: str) -> list[Frame]:
    return laws.run_chain(Chain((LeaveCovered(),)), make_video(covered))


def get_weights(frames: Sequence[Frame]) -> list[float | None]:
    faces = [frame.extras.get(FACE) for frame in frames]
    return [None if face is None else round(face.weight, 3) for face in faces]  # type: ignore[attr-defined]


def test_weights_fall_before_what_is_covered_and_rise_after_it() -> None:
    frames = run("........cccc..c........")
    fall = [0.4, 0.3, 0.2, 0.1]
    assert get_weights(frames) == [*[0.5] * 4, *fall, 0, 0, 0, 0, *fall[::-1], *[0.5] * 7]
    assert get_weights(run("....cc......c.c.")) == [0.5] * 16  # too short: a mistake
    remarks = [frame.extras.get("remark") for frame in frames]
    assert [n for n, remark in enumerate(remarks) if remark] == [12]
    assert remarks[12] == "frames 8-11, from 0.320 s on: the mouth is covered: left as they are"


def test_a_gap_is_part_of_a_stretch_and_a_run_ends_it() -> None:
    frames = run("ccc....ccc.......|cccc  ...")
    weights = get_weights(frames)
    assert weights[:10] == [0] * 10
    assert weights[16:18] == [0.5, 0]  # in one frame there is no time to fade
    assert weights[22:] == [None, None, 0.5, 0.5, 0.5]
    assert [str(f.extras["remark"]).partition(",")[0] for f in frames if "remark" in f.extras] == [
        "frames 0-9", "frames 17-21",
    ]  # fmt: skip
    assert [frame.index for frame in frames] == list(range(27))


def test_images_and_other_faces_are_not_touched() -> None:
    video = make_video("....cccc......")
    frames = laws.run_chain(Chain((LeaveCovered(),)), video)
    for old, new in zip(video.frames, frames, strict=True):
        assert new.image is old.image
    assert frames[13].extras[FACE] is video.frames[13].extras[FACE]


def test_laws_hold() -> None:
    stage, video = LeaveCovered(), make_video("...cccc..c  .ccc|cccccc.........c")
    laws.check_sleep(stage, video, [2, 5, 11, 16, 24], {0, 2, 3})
    laws.check_cut(stage, video, [1, 2, 9, 20])


def test_spread_is_that_of_the_lips_in_parts_of_the_distance_between_the_eyes() -> None:
    points = np.zeros((468, 3))
    points[263, 0] = 50
    moved = points.copy()
    moved[list(LIPS), 1] += 10
    assert measure_spread([points, points]) == 0
    assert measure_spread([points, moved]) == pytest.approx(5 / 50)


def test_the_spread_of_a_record_tells_whether_a_mouth_is_covered() -> None:
    (frame,) = make_sample_video(1).frames
    for spread, covered in ((0.07, False), (0.12, True)):
        record = {"kind": "face", "id": 1, "box": (0, 0, 9, 9), "lip_spread": spread,
                  "points": [(float(k), 2.0 * k, 0.0) for k in range(468)]}  # fmt: skip
        (found,) = ChooseFace()([frame.with_extras(records=(record,))])
        assert found.extras[LANDMARKS].covered is covered  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("finder", "asked", "own"),
    [
        ("face_mesh", {}, FAMILY.covered_options),
        ("face_mesh", {"leave_covered": False}, None),
        ("insightface", {}, None),
    ],
)
def test_the_finder_is_asked_only_if_it_can_tell(
    finder: str, asked: dict[str, Any], own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(registry, "build_tracker", lambda *words: given.append(words))
    request = LipSyncRequest(audio=None, finder=finder, **asked)
    list(latentsync._build_faces(request, Placement()))
    assert [words[:2] for words in given] == [(finder, own)]
    assert latentsync._finds_covered(request) is (own is not None)
    assert not latentsync._finds_covered(replace(request, box=(9, 9, 99, 99)))
    paint = LipSync(covered="paint")._make_request()
    assert (paint.leave_covered, LipSync()._make_request().leave_covered) == (False, True)
    assert paint.settings != LipSync()._make_request().settings


# --- real clips -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.clips
@pytest.mark.skipif(not CLIPS.is_dir(), reason=f"the real clips are not here ({CLIPS})")
def test_a_hand_that_covers_a_real_mouth_is_noticed_and_speaking_is_not() -> None:
    """Where all of its lips are seen or hidden; bench/lipsync_covered.py tries more."""
    hand = occluders.make_occluders(CLIPS)["clasped hands"]
    frames = list(occluders.read_frames(CLIPS / "pl_driving.mp4", 40, 96))
    tracker = build_real_tracker("face_mesh", FAMILY.covered_options)
    plain = list(occluders.find_faces(tracker, iter(frames)))
    assert not any(landmarks.covered for _, _, landmarks in plain)
    moved = list(occluders.move_in_front(frames, [record for _, record, _ in plain], hand))
    found = occluders.find_faces(tracker, (frame for frame, _ in moved))
    covered = [landmarks is None or landmarks.covered for _, _, landmarks in found]
    counts = occluders.count_found([share for _, share in moved], covered)
    assert counts["hidden"] >= 24
    assert counts["left"] == counts["hidden"]
    assert counts["left by mistake"] == 0
    shares = measure_covered(covered)
    assert 0 < sum((0 < share < 1) for share in shares) <= 8
    assert isinstance(moved[30][0].image, Planes)
