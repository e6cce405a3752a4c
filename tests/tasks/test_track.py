"""The task `track`: settings, job forms, flags, its inputs, and runs with boxes of a file."""

import json
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import filmgate as fg
from filmgate.cli.main import main
from filmgate.core.frame import StreamSpec
from filmgate.device.placement import Placement
from filmgate.errors import BadInput, BadSetting, Exit
from filmgate.jobs.identity import describe_run
from filmgate.media.pixels.planes import Planes
from filmgate.media.records.record_file import RecordFile
from filmgate.media.sinks import RecordOutput
from filmgate.models import registry
from filmgate.models.contracts import Family, NoOptions
from filmgate.models.families.bytetrack import ByteTrackOptions
from filmgate.models.families.opencv_hog import HogOptions
from filmgate.planning.limits import Limits
from filmgate.tasks.job_config import job_from, task_from
from filmgate.tasks.job_form import job_to, task_to
from filmgate.tasks.track import Track
from tests.models.people.figures import Figure, draw, walk, write_sidecar, write_video

FIGURES = (Figure(walk(20, 30, 2)), Figure(walk(130, 50, -2)))
PLAN = fg.Plan(chunk=4, segment_frames=8)


@pytest.fixture
def job(tmp_path: Path) -> fg.Job:
    write_video(FIGURES, 24, tmp_path / "in.mkv")
    sidecar = write_sidecar(FIGURES, 24, tmp_path / "boxes.jsonl")
    return fg.Job(
        fg.VideoFile(tmp_path / "in.mkv"),
        RecordOutput(tmp_path / "out.jsonl"),
        (Track(boxes=RecordFile(sidecar)),),
        more_sinks=(fg.VideoOutput(tmp_path / "out.mkv", codec="ffv1"),),
    )


def read_lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def test_boxes_of_a_file_become_records_and_images_pass_through(
    job: fg.Job, tmp_path: Path
) -> None:
    list(fg.events(job, PLAN))
    lines = read_lines(tmp_path)
    assert [line["frame"] for line in lines] == [n for n in range(24) for _ in range(2)]
    assert lines[0] == {
        "frame": 0, "time": 0.0, "duration": 0.04, "kind": "person", "version": 1, "id": 1,
        "box": [13.0, 12.0, 14.0, 36.0], "score": 0.9, "seen": True,
    }  # fmt: skip
    assert {(line["id"], line["box"][1]) for line in lines} == {(1, 12.0), (2, 32.0)}
    for n, frame in enumerate(fg.frames((), tmp_path / "out.mkv")):
        assert isinstance(frame.image, Planes)
        pairs = zip(frame.image.arrays, draw(FIGURES, n).arrays, strict=True)
        assert all((a == b).all() for a, b in pairs)


def test_a_changed_file_of_boxes_is_another_run(job: fg.Job, tmp_path: Path) -> None:
    before = describe_run(job, Limits())
    write_sidecar(FIGURES[:1], 24, tmp_path / "boxes.jsonl")
    assert describe_run(job, Limits())["inputs"] != before["inputs"]


def test_settings_of_all_models_go_through_a_job_file_and_the_result_names_no_path(
    job: fg.Job, tmp_path: Path
) -> None:
    form: dict[str, Any] = {
        "task": "track", "detector": "opencv-hog", "rows": 300, "tracker": "bytetrack",
        "tracker_hits": 5, "tracker_high": 0.7,
    }  # fmt: skip
    task = task_from(form)
    wanted = Track(options=HogOptions(rows=300), tracker_options=ByteTrackOptions(hits=5, high=0.7))
    assert task == wanted
    assert task_to(task) == {"task": "track", "rows": 300, "tracker_hits": 5, "tracker_high": 0.7}
    assert task_from(task_to(task)) == task
    table = {"input": "in.mkv", "output": "out.jsonl", "tasks": [
        {"task": "track", "boxes": "boxes.jsonl"}]}  # fmt: skip
    (read,) = job_from(table, tmp_path).tasks
    assert read == job.tasks[0]
    assert job_from(job_to(job), Path()) == job
    assert str(tmp_path) not in str(task_to(job.tasks[0], paths=False))


