"""The body that follows a pose: recorded values of skinning, joints, and files that are hostile."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filmgate.errors import BadWeights
from filmgate.models import registry
from filmgate.models.families.hmr2 import Hmr2Options
from filmgate.models.families.hmr2.body import OPENPOSE, Body, make_body, open_body
from tests.models.families.hmr2.tiny import BOXES, draw, make_body_fields, make_image, weights

ROOT = Path(__file__).parents[4]
EYE = np.eye(3, dtype=np.float32)


def turn(axis: str, degrees: float) -> Any:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turns = {"x": [[1, 0, 0], [0, c, -s], [0, s, c]], "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]]}
    return np.array(turns[axis], np.float32)


@pytest.fixture
def body() -> Body:
    return make_body(make_body_fields(24, 60))


@pytest.mark.parametrize(
    ("turns", "first", "last", "joint", "total"),
    [
        ([EYE] * 3, (-0.315665, -1.047153, -0.435253), (0.259554, -0.26982, 0.715065),
         (0.191735, -0.723103, 0.375912), -3.13298),
        ([turn("z", 90), EYE, EYE], (0.401471, -1.15074, -0.435253),
         (-0.375863, -0.575521, 0.715065), None, -4.05359),
        ([turn("z", 30), turn("x", 40), turn("z", -20)], (-0.43843, -0.669157, -0.284588),
         (0.252525, -0.453616, 0.889724), (0.189331, -0.710213, 0.356867), -1.43626),
    ],
)  # fmt: skip
def test_skinning_gives_the_recorded_values(
    turns: Any, first: Any, last: Any, joint: Any, total: float
) -> None:
    betas = 0.5 * draw(76, (1, 10)).numpy()[0]
    vertices, joints = make_body(make_body_fields(3, 8)).skin(betas, np.stack(turns))
    assert vertices[0] == pytest.approx(first, abs=1e-5)
    assert vertices[7] == pytest.approx(last, abs=1e-5)
    assert float(vertices.sum()) == pytest.approx(total, abs=1e-4)
    if joint:
        assert joints[2] == pytest.approx(joint, abs=1e-5)


def test_joints_are_in_the_documented_order(body: Body) -> None:
    betas, turns = draw(1, (10,)).numpy(), np.stack([turn("x", 7 * n) for n in range(24)])
    vertices, skeleton = body.skin(betas, turns)
    joints = body.find_joints(betas, turns)
    assert len(OPENPOSE) == 25
    assert joints.shape == (45, 3)
    np.testing.assert_allclose(joints[1], skeleton[12], atol=1e-5)  # neck
    np.testing.assert_allclose(joints[0], vertices[body.picked[0]], atol=1e-5)  # nose
    np.testing.assert_allclose(joints[15], vertices[body.picked[1]], atol=1e-5)
    np.testing.assert_allclose(joints[25:44], vertices[::-1][:19], atol=1e-5)
    assert not joints[44].any()


_SKIN = """
import hashlib, numpy as np
from filmgate.models.families.hmr2.body import Body
rng = np.random.default_rng(1)
def draw(*shape):
    return rng.standard_normal(shape).astype(np.float32)
body = Body(draw(6890, 3), draw(6890, 3, 10), draw(207, 6890, 3), draw(6890, 24), draw(24, 3),
            draw(24, 3, 10), tuple(range(-1, 23)), np.arange(11), draw(19, 6890))
