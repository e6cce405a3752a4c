"""Published networks in LiteRT; without the extra `people` or the files, tests are skipped."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filmgate.device.placement import Placement
from filmgate.errors import BadSetting, BadWeights
from filmgate.models import registry
from filmgate.models.families.blazepose import BlazePoseOptions
from filmgate.models.families.face_mesh import FaceMeshOptions
from filmgate.models.people import published
from filmgate.models.people.networks import open_network
from filmgate.models.people.tracker import Tracker
from filmgate.testing import laws, make_sample_video
from tests.models.people.real import build_real_tracker


@pytest.mark.parametrize("family", ["blazepose", "face_mesh"])
def test_no_one_is_found_in_waves(family: str) -> None:
    tracker = build_real_tracker(family)
    video = make_sample_video(4, pixels="yuv420p", width=64, height=48)
    _, outputs = tracker.step(tracker.start(video.spec, video.frames[0].position), video.frames)
    assert all(frame.extras["records"] == () for frame in outputs)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["blazepose", "face_mesh"])
def test_the_laws_hold_with_published_networks(family: str) -> None:
    video = make_sample_video(12, pixels="yuv420p", width=64, height=48)
    laws.check_stage(build_real_tracker(family), video, tolerance=0, tries=1)


@pytest.mark.parametrize("reach", ["short", "full"])
def test_faces_are_searched_by_either_network(reach: Any) -> None:
    tracker = build_real_tracker("face_mesh", FaceMeshOptions(range=reach))
    model: Any = tracker.model
    assert model.detector.network.side == {"short": 128, "full": 192}[reach]
    assert len(model.detector.anchors) == {"short": 896, "full": 2304}[reach]


def test_networks_are_loaded_once() -> None:
    build_real_tracker("blazepose")
    placement = Placement()
    one, other = (registry.build_tracker("blazepose", None, placement) for _ in range(2))
    assert isinstance(one, Tracker)
    assert isinstance(other, Tracker)
    assert one.model.network is other.model.network  # type: ignore[attr-defined]


def test_results_of_a_network_are_repeated() -> None:
    model: Any = build_real_tracker("blazepose").model
    image = np.random.default_rng(1).random((256, 256, 3), np.float32)
    first, again = model.network(image), model.network(image)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert first[0] is not again[0]


def test_other_files_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ai_edge_litert")
    broken = tmp_path / "pose_detection.tflite"
    broken.write_bytes(b"no network")
    with pytest.raises(BadWeights, match="is no network that LiteRT can run"):
        open_network(broken, ((1,),), "cpu")
    with pytest.raises(BadWeights, match="has 10 bytes"):
        registry.build_tracker("blazepose", BlazePoseOptions(weights=tmp_path))
    with pytest.raises(BadSetting, match=r"is the file .*: pass a folder with them"):
        registry.build_tracker("blazepose", BlazePoseOptions(weights=broken))
    assert capfd.readouterr().err == ""


def test_missing_files_name_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    monkeypatch.setenv("FILMGATE_MODELS", str(tmp_path))
    with pytest.raises(BadWeights, match="run filmgate models pull face_mesh, or pass --weights"):
        registry.build_tracker("face_mesh")


def test_without_litert_the_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadSetting, match=r"need LiteRT, .* run pip install .*\[people\]"):
        published.require_litert()


def test_other_models_find_no_one() -> None:
    assert registry.list_trackers() == ("blazepose", "face_mesh", "insightface")
    with pytest.raises(BadSetting, match="model is 'dis': pass one of blazepose, face_mesh"):
        registry.build_tracker("dis")


def test_a_family_that_needs_all_files_downloads_them_together() -> None:
    names = [one.name for one in registry.find_together("face_mesh")]
    assert names == ["blazeface_short", "blazeface_full", "face_mesh_points"]
    assert [one.name for one in registry.find_together("blazepose_points")] == ["blazepose_points"]
    assert [one.name for one in registry.find_together("film")] == ["film"]
    with pytest.raises(BadSetting, match="raft is a family"):
        registry.find_together("raft")