@pytest.mark.parametrize(
    ("form", "match"),
    [
        ({"detector": "opencv_hug"}, "no model 'opencv_hug' for track: did you mean 'opencv_hog'"),
        ({"detector": "bytetrack"}, "the model bytetrack does no task of its own: track has"),
        ({"tracker": "opencv_hog"}, "tracker is 'opencv_hog'"),
        ({"pose": "compact"}, "pose is 'compact'"),
        ({"tracker_hit": 3}, "tracker 'bytetrack' has no setting 'hit': did you mean 'hits'"),
        ({"tracker_n_init": 3}, "tracker_n_init is an option of phalp, and the tracker is bytetra"),
        ({"pose_dtype": "float16"}, "there is no pose: omit it, or pass --pose hmr2"),
        ({"pose_colour": "red"}, "pose_colour is an option of a pose, and there is none"),
        ({"rows": 64}, "rows is 64: pass 128 to 1080"),
        ({"threshold": 0.5}, "detector is opencv_hog: omit it, or pass --detector blazepose"),
        ({"boxes": "a.txt", "detector": "blazepose"}, "boxes is a.txt and the detector is blaze"),
        ({"boxes": "a.txt", "rows": 300}, "boxes is a.txt and the detector is opencv_hog"),
    ],
)
def test_settings_that_are_refused(form: dict[str, Any], match: str) -> None:
    with pytest.raises(BadSetting, match=match):
        task_from({"task": "track", **form})


def test_options_without_their_model_are_refused() -> None:
    with pytest.raises(BadSetting, match="options of a pose and pose is None"):
        Track(pose_options=HogOptions())
    with pytest.raises(BadSetting, match="options is HogOptions, and the model is bytetrack"):
        Track(tracker_options=HogOptions())


def test_flags_of_the_command_line_reach_their_models(job: fg.Job, tmp_path: Path) -> None:
    words = ["track", "in.mkv", "out.jsonl", "--boxes", "boxes.jsonl", "--tracker-hits", "1",
             "--in-process", "--quiet"]  # fmt: skip
    paths = [str(tmp_path / word) if "." in word else word for word in words]
    assert main(paths) == Exit.DONE
    assert len(read_lines(tmp_path)) == 48
    assert main([*paths, "--overwrite", "--rows", "300"]) == Exit.USER


def test_a_file_that_holds_no_boxes_is_a_clear_error(job: fg.Job, tmp_path: Path) -> None:
    (tmp_path / "boxes.jsonl").write_text("no boxes\n")
    with pytest.raises(BadInput, match=r"boxes\.jsonl, line 1 is 'no boxes'"):
        list(fg.events(job, PLAN))


def test_poses_are_estimated_between_detection_and_association(job: fg.Job, tmp_path: Path) -> None:
    def build_pose(options: NoOptions, placement: Placement) -> Any:
        return lambda image, boxes: [{"pose": np.array(box)} for box in boxes]

    family = Family(name="squat", summary="A pose.", build_pose=build_pose)
    registry.register_family(family)
    try:
        task = Track(boxes=job.tasks[0].boxes, pose="squat")  # type: ignore[attr-defined]
        list(fg.events(fg.Job(job.source, job.sink, (task,)), PLAN))
    finally:
        registry._registered.clear()
    assert read_lines(tmp_path)[0]["pose"] == [13, 12, 27, 48]


def test_the_stream_stays_as_it_is() -> None:
    task = Track()
    spec = StreamSpec(width=64, height=48, rate=None, time_base=F(1, 25), pixels="yuv420p")
    assert task.describe_output(spec) == spec
    names = [stage.name for stage in task.stages(spec)]
    assert names == ["shots", "detect", "associate", "finish"]