vertices, _ = body.skin(draw(10), draw(24, 3, 3))
print(hashlib.sha256(vertices.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_vertices_depend_on_no_number_of_threads() -> None:
    """BLAS adds in another order for each number of threads."""
    hashes = set()
    for count in ("1", "2", "3"):
        environment = os.environ | {"OPENBLAS_NUM_THREADS": count}
        done = subprocess.run([sys.executable, "-c", _SKIN], env=environment, cwd=ROOT,
                              capture_output=True, text=True, check=True)  # fmt: skip
        hashes.add(done.stdout)
    assert len(hashes) == 1


def test_joints_need_only_some_vertices() -> None:
    fields = make_body_fields(24, 60)
    fields["picked_vertices"] = np.arange(30, 41)[::-1]
    fields["extra_regressor"][:, :30] = 0
    body, betas = make_body(fields), draw(1, (10,)).numpy()
    turns = np.stack([turn("z", 5 * n) for n in range(24)])
    small = body.reduce()
    assert len(small.vertices) == 30
    wanted = body.find_joints(betas, turns)
    np.testing.assert_allclose(small.find_joints(betas, turns), wanted, atol=1e-5)


def test_people_get_joints_from_a_file(tmp_path: Path, body: Body) -> None:
    np.savez_compressed(tmp_path / "body.npz", **make_body_fields(24, 60))
    options = Hmr2Options(weights=weights(), body=tmp_path / "body.npz")
    assert list(registry.find_weight_files("hmr2", options)) == [weights(), tmp_path / "body.npz"]
    for person in registry.build_pose("hmr2", options)(make_image(), BOXES):
        turns = np.concatenate([person["global_orient"][None], person["body_pose"]])
        wanted = body.find_joints(person["betas"], turns)
        np.testing.assert_allclose(person["joints_3d"], wanted, atol=1e-4)
        assert person["joints_2d"].shape == (45, 2)
        np.testing.assert_allclose(person["joints_2d"][44], person["root"])


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": None}, "holds no weights"),
        ({"v_template": np.zeros((60, 2))}, "v_template is 60x2, expected 60x3"),
        ({"posedirs": np.zeros((60, 3, 18))}, "posedirs is 60x3x18, expected 60x3x207"),
        ({"J_regressor": np.zeros((24, 61))}, "J_regressor is 24x61, expected 24x60"),
        ({"shapedirs": np.zeros((60, 3, 4))}, "it has 4 shapes"),
        ({"v_template": np.full((60, 3), np.nan)}, "NaN"),
        ({"v_template": np.full((60, 3), 900.0)}, "a vertex is 900 m"),
        ({"shapedirs": np.full((60, 3, 10), 1e30)}, "shapedirs has values beyond"),
        ({"weights": np.ones((60, 24))}, "rows of weights add up to 24"),
        ({"picked_vertices": np.full(11, 60)}, "picked_vertices names 60, expected 0 to 59"),
        ({"picked_vertices": np.full(11, -1)}, "picked_vertices names -1"),
        ({"kintree_table": np.tile(np.arange(24), (2, 1))}, "the parent of joint 1 is 1"),
        ({"v_template": np.full((60, 3), "far")}, "wanted numbers"),
        ({"v_template": np.array([[{}]], object)}, "wanted numbers"),
    ],
)
def test_another_body_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    fields = {**make_body_fields(24, 60), **change}
    path = tmp_path / "body.npz"
    np.savez(path, **{name: value for name, value in fields.items() if value is not None})
    with pytest.raises(BadWeights, match=said):
        open_body(path)


def test_an_array_that_only_claims_to_be_large_is_not_read(tmp_path: Path) -> None:
    """Its header is read, and nothing is allocated for it."""
    path, header = tmp_path / "body.npz", io.BytesIO()
    claim = {"descr": "<f8", "fortran_order": False, "shape": (10**7, 3)}
    np.lib.format.write_array_header_1_0(header, claim)
    np.savez(path, **{name: value for name, value in make_body_fields(24, 60).items()
                      if name != "v_template"})  # fmt: skip
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("v_template.npy", header.getvalue())
    with pytest.raises(BadWeights, match="60x3x10, expected 10000000x3"):
        open_body(path)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 no archive", b"\x80\x04}."])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "body.npz").write_bytes(data)
    with pytest.raises(BadWeights, match="cannot be read as a body"):
        open_body(tmp_path / "body.npz")


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "body.npz"
    np.savez_compressed(path, **make_body_fields(24, 60))
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 64] = bytes(64)
    path.write_bytes(data)
    with pytest.raises(BadWeights, match="cannot be read as a body"):
        open_body(path)
