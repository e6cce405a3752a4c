"""Every format of records: its content, its segments, and what it refuses."""

import json
import pickle
import sys
import tracemalloc
from fractions import Fraction as F
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import filmgate as fg
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.outputs import open_outputs
from filmgate.core.snapshot import Cursor, Snapshot
from filmgate.core.source_metadata import SourceMetadata
from filmgate.errors import BadSetting, FilmgateError
from filmgate.media.pixels.planes import Planes
from filmgate.media.records import track_report
from filmgate.media.records.box_reader import read_boxes
from filmgate.media.records.formats import SUFFIXES, make_format
from filmgate.media.records.person import find_coco_points
from filmgate.media.sinks import RecordOutput
from filmgate.tasks.job_config import job_from
from tests.media.records.people import Walk, find_people, make_person
from tests.videos import Video, make

COUNT = 24
SPEC = StreamSpec(width=64, height=48, rate=F(25), time_base=F(1, 25), pixels="yuv420p")


def write_all(folder: Path, suffix: str, frames: list[Frame], spec: StreamSpec = SPEC) -> Path:
    """Write the frames without a run directory."""
    sink = RecordOutput(folder / f"out{suffix}")
    with open_outputs([sink], SourceMetadata(), spec) as outputs:
        for frame in frames:
            outputs.write([frame])
        outputs.commit(Snapshot(Cursor(len(frames), len(frames)), None, (), 1))
    return sink.path


