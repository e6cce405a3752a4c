"""A tiny PHALP with weights by the rule of its recorded values, and scenes of people."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from filmgate.models.families.phalp.appearance import Texture, TextureEncoder
from filmgate.models.families.phalp.predictor import Predictor, Shape
from filmgate.models.people.association import (
    Assignments,
    FrameInfo,
    PersonDetection,
    PersonTracker,
)
from tests.models.families.hmr2.tiny import draw, fill

PREDICTOR = Shape(frames=25, width=32, depth=2, attention=32, head=16, mlp=32, middle=32)
WIDTH, HEIGHT = 640, 360
Scene = Sequence[Mapping[str, PersonDetection]]  # who is where in each frame


@cache
def _fill(kind: type[Predictor] | type[TextureEncoder]) -> Mapping[str, Tensor]:
    """Return tensors by rule."""
    net = Predictor(PREDICTOR) if kind is Predictor else TextureEncoder()
    mean = {"init_body_pose": fill("mean.pose", (1, 144)), "init_cam": torch.tensor([[0.9, 0, 0]]),
            "init_betas": fill("mean.shape", (1, 10))}  # fmt: skip
    last = {name: name.rpartition(".")[2] for name in net.state_dict()}
    return {name: mean[last[name]] if last[name] in mean else fill(name, tuple(tensor.shape))
            for name, tensor in net.state_dict().items()}  # fmt: skip


def predictor() -> Predictor:
    """Return the tiny predictor of poses."""
    net = Predictor(PREDICTOR)
    net.load_state_dict(_fill(Predictor))
    return net.eval().requires_grad_(False)


def encoder() -> TextureEncoder:
    """Return the encoder of textures, which is small."""
    net = TextureEncoder()
    net.load_state_dict(_fill(TextureEncoder))
    return net.eval().requires_grad_(False)


def unused_tensors() -> dict[str, Tensor]:
    """Return the tensors of the published predictor that nothing uses."""
    width = PREDICTOR.width
    copied = Predictor(PREDICTOR).transformer1.state_dict(prefix="transformer.")
    return copied | {
        "pos_embedding": torch.zeros(10_000, width), "pe": torch.zeros(10_000, width),
        "action_head_ava.0.0.weight": torch.zeros(60, width),
        "action_head_ava.0.0.bias": torch.zeros(60),
    }  # fmt: skip


def write_files(folder: Path) -> Path:
    """Write both networks and the statistics, named and laid out as the published files are."""
    folder.mkdir(exist_ok=True)
    poses = predictor().state_dict() | unused_tensors()
    save_file({f"encoder.{name}": x.clone() for name, x in poses.items()},
              folder / "pose_predictor_40006.safetensors")  # fmt: skip
    looks = {f"hmar.encoding_head.{name}": x for name, x in encoder().state_dict().items()}
    others = {"hmar.encoding_head.t_conv5.bias": torch.zeros(256), "hmar.backbone.x": draw(1, (2,))}
    torch.save({"model": looks | others, "epoch": 3}, folder / "hmar_v2_weights.pth")
    statistics = np.stack([np.zeros((1, 226)), np.ones((1, 226))]).astype(np.float32)
    np.save(folder / "mean_std.npy", statistics)
    return folder


def write_atlas(folder: Path, vertices: int, seed: int = 5) -> None:
    """Write the files of an atlas whose faces are chance triangles of a body with `vertices`."""
    chance = np.random.default_rng(seed)
    faces = np.stack([chance.permutation(vertices)[:3] for _ in range(16)])
    y, x = np.mgrid[:256, :256]
    face_of = (y // 64) * 4 + x // 64
    face_of[::32] = -1
    np.savez(folder / "texture.npz", smpl_faces=faces.astype(np.uint32))
    np.save(folder / "fmap_256.npy", face_of)
    np.save(folder / "bmap_256.npy", chance.dirichlet((1, 1, 1), (256, 256)).astype(np.float32))


def make_texture(seed: int, side: int = 256) -> Texture:
    """Return a texture of noise of which half is known."""
    chance = np.random.RandomState(seed)
    values = (chance.rand(4, side, side) - 0.5).astype(np.float32)
    seen = chance.rand(side, side) > 0.5
    values[3] = np.where(seen, 1, -1)
    values[:3] *= seen
    return values


@cache
def make_pose(seed: int) -> dict[str, Any]:
    """Return the fields of a pose, as hmr2 gives them."""
    turns, _ = np.linalg.qr(np.random.RandomState(seed).standard_normal((24, 3, 3)))
    turns = turns.astype(np.float32)
    return {"global_orient": turns[0], "body_pose": turns[1:], "betas": np.zeros(10, np.float32),
            "camera": np.array([0.9, 0.0, 0.0], np.float32)}  # fmt: skip


def person(
    x: float, y: float = 100.0, height: float = 150.0, score: float = 0.95, **more: Any
) -> PersonDetection:
    """Return someone whose box has this left and top; `more` are fields and features."""
    return PersonDetection((x, y, height / 2, height), score, **more)


def frame(index: int, cut: bool = False) -> FrameInfo:
    return FrameInfo(index, Fraction(index, 25), WIDTH, HEIGHT, cut)


def follow(tracker: PersonTracker[Any], scene: Scene, state: Any = None) -> list[Assignments]:
    """Return who the people of each frame are."""
    state, found = tracker.start() if state is None else state, []
    for index, people in enumerate(scene):
        state, who = tracker.update(state, frame(index), list(people.values()))
        found.append(who)
    return found


def name_ids(scene: Scene, found: Iterable[Assignments]) -> dict[str, list[int]]:
    """Return the numbers that each of the people had."""
    names: dict[str, list[int]] = {}
    for people, who in zip(scene, found, strict=True):
        for name, id in zip(people, who.ids, strict=True):
            names.setdefault(name, []).append(id)
    return names
