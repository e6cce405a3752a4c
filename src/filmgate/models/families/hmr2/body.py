"""A body of vertices that follows a pose, and its joints: linear blend skinning.

Loper et al., "SMPL: A Skinned Multi-Person Linear Model", 2015. The body itself is a file of the
user: SMPL is licensed for non-commercial use only, and nothing of it is part of Filmgate.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from filmgate.errors import BadWeights
from filmgate.storage.file_kind import describe_other_kind

Array = npt.NDArray[np.float32]
JOINTS, BETAS = 24, 10  # of SMPL, the root included
PICKED, EXTRA = 11, 19  # joints that are vertices, and joints that are sums of vertices
# the 25 joints in OpenPose's order, among the 24 of the skeleton and the picked ones
OPENPOSE = (24, 12, 17, 19, 21, 16, 18, 20, 0, 2, 5, 8, 1, 4, 7, *range(25, 35))
MOST_VERTICES, MOST_BETAS = 20_000, 400
MOST_METRES = 10.0  # of a coordinate
MOST = 1e6  # of any other number
# Names in the file, and their shapes; V is the number of vertices, B that of betas.
FIELDS: Mapping[str, tuple[int | str, ...]] = MappingProxyType({
    "v_template": ("V", 3), "shapedirs": ("V", 3, "B"), "posedirs": ("V", 3, 9 * (JOINTS - 1)),
    "J_regressor": (JOINTS, "V"), "weights": ("V", JOINTS), "kintree_table": (2, JOINTS),
    "picked_vertices": (PICKED,), "extra_regressor": (EXTRA, "V"),
})  # fmt: skip


@dataclass(frozen=True, eq=False)
class Body:
    """A body of V vertices and J joints; metres.

    `vertices` (V, 3), `shapes` (V, 3, B) by betas, `poses` (9 (J - 1), V, 3) by entries of
    rotations, `weights` (V, J) of the joints. `places` (J, 3) and `place_shapes` (J, 3, B): the
    joints at rest. `parents` (J) of the joints, -1 for the root, each before its children.
    `picked` (11) and `extra` (19, V): more joints, as vertices and as sums of vertices.
    """

    vertices: Array
    shapes: Array
    poses: Array
    weights: Array
    places: Array
    place_shapes: Array
    parents: tuple[int, ...]
    picked: npt.NDArray[np.int64]
    extra: Array

    def skin(self, betas: Array, rotations: Array) -> tuple[Array, Array]:
        """Return the vertices (V, 3) and the skeleton's joints (J, 3) of one person.

        `betas` (B or fewer) are the shape, `rotations` (J, 3, 3) those of each joint relative to
        its parent.
        """
        count = len(betas)
        rest = self.places + _sum("jab,b->ja", self.place_shapes[..., :count], betas)
        bends = (rotations[1:] - np.eye(3, dtype=np.float32)).ravel()
        shaped = self.vertices + _sum("vab,b->va", self.shapes[..., :count], betas)
        shaped += _sum("k,kva->va", bends, self.poses)
        turns, joints = self._chain(rest, rotations)
        offsets = joints - _sum("jab,jb->ja", turns, rest)
        turn = _sum("vj,jab->vab", self.weights, turns)
        return _sum("vab,vb->va", turn, shaped) + _sum("vj,ja->va", self.weights, offsets), joints

    def find_joints(self, betas: Array, rotations: Array) -> Array:
        """Return 45 joints (45, 3): 25 in OpenPose's order, 19 more, and the origin."""
        vertices, skeleton = self.skin(betas, rotations)
        known = np.concatenate([skeleton, vertices[self.picked]])
        origin = np.zeros((1, 3), np.float32)
        extra = _sum("ev,va->ea", self.extra, vertices)
        return np.concatenate([known[list(OPENPOSE)], extra, origin])

    def reduce(self) -> Body:
        """Return the body with only those vertices that joints depend on."""
        used = np.union1d(self.picked, np.flatnonzero(self.extra.any(0)))
        return replace(
            self, vertices=self.vertices[used], shapes=self.shapes[used],
            poses=np.ascontiguousarray(self.poses[:, used]), weights=self.weights[used],
            picked=np.searchsorted(used, self.picked),
            extra=np.ascontiguousarray(self.extra[:, used]),
        )  # fmt: skip

    def _chain(self, rest: Array, rotations: Array) -> tuple[Array, Array]:
        """Return the turn (J, 3, 3) and the place (J, 3) of each joint in the body's space."""
        turns, joints = np.array(rotations, np.float32), np.array(rest, np.float32)
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                turns[joint] = turns[parent] @ rotations[joint]
                joints[joint] = joints[parent] + turns[parent] @ (rest[joint] - rest[parent])
        return turns, joints


