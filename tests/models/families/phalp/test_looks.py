"""How people look, from images: geometry, missing files, and runs of the complete chain."""

import json
from dataclasses import replace
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from filmgate.cli.main import main
from filmgate.core.chain import Chain
from filmgate.core.frame import Frame, StreamSpec
from filmgate.errors import BadWeights, Exit
from filmgate.media.pixels.planes import Planes
from filmgate.media.records.record_file import RecordFile
from filmgate.models.families.hmr2 import Hmr2Options
from filmgate.models.families.hmr2.body import make_body
from filmgate.models.families.hmr2.pose import PoseEstimator, open_network
from filmgate.models.families.phalp import PhalpOptions
from filmgate.models.families.phalp.looks import Looks
from filmgate.models.families.phalp.texture import FOCAL, make_atlas
from filmgate.models.people.association import PersonDetection
from filmgate.tasks.track import Track
from filmgate.testing import SampleVideo, check_cut, check_memory, check_sleep
from tests.models.families.hmr2.tiny import hmr2_tensors, make_body_fields, weights
from tests.models.families.phalp import tiny as tiny_phalp

WIDE, HIGH, VERTICES = 240, 96, 60


# --- geometry -------------------------------------------------------------------------------------


def make_looks(vertices: Any) -> Looks:
    """Return what reads the looks of a body that is one square of two faces and does not bend."""
    fields = make_body_fields(24, 4) | {"v_template": np.asarray(vertices, np.float32)}
    for name in ("shapedirs", "posedirs"):
        fields[name] = np.zeros_like(fields[name])
    fields |= {"picked_vertices": np.zeros(11, int), "extra_regressor": np.zeros((19, 4))}
    y, x = np.mgrid[:256, :256] + 0.5
    u, v = x / 256, y / 256
    places = np.where((u > v)[..., None], np.stack([1 - u, u - v, v], 2),
                      np.stack([1 - v, u, v - u], 2))  # fmt: skip
    atlas = make_atlas(np.array([[0, 1, 2], [0, 2, 3]]), np.where(u > v, 0, 1), places, Path())
    network = open_network(weights(), torch.float32, "cpu")
    return Looks(atlas, PoseEstimator(network, "cpu", 1, make_body(fields)))


def describe(depth: float) -> dict[str, Any]:
    """Return the fields of someone upright at this depth, whose crop has them in the middle."""
    eye = np.eye(3, dtype=np.float32)
    return {"global_orient": eye, "body_pose": np.stack([eye] * 23),
            "betas": np.zeros(10, np.float32),
            "camera_crop": np.array([0, 0, depth], np.float32)}  # fmt: skip


def test_a_texture_shows_the_part_of_the_image_that_the_body_covers() -> None:
    y, x = np.mgrid[:HIGH, :WIDE]
    green, blue, red = (plane.astype(np.uint8) for plane in (2 * y, 0 * x, x))
    image = Planes((green, blue, red), "gbrp")
    depth, half = 50.0, 50.0  # the square covers 100 pixels of the crop of 256
    corner = half * depth / FOCAL
    looks = make_looks([(x, y, 0) for x, y in (
        (-corner, -corner), (corner, -corner), (corner, corner), (-corner, corner))])  # fmt: skip
    person = PersonDetection((100.0, 16.0, 48.0, 64.0), 0.9, describe(depth))
    texture = looks.read(image, person)
    zoom = 64 / 256  # pixels of the image to one of the crop, whose centre is that of the box
    across = (np.arange(256) + 0.5) / 256 * 2 * half - half
    inside = texture[3] > 0
    assert inside.mean() > 0.97
    red, green = (np.where(inside, texture[k], np.nan) for k in (0, 1))
    wanted_x, wanted_y = 124 + across * zoom - 0.5, 2 * (48 + across * zoom - 0.5)
    mean, std = np.array([0.485, 0.456]), np.array([0.229, 0.224])
    assert np.nanmean(red, 0) * 5 * std[0] + mean[0] == pytest.approx(wanted_x / 255, abs=0.01)
    assert np.nanmean(green, 1) * 5 * std[1] + mean[1] == pytest.approx(wanted_y / 255, abs=0.01)
    narrow = replace(person, box=(118.0, 16.0, 12.0, 64.0))
    shown = looks.read(image, narrow)[3] > 0
    assert shown.mean() == pytest.approx(12 / 25, abs=0.03), "only what is in the box"
    edge = replace(person, box=(-24.0, 16.0, 48.0, 64.0))
    assert (looks.read(image, edge)[3] > 0).mean() == pytest.approx(0.5, abs=0.02)
    one, other = looks(image, [person, PersonDetection((0.0, 0.0, 9.0, 9.0), 0.5)])
    assert one.features["texture"].shape == (4, 256, 256)
    assert other.features == {}, "without a pose"


