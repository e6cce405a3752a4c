"""Lay the surface of a body flat: what of it an image shows, texel by texel.

It needs files that are derived from the SMPL body model (non-commercial use) and that the user
brings. The renderer of depth is our own and runs on the CPU; unproven with those files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from filmgate.errors import BadInput, BadSetting, BadWeights
from filmgate.models.families.phalp.appearance import Texture
from filmgate.models.families.phalp.files import (
    ATLAS,
    FACE_OF_TEXEL,
    FACES,
    PLACE_IN_FACE,
    list_missing,
)
from filmgate.models.families.phalp.loading import read_numbers
from filmgate.models.people.regions import Floats

SIDE = 256  # of textures and of crops
FOCAL = 5000.0  # pixels of the crop
_FAR = 100.0  # depth where there is nothing, in metres
_NEAR = 1e-3
_TOLERANCE = 1e-4  # metres that a texel may be behind the surface
_BLOCK = 1 << 20  # pairs of a face and a pixel at a time
_MOST_VERTICES = 100_000
Indexes = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Atlas:
    """Where the texels of a texture are on a body.

    `faces` (F, 3): vertices. `texels` (N,): places of those that are on the body, row by row.
    `corners` (N, 3): the vertices around each, and `weights` (N, 3) theirs.
    """

    faces: Indexes
    texels: Indexes
    corners: Indexes
    weights: Floats


def open_atlas(folder: Path) -> Atlas:
    """Return the atlas in a folder of the user.

    Raises BadSetting if one of its three files is not there, BadWeights for other contents.
    """
    if missing := list_missing(folder):
        raise BadSetting(
            f"{folder} holds no {', '.join(missing)}: textures of people need "
            f"{', '.join(ATLAS)} of PHALP, which are derived from SMPL (for "
            "non-commercial use); put them there, or track without textures"
        )
    return make_atlas(
        read_numbers(folder / FACES, "smpl_faces"), read_numbers(folder / FACE_OF_TEXEL),
        read_numbers(folder / PLACE_IN_FACE), folder,
    )  # fmt: skip


def make_atlas(
    faces: npt.NDArray[Any], face_of: npt.NDArray[Any], places: npt.NDArray[Any], folder: Path
) -> Atlas:
    """Return the atlas of faces (F, 3), and of each texel its face, -1 for none, and weights.

    Raises BadWeights if they do not fit together; `folder` is named in it.
    """
    shapes = faces.shape[1:], face_of.shape, places.shape
    if shapes != ((3,), (SIDE, SIDE), (SIDE, SIDE, 3)) or not len(faces):
        raise BadWeights(f"{folder} holds {FACES}, {FACE_OF_TEXEL} and {PLACE_IN_FACE} of the "
                         f"shapes {faces.shape}, {face_of.shape} and {places.shape}, wanted "
                         "(F, 3), (256, 256) and (256, 256, 3)")  # fmt: skip
    triangles, owners = faces.astype(np.int64), face_of.astype(np.int64).ravel()
    most = int(triangles.max())
    if triangles.min() < 0 or most >= _MOST_VERTICES or owners.max() >= len(triangles):
        raise BadWeights(
            f"{folder} names vertices {triangles.min()} to {most} and faces to "
            f"{owners.max()} of {len(triangles)}: pass the published files"
        )
    if not np.isfinite(places).all():
        raise BadWeights(f"{PLACE_IN_FACE} in {folder} holds values that are NaN or infinite: pass "
                         "the published file")  # fmt: skip
    texels = np.flatnonzero(owners >= 0)
    weights = places.reshape(-1, 3)[texels].astype(np.float64)
    return Atlas(triangles, texels, triangles[owners[texels]], weights)


def read_texture(atlas: Atlas, vertices: npt.NDArray[Any], crop: npt.NDArray[Any]) -> Texture:
    """Return the texture (4, 256, 256) of someone, see `appearance`.

    `vertices` (V, 3): of the body, in metres before the camera of the crop. `crop` (4, 256, 256):
    normalised RGB, and 1 where the person is. A texel is seen if no other part of the body hides
    it and the crop shows the person there. Raises BadInput for other shapes.
    """
    import torch
    from torch.nn.functional import grid_sample

    if vertices.ndim != 2 or vertices.shape[1] != 3 or len(vertices) <= atlas.faces.max():
        raise BadInput(f"vertices have the shape {vertices.shape}, wanted "
                       f"{int(atlas.faces.max()) + 1} or more by 3: pass those of the body that "
                       "the atlas is of")  # fmt: skip
    if crop.shape != (4, SIDE, SIDE):
        raise BadInput(f"the crop has the shape {crop.shape}: pass (4, 256, 256)")
    body = vertices.astype(np.float64)
    points = np.einsum("nk,nka->na", atlas.weights, body[atlas.corners])
    ahead = points[:, 2] > _NEAR
    depths = np.where(ahead, points[:, 2], 1.0)
    places = points[:, :2] / depths[:, None] * (FOCAL / (SIDE / 2))  # -1 to 1 in the crop
    layers = np.concatenate([crop, render_depth(body, atlas.faces)[None]]).astype(np.float32)
    grid = torch.from_numpy(places.astype(np.float32))[None, None]
    found = grid_sample(torch.from_numpy(layers)[None], grid, align_corners=False)[0, :, 0].numpy()
    seen = ahead & (points[:, 2] <= found[4] + _TOLERANCE) & (found[3] != 0)
    texture = np.zeros((4, SIDE * SIDE), np.float32)
    texture[3] = -1
    texture[:3, atlas.texels] = np.where(seen, found[:3] / 5, 0)
    texture[3, atlas.texels] = np.where(seen, 1, -1)
    return texture.reshape(4, SIDE, SIDE)


def render_depth(vertices: Floats, faces: Indexes) -> Floats:
    """Return the depth (256, 256) of the nearest face at the centre of each pixel; 100 if none.

    Faces that reach behind the camera are left out.
    """
    faces = faces[(vertices[faces][..., 2] > _NEAR).all(1)]
    screen = vertices[:, :2] / vertices[:, 2:].clip(_NEAR) * FOCAL + SIDE / 2
    corners, nearness = screen[faces], 1 / vertices[faces][..., 2].clip(_NEAR)
    low = np.ceil(corners.min(1) - 0.5).clip(0, SIDE).astype(np.int64)
    high = (np.floor(corners.max(1) - 0.5) + 1).clip(0, SIDE).astype(np.int64)
    sizes = (high - low).clip(0)
    depth = np.full((SIDE, SIDE), _FAR)
    for part in _split(sizes.prod(1)):
        owner, x, y = _list_pixels(part, low, sizes)
        first, second, third = (corners[owner, k] for k in range(3))
        place = np.stack([x, y], 1) + 0.5
        area = _cross(second - first, third - first)
        shares = np.stack([_cross(third - second, place - second),
                           _cross(first - third, place - third),
                           _cross(second - first, place - first)], 1)  # fmt: skip
        shares = np.divide(shares, area[:, None], out=np.full_like(shares, -1.0),
                           where=area[:, None] != 0)  # fmt: skip
        inside = (shares >= 0).all(1)
        near = 1 / (shares[inside] * nearness[owner[inside]]).sum(1)
        np.minimum.at(depth, (y[inside], x[inside]), near)
    return depth


def _split(counts: Indexes) -> Iterator[Indexes]:
    """Yield the faces that cover pixels, in blocks of a million pixels or little more."""
    used = np.flatnonzero(counts)
    blocks = np.cumsum(counts[used]) // _BLOCK
    yield from np.split(used, np.flatnonzero(np.diff(blocks)) + 1)


def _list_pixels(part: Indexes, low: Indexes, sizes: Indexes) -> tuple[Indexes, Indexes, Indexes]:
    """Return each pixel of the boxes of faces: its face, x and y."""
    counts = sizes[part].prod(1)
    owner = np.repeat(part, counts)
    index = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    width = sizes[owner, 0]
    return owner, low[owner, 0] + index % width, low[owner, 1] + index // width


def _cross(a: Floats, b: Floats) -> Floats:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
