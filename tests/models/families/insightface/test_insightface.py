"""InsightFace: its detector and points by the published rules, in small networks of ONNX.

The networks look at the image: a bright square is a face, and points are around its middle.
"""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction as F
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.errors import BadSetting, BadWeights
from filmgate.media.pixels.planes import Planes
from filmgate.models.families.insightface import InsightFaceOptions, model, published
from filmgate.models.families.latentsync.faces import LANDMARKS, ChooseFace
from filmgate.models.people.detector import Detection
from filmgate.models.people.tracker import SearchingTracker, TrackerState
from filmgate.models.registry import build_tracker
from filmgate.tasks.lipsync import LipSync
from filmgate.testing import SampleVideo, laws
from filmgate.weights.store import WeightsStore
from tests.models.families.insightface import onnx_files
from tests.models.families.insightface.onnx_files import node, tensor

WIDTH, HIGH = 640, 360
SPREAD = np.random.default_rng(3).uniform(-0.2, 0.2, (106, 2)).astype(np.float32)
needs_onnx = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs onnxruntime")


def write_detector(path: Path) -> Path:
    """A face is where 8x8 pixels are bright; its box reaches 2 to 4 strides around them."""
    count = model.SIDE // 8
    nodes = [
        node("AveragePool", "image", "pooled", kernel_shape=[8, 8], strides=[8, 8]),
        node("ReduceMean", "pooled", "grey", axes=[1]),
        node("Reshape", "grey column", "one"),
        node("Mul", "one nothing", "other"),
        node("Concat", "one other", "both", axis=1),
        node("Reshape", "both column", "score_8"),
    ]
    constants = [tensor("column", np.array([-1, 1], np.int64)),
                 tensor("nothing", np.zeros(1, np.float32))]  # fmt: skip
    outputs: dict[str, tuple[int | str, int]] = {}
    for name, width in (("score", 1), ("box", 4), ("points", 10)):
        for stride in model.STRIDES:
            outputs[f"{name}_{stride}"] = (f"n{stride}", width)
            if (name, stride) == ("score", 8):
                continue
            values = np.zeros((2 * (model.SIDE // stride) ** 2, width), np.float32)
            values += np.array([2, 3, 4, 3], np.float32) if width == 4 else 0
            constants.append(tensor(f"own_{name}_{stride}", values))
            nodes.append(node("Identity", f"own_{name}_{stride}", f"{name}_{stride}"))
    assert count == 64
    return onnx_files.write(path, nodes, constants, {"image": (1, 3, "h", "w")}, outputs)


def write_points(path: Path) -> Path:
    """All points are around the middle of what is bright."""
    grid = (np.arange(24) * 8 + 3.5) / 96 - 1  # the centres of 8x8 pixels
    places = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2).astype(np.float32)
    nodes = [
        node("AveragePool", "data", "pooled", kernel_shape=[8, 8], strides=[8, 8]),
        node("ReduceMean", "pooled", "grey", axes=[1]),
        node("Reshape", "grey row", "weights"),
        node("MatMul", "weights places", "moment"),
        node("ReduceSum", "weights", "mass", keepdims=1),
        node("Div", "moment mass", "middle"),
        node("Add", "middle spread", "points"),
        node("Reshape", "points row", "fc1"),
    ]
    constants = [tensor("row", np.array([1, -1], np.int64)), tensor("places", places),
                 tensor("spread", SPREAD)]  # fmt: skip
    return onnx_files.write(path, nodes, constants, {"data": ("batch", 3, 192, 192)},
                            {"fc1": (1, 212)})  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("onnx")
    write_detector(place / "det_10g.onnx")
    write_points(place / "2d106det.onnx")
    return place


@pytest.fixture
def tracker(folder: Path) -> SearchingTracker:
    detector = model.open_network(folder / "det_10g.onnx", model.DETECTOR_SHAPES, "cpu")
    points = model.open_network(folder / "2d106det.onnx", model.POINT_SHAPES, "cpu")
    return SearchingTracker(model.FaceModel(detector, points), 4, 1, 0.5, None)


SPEC = StreamSpec(width=WIDTH, height=HIGH, rate=F(25), time_base=F(1, 25), pixels="yuv444p",
                  colour=ColorTags(matrix="bt709", range="pc"))  # fmt: skip


def make_frame(index: int, *faces: tuple[int, int]) -> Frame:
    """A black image with bright squares of 20 pixels, from their left and top."""
    luma, grey = np.zeros((HIGH, WIDTH), np.uint8), np.full((HIGH, WIDTH), 128, np.uint8)
    for left, top in faces:
        luma[top : top + 20, left : left + 20] = 255
    image = Planes((luma, grey, grey), "yuv444p", SPEC.colour)
    return Frame(index, F(index, 25), F(1, 25), image)


def follow(tracker: SearchingTracker, frames: Sequence[Frame]) -> tuple[TrackerState, list[Any]]:
    state, outputs = tracker.step(tracker.start(SPEC, frames[0].position), frames)
    return state, [frame.extras["records"] for frame in outputs]


@needs_onnx
def test_points_are_where_the_face_is_in_the_image(tracker: SearchingTracker) -> None:
    """The square of 512 is 0.8 of the image; points come back through both crops within a pixel."""
    _, ((record,),) = follow(tracker, [make_frame(0, (300, 100))])
    points = np.array(record["points"])
    assert points.shape == (106, 3)
    side = 1.5 * 6 * 8 / 0.8  # of the square in which points are read
    wanted = np.array([310.0, 110.0]) + SPREAD * side / 2
    assert np.abs(points[:, :2] - wanted).max() < 1
    assert record["kind"] == "face"
    assert record["score"] > 0.9


@needs_onnx
def test_faces_keep_their_numbers_as_they_move_and_get_new_ones_after_a_cut(
    tracker: SearchingTracker,
) -> None:
    frames = [make_frame(n, (300 + 4 * n, 100), (100, 200 - 3 * n)) for n in range(3)]
    frames += [make_frame(3, (100, 191)), make_frame(4, (100, 191)).with_extras(cut=True)]
    _, records = follow(tracker, frames)
    numbers = [{one["id"]: round(one["points"][0][0]) for one in some} for some in records]
    assert [sorted(some) for some in numbers] == [[1, 2]] * 3 + [[numbers_of(numbers, 100)], [3]]
    assert len({round(one[numbers_of(numbers, 100)]) for one in numbers[:3]}) == 1


def numbers_of(numbers: list[dict[int, int]], near: int) -> int:
    """Return the number of the face that is near a column in the first frame."""
    return min(numbers[0], key=lambda number: abs(numbers[0][number] - near))


@needs_onnx
def test_laws_hold_and_lipsync_reads_the_three_points(tracker: SearchingTracker) -> None:
    frames = [make_frame(n, (280 + 5 * n, 90)) for n in range(4)]
    video = SampleVideo(SPEC, tuple(frames))
    laws.check_cut(tracker, video, [1, 3])
    laws.check_sleep(tracker, video, [2], [0, 1])
    state, _ = follow(tracker, frames[:1])
    _, (found,) = tracker.step(state, frames[1:2])
    (chosen,) = ChooseFace()([found])
    landmarks: Any = chosen.extras[LANDMARKS]
    points = np.array(found.extras["records"][0]["points"])[:, :2] - 0.5  # type: ignore[index]
    assert landmarks.left == pytest.approx(points[[43, 48, 49, 51, 50]].mean(0))
    assert landmarks.right == pytest.approx(points[101:106].mean(0))
    assert landmarks.nose == pytest.approx(points[[74, 77, 83, 86]].mean(0))
    assert landmarks.chin is None


def test_anchors_boxes_and_points_are_decoded_as_published() -> None:
    outputs = [np.zeros((2 * (model.SIDE // stride) ** 2, width), np.float32)
               for width in (1, 4, 10) for stride in model.STRIDES]  # fmt: skip
    index = 2 * (3 * 32 + 5) + 1  # the second anchor in row 3, column 5 of stride 16
    outputs[1][index] = 0.75
    outputs[4][index] = 1, 2, 3, 4
    outputs[7][index] = np.arange(10) / 10
    (found,) = model.decode(outputs, 0.5)
    assert found.box == pytest.approx((80 - 16, 48 - 32, 80 + 48, 48 + 64))
    assert found.points[4] == pytest.approx((80 + 12.8, 48 + 14.4))
    assert not model.decode(outputs, 0.8)


def test_of_two_that_overlap_by_more_than_two_fifths_the_better_stays() -> None:
    def found(score: float, left: float) -> Detection:
        return Detection(score, (left, 0, left + 10, 10), np.zeros((5, 2)))

    kept = model.drop_overlapping([found(0.6, 4), found(0.9, 0), found(0.7, 5), found(0.5, 30)])
    assert [one.score for one in kept] == [0.9, 0.7, 0.5]


@needs_onnx
def test_other_files_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match=r"tensors of the shapes .* wanted"):
        model.open_network(folder / "2d106det.onnx", model.DETECTOR_SHAPES, "cpu")
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x08no model")
    with pytest.raises(BadWeights, match="no network that ONNX Runtime can run"):
        model.open_network(tmp_path / "bad.onnx", model.POINT_SHAPES, "cpu")


def test_it_is_never_used_unless_named_and_says_what_is_missing(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [name for name, _ in LipSync().iter_models()] == ["latentsync", "face_mesh"]
    named = LipSync(finder="insightface")
    assert [name for name, _ in named.iter_models()] == ["latentsync", "insightface"]
    assert all(one.commercial is False and one.terms and not one.proven
               for one in (published.DETECTOR, published.POINTS))  # fmt: skip
    monkeypatch.setattr(published, "find_spec", lambda name: None)
    with pytest.raises(BadSetting, match=r"ONNX Runtime.*\[insightface\]"):
        build_tracker("insightface")
    monkeypatch.undo()
    monkeypatch.setenv("FILMGATE_MODELS", str(tmp_path))
    if find_spec("onnxruntime"):
        with pytest.raises(BadSetting, match="non-commercial research purposes only"):
            build_tracker("insightface")
        for weights in (published.DETECTOR, published.POINTS):
            WeightsStore.open_default().accept(weights)
        with pytest.raises(BadWeights, match="models pull insightface"):
            build_tracker("insightface")
        with pytest.raises(BadWeights, match=r"det_10g\.onnx has .* bytes"):  # not the published
            build_tracker("insightface", InsightFaceOptions(weights=folder))
    with pytest.raises(BadSetting, match="threshold is 2"):
        replace(InsightFaceOptions(), threshold=2)