# --- files and settings ---------------------------------------------------------------------------


def make_fields(vertices: int) -> dict[str, Any]:
    """Return a small body, which covers a third of a crop."""
    fields = make_body_fields(24, vertices)
    return fields | {name: fields[name] * 0.3 for name in ("v_template", "shapedirs")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with all files: hmr2.safetensors, body.npz, and those of PHALP in phalp."""
    tensors = hmr2_tensors()
    for name in ("weight", "bias"):
        tensors[f"smpl_head.deccam.{name}"] *= 0.02  # else people are outside of their boxes
    save_file(tensors, tmp_path / "hmr2.safetensors")
    np.savez(tmp_path / "body.npz", **make_fields(VERTICES))
    tiny_phalp.write_atlas(tiny_phalp.write_files(tmp_path / "phalp"), VERTICES)
    return tmp_path


def make_task(folder: Path, **more: Any) -> Track:
    options = PhalpOptions(weights=folder / "phalp", head_size=16, n_init=2)
    pose = Hmr2Options(weights=folder / "hmr2.safetensors", body=folder / "body.npz")
    settings = {"pose": "hmr2", "pose_options": pose, "tracker": "phalp",
                "tracker_options": options, "device": "cpu"}  # fmt: skip
    return Track(**{**settings, **more})


def get_names(task: Track) -> list[str]:
    return [stage.name for stage in task.stages(make_spec())]


def test_looks_are_read_if_all_files_are_there_and_what_is_missing_is_said(folder: Path) -> None:
    task = make_task(folder)
    assert task.warnings == ()
    assert get_names(task) == ["shots", "detect", "pose", "looks", "associate", "finish"]
    files = {path.name for path in task.find_weight_files()}
    assert {"body.npz", "texture.npz", "fmap_256.npy", "bmap_256.npy"} <= files
    plain = {"shots", "detect", "pose", "associate", "finish"}
    boneless = make_task(folder, pose_options=Hmr2Options(weights=weights()))
    alone = make_task(folder, pose=None, pose_options=None)
    for other in (boneless, alone):
        said = " ".join(other.warnings)
        assert "followed without looks: no body is known: pass --pose hmr2" in said
        assert set(get_names(other)) <= plain
    (folder / "phalp" / "bmap_256.npy").unlink()
    said = " ".join(task.warnings)
    assert "the folder holds no bmap_256.npy: put those of PHALP there" in said
    assert set(get_names(task)) == plain
    assert "texture.npz" not in {path.name for path in task.find_weight_files()}
    (folder / "phalp" / "hmar_v2_weights.pth").unlink()
    assert task.warnings == (), "looks were not wanted"


def test_an_atlas_of_another_body_is_refused_before_the_run(folder: Path) -> None:
    np.savez(folder / "body.npz", **make_fields(50))
    with pytest.raises(BadWeights, match=r"the body has 50 vertices, and the faces .* name number"):
        make_task(folder).stages(make_spec())


# --- runs -----------------------------------------------------------------------------------------


def make_spec() -> StreamSpec:
    return StreamSpec(width=WIDE, height=HIGH, rate=F(25), time_base=F(1, 25), pixels="yuv420p")


def draw(n: int, cut: int) -> tuple[Planes, list[tuple[float, float, float, float]]]:
    """Return frame n and its boxes: two people in patterns of their own, who change places."""
    chance = np.random.default_rng(3 if n < cut else 4)
    scenery = cv2.resize(chance.integers(20, 230, (6, 15), np.uint8), (WIDE, HIGH))
    planes: list[Any] = [
        scenery,
        *(np.full((HIGH // 2, WIDE // 2), 128, np.uint8) for _ in range(2)),
    ]
    boxes = []
    for k in range(2):
        left = 20 + 130 * (k if n < cut else 1 - k)
        pattern = np.random.default_rng(10 + k).integers(0, 256, (3, 16, 12), np.uint8)
        for plane, colours in zip(planes, pattern, strict=True):
            zoom = WIDE // plane.shape[1]
            part = cv2.resize(colours, (48 // zoom, 64 // zoom), interpolation=cv2.INTER_NEAREST)
            plane[16 // zoom : 80 // zoom, left // zoom : (left + 48) // zoom] = part
        boxes.append((float(left), 16.0, 48.0, 64.0))
    return Planes((planes[0], planes[1], planes[2]), "yuv420p"), boxes


def write_video(folder: Path, count: int, cut: int) -> Path:
    lines = []
    with av.open(str(folder / "in.mkv"), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDE, HIGH, "yuv420p"
        for n in range(count):
            planes, boxes = draw(n, cut)
            lines += [json.dumps({"frame": n, "box": box, "score": 0.9}) for box in boxes]
            frame = av.VideoFrame.from_ndarray(
                np.concatenate([plane.ravel() for plane in planes.arrays]).reshape(-1, WIDE),
                format="yuv420p",
            )
            frame.pts, frame.time_base = n, F(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    (folder / "boxes.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "in.mkv"


@pytest.mark.slow
@pytest.mark.parametrize("known", [False, True])
def test_people_who_change_places_at_a_cut_keep_their_numbers_by_their_looks(
    folder: Path, known: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_video(folder, 10, 5)
    words = ["track", "in.mkv", "out.jsonl", "--boxes", "boxes.jsonl", "--pose", "hmr2",
             "--pose-weights", "hmr2.safetensors", "--tracker", "phalp",
             "--tracker-weights", "phalp",
             "--tracker-head-size", "16", "--tracker-n-init", "2", "--device", "cpu",
             "--in-process", "--quiet"]  # fmt: skip
    words += ["--pose-body", "body.npz"] if known else []
    monkeypatch.chdir(folder)
    assert main(words) == Exit.DONE
    said = " ".join(capsys.readouterr().err.split())
    assert ("people are followed without looks" in said) != known
    lines = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    where = {(line["frame"], line["box"][0]): line["id"] for line in lines}
    assert [where[4, 20.0], where[4, 150.0]] == [1, 2]
    assert len(lines) == 20
    assert all("texture" not in line for line in lines)
    after = {(where[n, 20.0], where[n, 150.0]) for n in range(5, 10)}
    assert after == ({(2, 1)} if known else {(4, 3)}), "they changed places"


@pytest.mark.slow
def test_the_chain_with_looks_keeps_the_laws(folder: Path) -> None:
    frames, lines = [], []
    for n in range(12):
        image, boxes = draw(n, 7)
        lines += [json.dumps({"frame": n, "box": box, "score": 0.9}) for box in boxes]
        frames.append(Frame(n, F(n, 25), F(1, 25), image))
    (folder / "boxes.jsonl").write_text("\n".join(lines) + "\n")
    task = make_task(folder, boxes=RecordFile(folder / "boxes.jsonl"))
    video = SampleVideo(make_spec(), tuple(frames))
    chain = Chain(task.stages(video.spec))
    check_memory(chain, video)
    check_cut(chain, video, [1, 6, 9], 2)
    check_sleep(chain, video, [4, 8], range(4))  # which cuts as well