def make_frames(count: int = COUNT) -> list[Frame]:
    luma, chroma = np.full((48, 64), 90, np.uint8), np.full((24, 32), 128, np.uint8)
    image = Planes((luma, chroma, chroma), "yuv420p")
    return [Frame(n, F(n, 25), F(1, 25), image, {"records": find_people(n)}) for n in range(count)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same people in every format."""
    folder = tmp_path_factory.mktemp("written")
    for suffix in SUFFIXES:
        write_all(folder, suffix, make_frames())
    return folder


def test_in_segments_or_one_stopped_and_resumed_the_files_are_the_same(tmp_path: Path) -> None:
    """All formats in one run."""
    video = make(Video(frames=COUNT), tmp_path / "in.mp4")
    results = []
    for name, length in (("one", 24), ("stopped", 8)):
        folder, plan = tmp_path / name, fg.Plan(chunk=2, segment_frames=length)
        folder.mkdir()
        sinks = [RecordOutput(folder / f"out{suffix}") for suffix in SUFFIXES]
        job = fg.Job(fg.VideoFile(video), sinks[0], (Walk(),), more_sinks=tuple(sinks[1:]))
        events = fg.events(job, plan)
        if name == "stopped":
            while not isinstance(next(events), fg.Committed):
                pass
            events.close()
            segments = (folder / "out.jsonl.filmgate").glob("00*")
            assert {f"000001{suffix}" for suffix in SUFFIXES} < {path.name for path in segments}
            assert not any(sink.path.exists() for sink in sinks)
            events = fg.events(job, plan)
        list(events)
        assert len(list(folder.iterdir())) == len(SUFFIXES)
        results.append([sink.path.read_bytes() for sink in sinks])
    assert results[0] == results[1]


def test_mot_text_is_read_back_as_the_same_boxes(written: Path) -> None:
    lines = (written / "out.txt").read_text().splitlines()
    assert lines[0] == "2,1,2.125,4.000,12.000,30.000,0.7500,-1,-1,-1"
    one, other = read_boxes(written / "out.txt"), read_boxes(written / "out.jsonl")
    for name in ("frames", "ids", "boxes", "scores"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_coco_has_every_frame_and_seventeen_points(written: Path) -> None:
    form = json.loads((written / "out.json").read_text())
    assert [image["id"] for image in form["images"]] == list(range(COUNT))
    assert form["images"][0] | {"time": 0.0} == form["images"][0]
    assert {(i["width"], i["height"]) for i in form["images"]} == {(64, 48)}
    people = form["annotations"]
    assert [one["id"] for one in people] == list(range(1, len(people) + 1))
    assert len(people) == sum(n % 4 for n in range(COUNT))
    by_track = {one["track_id"]: one for one in people}
    assert by_track[1]["num_keypoints"] == 0
    assert by_track[1]["keypoints"] == [0] * 51
    assert by_track[2]["num_keypoints"] == 17
    # the left ankle is point 27 of BlazePose; a low score is a hidden point
    assert by_track[2]["keypoints"][45:48] == [27.0, float(by_track[2]["image_id"]), 1]
    assert by_track[3]["keypoints"][45:48] == [14.0, 14.0, 2]  # of OpenPose's 25
    (category,) = form["categories"]
    assert len(category["keypoints"]) == 17
    assert min(min(pair) for pair in category["skeleton"]) == 1


def test_points_of_an_unknown_skeleton_are_no_points_of_coco() -> None:
    person = {"skeleton": "starfish", "points": ((1.0, 1.0),) * 40}
    assert find_coco_points(person) == []
    assert find_coco_points({"skeleton": "coco", "points": ((1.0, 1.0),) * 5}) == []


def test_parquet_has_the_documented_columns(written: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra is optional")
    table = parquet.read_table(written / "out.parquet")
    assert table.schema.metadata[b"filmgate.records"] == b"1"
    rows = table.to_pylist()
    assert len(rows) == sum(n % 4 for n in range(COUNT))
    first, second, third = (row for row in rows if row["frame"] == 3)
    assert (first["track"], first["seen"], first["kind"]) == (1, True, "person")
    assert (first["time"], first["box"]) == (3 / 25, [6.125, 4.0, 12.0, 30.0])
    assert first["keypoints_2d"] is first["pose"] is first["more"] is None
    assert second["keypoints_2d"][32] == [32.0, 3.0, 0.5]
    assert second["keypoint_scores"] == [0.25] * 33
    assert json.loads(second["more"]) == {"presence": [1.0] * 33}
    assert len(third["pose"]) == 216
    assert third["shape"] == [0.5] * 10
    assert third["skeleton"] == "openpose"
    assert len(third["keypoints_3d"]) == 45
    assert sorted(json.loads(third["more"])) == ["camera", "camera_crop", "focal", "root"]


def test_parquet_keeps_records_of_faces_too(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra is optional")
    record = {"number": 7, "share": F(1, 2)}
    path = write_all(tmp_path, ".parquet", [Frame(0, F(0), F(1), (), {"records": (record,)})])
    (row,) = parquet.read_table(path).to_pylist()
    assert json.loads(row["more"]) == {"number": 7, "share": 0.5}
    assert row["track"] is None


def test_parquet_without_its_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("filmgate.media.records.parquet.find_spec", lambda name: None)
    with pytest.raises(BadSetting, match=r"needs pyarrow.*\[parquet\]"):
        write_all(tmp_path, ".parquet", make_frames(2))
    assert list(tmp_path.iterdir()) == []


class _Old(pickle.Unpickler):
    """A reader of NumPy 1, which has no numpy._core, and of nothing but NumPy."""

    def find_class(self, module: str, name: str) -> Any:
        assert (module, name) in (("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"))
        return super().find_class(module, name)


def test_phalp_pickle_has_lists_by_frame(written: Path) -> None:
    with open(written / "out.pkl", "rb") as file:
        frames = _Old(file).load()
    assert list(frames) == [f"{n:06}.jpg" for n in range(1, COUNT + 1)]
    frame = frames["000004.jpg"]
    assert frame["time"] == 3
    assert frame["tid"] == frame["tracked_ids"] == [1, 2, 3]
    np.testing.assert_array_equal(frame["bbox"][0], [6.125, 4, 12, 30])
    np.testing.assert_array_equal(frame["center"][0], [12.125, 19])
    assert frame["size"] == [[48, 64]] * 3
    assert frame["smpl"][:2] == [None, None]
    shapes = {name: value.shape for name, value in frame["smpl"][2].items()}
    assert shapes == {"global_orient": (1, 3, 3), "body_pose": (23, 3, 3), "betas": (10,)}
    assert frame["3d_joints"][2].shape == (45, 3)
    # the square around 64 x 48 pixels begins 8 above the image
    np.testing.assert_allclose(frame["2d_joints"][2][:4], [0, 8 / 64, 1 / 64, 9 / 64])
    assert frames["000001.jpg"]["tid"] == []
    assert "smpl" not in frames["000002.jpg"]
    assert frames["000010.jpg"]["tracked_time"] == [1]  # frame 9 was filled in
    assert type(frame["bbox"][0]) is np.ndarray
    frame["bbox"][0][:] = 0  # writable, as PHALP's are


class _Page(HTMLParser):
    """Counts tags and lists what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.loads += [str(value) for name, value in attrs if name in ("src", "href")]


def test_the_page_shows_each_track_and_loads_nothing(written: Path) -> None:
    text = (written / "out.html").read_text()
    page = _Page()
    page.feed(text)
    assert "3 tracks in 0.96 s of video" in text
    assert page.tags["img"] == 9  # the first, the best and the last image of three
    assert all(one.startswith(("#t", "data:image/jpeg;base64,")) for one in page.loads)
    assert "36, of which 6 were filled in" in text
    assert "http" not in text


@pytest.mark.parametrize(
    ("count", "shown"), [(60, 30), pytest.param(2000, 300, marks=pytest.mark.slow)]
)
def test_a_page_of_many_tracks_is_small_and_bounded_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, shown: int
) -> None:
    """Everyone is there for two frames; the longest tracks are shown."""
    monkeypatch.setattr(track_report, "MOST_SHOWN", shown)
    monkeypatch.setattr(track_report, "_MOST_OPEN", min(count // 4, 128))
    luma, chroma = np.full((48, 64), 90, np.uint8), np.full((24, 32), 128, np.uint8)
    image = Planes((luma, chroma, chroma), "yuv420p")
    people = [
        tuple({"kind": "person", "id": 10 * (n // 2) + k, "box": (3.0 * k, 4.0, 12.0, 30.0),
               "score": 0.5} for k in range(10))
        for n in range(count // 5)
    ]  # fmt: skip
    frames = [
        Frame(n, F(n, 25), F(1, 25), image, {"records": some}) for n, some in enumerate(people)
    ]
    write_all(tmp_path, ".html", frames[:1]).unlink()  # libraries are loaded now
    tracemalloc.start()
    path = write_all(tmp_path, ".html", frames)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    text = path.read_text()
    assert f"The longest {shown} of {count:,} tracks are shown." in text
    assert len(text) < 1_000_000
    assert peak < 8_000_000


@pytest.mark.parametrize("pixels", ["gray", "gbrp", "yuv422p10le", "yuva444p", "yuv410p"])
def test_pages_have_images_of_any_planes(tmp_path: Path, pixels: str) -> None:
    across, down = {"yuv422p10le": (2, 1), "yuv410p": (4, 4)}.get(pixels, (1, 1))
    count = {"gray": 1, "yuva444p": 4}.get(pixels, 3)
    dtype: Any = np.uint16 if "10" in pixels else np.uint8
    shapes = [(48, 64) if n in (0, 3) else (-(-48 // down), 64 // across) for n in range(count)]
    image = Planes(tuple(np.full(shape, 60, dtype) for shape in shapes), pixels)
    records = (make_person(1, 3), make_person(1, 3) | {"id": 2, "box": (90.0, 90.0, 5.0, 5.0)})
    path = write_all(tmp_path, ".html", [Frame(0, F(0), F(1), image, {"records": records})])
    page = _Page()
    page.feed(path.read_text())
    assert page.tags["img"] == 1  # the other is outside the image


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_video_without_people_gives_a_file_that_is_complete(tmp_path: Path, suffix: str) -> None:
    frames = [Frame(n, F(n), F(1), ()) for n in range(3)]
    path = write_all(tmp_path, suffix, frames)
    if suffix == ".json":
        assert json.loads(path.read_text())["annotations"] == []
    if suffix == ".pkl":
        assert len(pickle.loads(path.read_bytes())) == 3
    if suffix == ".html":
        assert "0 tracks in 3 s of video" in path.read_text()
    if suffix in (".jsonl", ".txt"):
        assert path.read_bytes() == b""


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("record", ["text", {"id": 1, "box": (1.0, "x", 2.0, 3.0)}])
def test_what_cannot_be_written_is_an_error_with_its_frame(
    tmp_path: Path, suffix: str, record: Any
) -> None:
    if suffix == ".jsonl" and record != "text":
        pytest.skip("JSON Lines keep any plain value")
    frames = [Frame(3, F(0), F(1), (), {"records": (record,)})]
    with pytest.raises(FilmgateError, match="a record of frame 3"):
        write_all(tmp_path, suffix, frames)
    assert list(tmp_path.iterdir()) == []


def test_job_files_choose_the_format_by_the_name_and_several_at_once(tmp_path: Path) -> None:
    names = [f"out{suffix}" for suffix in SUFFIXES]
    job = job_from({"input": "in.mp4", "output": names}, tmp_path)
    assert [sink.path.name for sink in job.sinks] == names
    assert all(isinstance(sink, RecordOutput) for sink in job.sinks)
    with pytest.raises(BadSetting, match=r"\.jsonl, \.parquet"):
        make_format(".xml", SPEC, "")
