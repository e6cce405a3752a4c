"""People and faces of the real clips: changed images give changed points."""

from dataclasses import replace
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.media.pixels.planes import Planes
from filmgate.media.pixels.rgb import to_planes
from filmgate.media.sources import VideoFile
from filmgate.models.families.blazepose.model import POINTS
from filmgate.models.people.drawing import LINES, draw_records
from tests.models.people.real import build_real_tracker

CLIPS = Path(__file__).parents[4] / "shared" / "clips"
BODIES = (("phalp_vid", 16), ("sam2_bedroom", 24), ("intel_person", 150))
FACES = (("pl_driving", 0), ("pl_driving", 48), ("ls_demo1", 0))
SWAPPED = [POINTS.index(n.replace("left", "#").replace("right", "left").replace("#", "right"))
           for n in POINTS]  # fmt: skip
OVAL = list(LINES["face"][0][:-1])
BOTH = [("blazepose", *each) for each in BODIES] + [("face_mesh", *each) for each in FACES]
SIZES = {"blazepose": 0.02, "face_mesh": 0.005}  # mean distances, in parts of the larger side
FLIPS = {"blazepose": 0.04, "face_mesh": 0.025}
TURNS = {"blazepose": 0.03, "face_mesh": 0.015}

pytestmark = [
    pytest.mark.clips,
    pytest.mark.skipif(not CLIPS.is_dir(), reason=f"the real clips are not here ({CLIPS})"),
]


class Still:
    """One frame of a clip, whose changed images are searched."""

    def __init__(self, family: str, clip: str, index: int) -> None:
        self.tracker = build_real_tracker(family)
        with VideoFile(CLIPS / f"{clip}.mp4").open() as reader:
            frames = (frame for chunk, _ in reader.read(None, 1) for frame in chunk)
            self.frame: Frame = next(frame for frame in frames if frame.index == index)
            self.spec: StreamSpec = reader.spec
        planes: Any = self.frame.image
        self.colour = planes.colour
        self.rgb = (planes.to_rgb() * 255).permute(1, 2, 0).numpy().astype(np.uint8)
        (record,) = self.find(self.rgb)
        self.points, self.side = np.array(record["points"])[:, :2], max(record["box"][2:])

    def find(self, rgb: Any) -> list[dict[str, Any]]:
        image = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1).float() / 255
        frame = replace(self.frame, image=to_planes(image, "yuv444p", self.colour))
        state = self.tracker.start(self.spec, frame.position)
        _, (found,) = self.tracker.step(state, [frame])
        records: Any = found.extras["records"]
        return list(records)

    def measure(self, points: Any, wanted: Any) -> float:
        """Return the mean distance in parts of the side of the box."""
        return float(np.linalg.norm(points - wanted, axis=1).mean() / self.side)


@pytest.mark.parametrize(("family", "clip", "index"), BOTH)
def test_flipped_image_gives_flipped_points(family: str, clip: str, index: int) -> None:
    still = Still(family, clip, index)
    (record,) = still.find(still.rgb[:, ::-1])
    points = np.array(record["points"])[:, :2] * (-1, 1) + (still.rgb.shape[1], 0)
    if family == "blazepose":
        distance = still.measure(points[SWAPPED], still.points)
    else:
        mirrored = [OVAL[0], *OVAL[:0:-1]]
        distance = still.measure(points[mirrored], still.points[OVAL])
    assert distance < FLIPS[family]


@pytest.mark.parametrize("scale", [0.5, 2])
@pytest.mark.parametrize(("family", "clip", "index"), BOTH)
def test_scaled_image_gives_scaled_points(family: str, clip: str, index: int, scale: float) -> None:
    still = Still(family, clip, index)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    (record,) = still.find(cv2.resize(still.rgb, None, fx=scale, fy=scale, interpolation=way))
    points = np.array(record["points"])[:, :2] / scale
    assert still.measure(points, still.points) < SIZES[family]


@pytest.mark.parametrize("degrees", [-30, 15, 90, 180])
@pytest.mark.parametrize(("family", "clip", "index"), BOTH)
def test_turned_image_gives_turned_points(family: str, clip: str, index: int, degrees: int) -> None:
    """BlazePose finds people who lie or stand on their heads; BlazeFace no such faces."""
    if family == "face_mesh" and abs(degrees) > 45:
        pytest.skip("the detector of faces was trained on faces that are nearly upright")
    still = Still(family, clip, index)
    height, width = still.rgb.shape[:2]
    side = int(np.hypot(width, height))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
    matrix[:, 2] += ((side - width) / 2, (side - height) / 2)
    (record,) = still.find(cv2.warpAffine(still.rgb, matrix, (side, side)))
    back = cv2.invertAffineTransform(matrix)
    points = (np.array(record["points"])[:, :2] - 0.5) @ back[:, :2].T + back[:, 2] + 0.5
    assert still.measure(points, still.points) < TURNS[family]


@pytest.mark.parametrize(("family", "clip", "index"), BOTH)
def test_three_people_side_by_side_are_found(family: str, clip: str, index: int) -> None:
    still = Still(family, clip, index)
    middle = still.points.mean(0)[0]
    half = int(min(0.8 * still.side, middle, still.rgb.shape[1] - middle))
    part = still.rgb[:, int(middle) - half : int(middle) + half]
    records = still.find(np.concatenate([part] * 3, axis=1))
    places = sorted(np.array(record["points"])[:, 0].mean() for record in records)
    assert places == pytest.approx([half, 3 * half, 5 * half], abs=0.05 * still.side)


@pytest.mark.parametrize(
    ("family", "clip", "count"),
    [("blazepose", "phalp_vid", 60), ("blazepose", "sam2_bedroom", 60),
     ("face_mesh", "pl_driving", 60), ("face_mesh", "ls_demo1", 30)],
)  # fmt: skip
def test_one_person_is_followed_under_one_number(family: str, clip: str, count: int) -> None:
    tracker = build_real_tracker(family)
    with VideoFile(CLIPS / f"{clip}.mp4").open() as reader:
        state, ids = tracker.start(reader.spec, Position(0, F(0))), set[int]()
        for chunk, _ in reader.read(None, 8):
            state, frames = tracker.step(state, chunk)
            for frame in frames:
                records: Any = frame.extras["records"]
                assert len(records) == 1, frame.index
                ids.add(records[0]["id"])
            if frames[-1].index >= count:
                break
    assert ids == {1}


def test_no_one_is_found_among_cars_and_on_a_bird() -> None:
    for family in ("blazepose", "face_mesh"):
        tracker = build_real_tracker(family)
        for clip in ("intel_car", "io_cockatoo"):
            with VideoFile(CLIPS / f"{clip}.mp4").open() as reader:
                chunk, _ = next(iter(reader.read(None, 48)))
                state = tracker.start(reader.spec, chunk[0].position)
                _, frames = tracker.step(state, chunk)
            assert not any(frame.extras["records"] for frame in frames), (family, clip)


def test_records_are_drawn_where_they_are() -> None:
    still = Still("face_mesh", "pl_driving", 0)
    planes = Planes(tuple(np.ascontiguousarray(still.rgb[..., n]) for n in (1, 2, 0)), "gbrp")
    arrays = draw_records(planes, still.find(still.rgb)).arrays
    drawn = np.stack([arrays[n] for n in (2, 0, 1)], axis=2)
    changed = np.argwhere((drawn != still.rgb).any(2))[:, ::-1]
    low, high = still.points.min(0), still.points.max(0)
    assert (changed.max(0) <= high + 60).all()
    assert (changed.min(0) >= low - 60).all()
    assert len(changed) > 2000
