"""Textures of people: depth of a mesh, what hides what, and the user's files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filmgate.errors import BadInput, BadSetting, BadWeights
from filmgate.models.families.phalp.texture import (
    FOCAL,
    Atlas,
    make_atlas,
    open_atlas,
    read_texture,
    render_depth,
)


def make_square(left: float, top: float, right: float, bottom: float, *depths: float) -> Any:
    """Return vertices (4, 3) that cover these pixels of the crop; `depths`: left and right."""
    near, far = (depths * 2)[:2]
    corners = [(left, top, near), (right, top, far), (right, bottom, far), (left, bottom, near)]
    return np.array([((x - 128) * z / FOCAL, (y - 128) * z / FOCAL, z) for x, y, z in corners])


FACES = np.array([[0, 1, 2], [0, 2, 3]])


def test_depth_is_that_of_the_nearest_face_at_each_pixel() -> None:
    vertices = np.concatenate([make_square(0, 0, 256, 256, 40), make_square(100, 60, 140, 200, 30)])
    for faces in (FACES, FACES[:, ::-1]):  # whichever way they are wound
        depth = render_depth(vertices, np.concatenate([faces, faces + 4]))
        assert depth[60:200, 100:140] == pytest.approx(30)
        depth[60:200, 100:140] = 40
        assert depth == pytest.approx(40)


def test_depth_of_a_slanted_face_is_right_in_perspective() -> None:
    depth = render_depth(make_square(0, 64, 256, 192, 20, 60), FACES)
    assert (depth[:64] == 100).all(), "there is nothing"
    assert (depth[192:] == 100).all()
    along = (np.arange(256) + 0.5) / 256
    assert depth[100] == pytest.approx(1 / ((1 - along) / 20 + along / 60))


def test_depth_of_many_odd_faces_matches_that_of_each_alone() -> None:
    chance = np.random.default_rng(1)
    screen = chance.uniform(-80, 336, (30, 2))
    z = chance.uniform(20, 60, (30, 1))
    vertices = np.concatenate([(screen - 128) * z / FOCAL, z], 1)
    vertices[7, 2] = -5  # behind the camera
    faces = np.concatenate([chance.integers(0, 30, (11, 3)), [[5, 5, 9]]])  # one without area
    alone = [render_depth(vertices, face[None]) for face in faces]
    assert render_depth(vertices, faces) == pytest.approx(np.min(alone, 0))
    assert (np.min(alone, 0) < 100).mean() > 0.5


def make_two_squares() -> tuple[Atlas, Any]:
    """Return an atlas of two squares, the left and the right half of the texture, and vertices.

    The second one is behind the first, and twice as large on each side.
    """
    y, x = np.mgrid[:256, :256] + 0.5
    u, v = (x % 128) / 128, y / 256
    upper = u > v  # the face of corners 0, 1 and 2
    first = np.stack([1 - u, u - v, v], 2)
    second = np.stack([1 - v, u, v - u], 2)
    face_of = np.where(upper, 0, 1) + np.where(x > 128, 2, 0)
    face_of[0] = -1
    places = np.where(upper[..., None], first, second)
    faces = np.concatenate([FACES, FACES + 4])
    vertices = np.concatenate(
        [make_square(96, 96, 160, 160, 30), make_square(64, 64, 192, 192, 33)]
    )
    return make_atlas(faces, face_of, places, Path("here")), vertices


def test_a_texture_shows_what_the_crop_shows_unless_it_is_hidden() -> None:
    atlas, vertices = make_two_squares()
    y, x = np.mgrid[:256, :256]
    crop = np.stack([x / 256, y / 256, np.full((256, 256), 0.5), np.ones((256, 256))])
    crop[3, :, 170:] = 0  # no part of the person
    texture = read_texture(atlas, vertices, crop)
    assert texture.shape == (4, 256, 256)
    assert (texture[3, 0] == -1).all(), "not on the body"
    assert set(np.unique(texture[3])) == {-1.0, 1.0}
    assert (texture[:3, texture[3] < 0] == 0).all()
    left, right = texture[:, 1:, :128], texture[:, 1:, 128:]
    assert (left[3] == 1).mean() > 0.98, "but at its border"
    place = 96 + 64 * (np.arange(128) + 0.5) / 128 - 0.5
    assert left[0, 100, 2:-2] * 5 == pytest.approx(place[2:-2] / 256, abs=1e-3)
    assert left[1, 2:-2, 60] * 5 == pytest.approx(
        (96 + 64 * (np.arange(3, 254) + 0.5) / 256 - 0.5) / 256, abs=1e-3
    )
    hidden = right[3, 70:180, 40:90]  # behind the first
    assert (hidden == -1).all()
    assert (right[3, :40, :96] == 1).all()
    assert (right[3, :, 110:] == -1).all(), "not on the person"


def test_what_does_not_fit_the_atlas_is_refused() -> None:
    atlas, vertices = make_two_squares()
    crop = np.ones((4, 256, 256))
    with pytest.raises(BadInput, match=r"vertices have the shape \(7, 3\), wanted 8 or more"):
        read_texture(atlas, vertices[:7], crop)
    with pytest.raises(BadInput, match=r"crop has the shape \(3, 256, 256\)"):
        read_texture(atlas, vertices, crop[:3])
    behind = read_texture(atlas, vertices * (1, 1, -1), crop)
    assert (behind[3] == -1).all()


def test_missing_and_wrong_files_of_the_user_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"holds no texture\.npz, fmap_256\.npy, bmap_256\.npy: "):
        open_atlas(tmp_path)
    face_of, places = np.full((256, 256), -1), np.zeros((256, 256, 3))
    face_of[3, 4], places[3, 4] = 1, (0.5, 0.25, 0.25)
    np.savez(tmp_path / "texture.npz", smpl_faces=FACES.astype(np.uint32))
    np.save(tmp_path / "fmap_256.npy", face_of)
    np.save(tmp_path / "bmap_256.npy", places)
    atlas = open_atlas(tmp_path)
    assert (atlas.texels.tolist(), atlas.corners.tolist()) == ([3 * 256 + 4], [[0, 2, 3]])
    np.save(tmp_path / "fmap_256.npy", face_of + 5)
    with pytest.raises(BadWeights, match="faces to 6 of 2"):
        open_atlas(tmp_path)
    np.save(tmp_path / "fmap_256.npy", face_of[:9])
    with pytest.raises(BadWeights, match=r"of the shapes \(2, 3\), \(9, 256\) and"):
        open_atlas(tmp_path)
    np.save(tmp_path / "fmap_256.npy", np.array([{"a": 1}]))
    with pytest.raises(BadWeights, match=r"fmap_256\.npy cannot be read as numbers"):
        open_atlas(tmp_path)
    (tmp_path / "texture.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(BadWeights, match=r"texture\.npz cannot be read as numbers"):
        open_atlas(tmp_path)
    np.save(tmp_path / "fmap_256.npy", face_of)
    places[3, 4] = np.nan
    with pytest.raises(BadWeights, match="holds values that are NaN"):
        make_atlas(FACES, face_of, places, tmp_path)