def make_body(fields: Mapping[str, npt.NDArray[Any]]) -> Body:
    """Return the body that arrays describe, named and laid out as in `FIELDS`, of any J."""
    regressor = fields["J_regressor"].astype(np.float32)
    vertices, shapes = (fields[name].astype(np.float32) for name in ("v_template", "shapedirs"))
    poses = np.moveaxis(fields["posedirs"].astype(np.float32), 2, 0)
    parents = fields["kintree_table"][0].astype(np.int64)
    return Body(
        vertices, shapes, np.ascontiguousarray(poses), fields["weights"].astype(np.float32),
        _sum("jv,va->ja", regressor, vertices), _sum("jv,vab->jab", regressor, shapes),
        (-1, *map(int, parents[1:])), fields["picked_vertices"].astype(np.int64),
        fields["extra_regressor"].astype(np.float32),
    )  # fmt: skip


def _sum(subscripts: str, *arrays: Array) -> Array:
    """Return sums of products, see `numpy.einsum`, that do not depend on a number of threads.

    Those of BLAS do.
    """
    sums: Array = np.einsum(subscripts, *arrays, dtype=np.float64).astype(np.float32)
    return sums


# --- file -----------------------------------------------------------------------------------------


def open_body(path: Path, device: str = "cpu") -> Body:
    """Return the body in an .npz file, for the CPU. Raises BadWeights.

    The file is untrusted: pickles are not read, and shapes are checked before any array is.
    """
    if kind := describe_other_kind(path):
        raise BadWeights(f"{path} is {kind}, wanted the body as an .npz file: pass the name of one")
    try:
        fields = _read_fields(path)
    except BadWeights:
        raise
    except Exception as error:  # untrusted bytes may raise anything in the readers
        why = str(error) or type(error).__name__
        raise BadWeights(f"{path} cannot be read as a body ({why:.200}): pass an .npz file with "
                         f"{', '.join(FIELDS)}") from error  # fmt: skip
    if problem := _find_problem(fields):
        raise BadWeights(f"{path} is not a body of SMPL's kind: {problem}; convert it again")
    return make_body(fields)


def _read_fields(path: Path) -> dict[str, npt.NDArray[Any]]:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        if missing := [name for name in FIELDS if f"{name}.npy" not in names]:
            raise BadWeights(f"{path} holds no {', '.join(missing)}: it needs the arrays "
                             f"{', '.join(FIELDS)}")  # fmt: skip
        shapes = dict[str, tuple[int, ...]]()
        for name in FIELDS:
            with archive.open(f"{name}.npy") as file:
                shapes[name], dtype = _read_header(file)
                if dtype.kind not in "fiu":
                    raise BadWeights(f"{path}: {name} holds {dtype}, wanted numbers: convert it "
                                     "again")  # fmt: skip
        if problem := _find_wrong_shape(shapes):
            raise BadWeights(f"{path} is not a body of SMPL's kind: {problem}; convert it again")
        fields = {}
        for name in FIELDS:
            with archive.open(f"{name}.npy") as file:
                fields[name] = np.lib.format.read_array(file, allow_pickle=False)
        return fields


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    return shape, dtype


def _find_wrong_shape(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return what is wrong with the shapes, "" if nothing is."""
    known: dict[int | str, int] = {}
    for name, wanted in FIELDS.items():
        shape = shapes[name]
        if len(shape) == len(wanted):
            for size, want in zip(shape, wanted, strict=True):
                known.setdefault(want, want if isinstance(want, int) else size)
        if len(shape) != len(wanted) or any(
            size != known[want] for size, want in zip(shape, wanted, strict=True)
        ):
            said = "x".join(str(known.get(want, want)) for want in wanted)
            return f"{name} is {'x'.join(map(str, shape)) or 'a number'}, expected {said}"
    if not 1 <= known["V"] <= MOST_VERTICES:
        return f"it has {known['V']} vertices, expected 1 to {MOST_VERTICES}"
    if not BETAS <= known["B"] <= MOST_BETAS:
        return f"it has {known['B']} shapes, expected {BETAS} to {MOST_BETAS}"
    return ""


def _find_problem(fields: Mapping[str, npt.NDArray[Any]]) -> str:
    """Return what is wrong with the numbers, "" if nothing is."""
    for name, values in fields.items():
        if not np.isfinite(values).all():
            return f"{name} has values that are NaN or infinite"
        if name != "kintree_table" and np.abs(values).max() > MOST:
            return f"{name} has values beyond {MOST:g}"
    far = float(np.abs(fields["v_template"]).max())
    if far > MOST_METRES:
        return f"a vertex is {far:.4g} m from the origin, expected less than {MOST_METRES:g} m"
    for name, sums in (("weights", fields["weights"].sum(1)),
                       ("J_regressor", fields["J_regressor"].sum(1))):  # fmt: skip
        if np.abs(sums - 1).max() > 0.01:
            return f"rows of {name} add up to {sums.min():.4g} to {sums.max():.4g}, expected 1"
    for joint, parent in enumerate(fields["kintree_table"][0].tolist()):
        if joint and (parent != int(parent) or not 0 <= parent < joint):
            return f"the parent of joint {joint} is {parent}, expected 0 to {joint - 1}"
    count = len(fields["v_template"])
    for vertex in fields["picked_vertices"].tolist():
        if vertex != int(vertex) or not 0 <= vertex < count:
            return f"picked_vertices names {vertex}, expected 0 to {count - 1}"
    return ""
