"""A tiny HMR 2.0 with weights by the rule of its recorded values."""

import tempfile
from collections.abc import Sequence
from functools import cache
from math import prod, sqrt
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from filmgate.media.pixels.planes import Planes
from filmgate.models.families.hmr2.net import Hmr2, Shape
from tests.models.tiny import draw_normal

HMR2 = Shape(width=32, depth=2, mlp=128, head=8, rows=4, patch=16, token=32, layers=2, inner=16,
             ahead=8, ff=32)  # fmt: skip
BOXES = ((10.0, 5.0, 50.0, 90.0), (60.0, 20.0, 140.0, 70.0), (-20.0, -10.0, 30.0, 99.0))


def fill(name: str, shape: Sequence[int]) -> Tensor:
    """Return the values of a tensor, which depend on its name within its part."""
    numbers = draw_normal(name, shape)
    if len(shape) > 1:
        numbers = numbers / sqrt(prod(shape[1:]))
    else:
        numbers = 1 + 0.1 * numbers if name.endswith(".weight") else 0.1 * numbers
    return torch.from_numpy(numbers.astype(np.float32))


def draw(seed: int, shape: Sequence[int]) -> Tensor:
    """Return numbers of unit variance."""
    numbers = np.random.RandomState(seed).standard_normal(tuple(shape))
    return torch.from_numpy(numbers.astype(np.float32))


def hmr2_tensors() -> dict[str, Tensor]:
    """Return the tensors of the tiny network by name."""
    mean = {
        "init_body_pose": fill("mean.pose", (1, 144)),
        "init_betas": fill("mean.shape", (1, 10)),
        "init_cam": torch.tensor([[0.9, 0, 0]]),
    }
    made = {}
    for name, tensor in Hmr2(HMR2, "meta").state_dict().items():
        own = name.partition(".")[2]  # the rule's names are those within backbone and head
        made[name] = mean[own] if own in mean else fill(own, tuple(tensor.shape))
    return made


@cache
def weights() -> Path:
    """Return a temporary file of the tiny weights."""
    save_file(hmr2_tensors(), Path(_folder().name) / "hmr2_tiny.safetensors")
    return Path(_folder().name) / "hmr2_tiny.safetensors"


def make_image(width: int = 160, height: int = 100) -> Planes:
    """Return noise that is smooth enough to be sampled between pixels."""
    noise = np.random.RandomState(3).randint(0, 256, (3, height, width)).astype(np.uint8)
    return Planes(tuple(cv2.blur(plane, (5, 5)) for plane in noise), "gbrp")


def make_body_fields(joints: int, vertices: int, seed: int = 71) -> dict[str, Any]:
    """Return a body by the rule of its recorded values, each joint the child of the one before."""
    bends = 9 * (joints - 1)
    poses = 0.05 * draw(seed + 2, (bends, 3 * vertices)).numpy()
    return {
        "v_template": draw(seed, (vertices, 3)).numpy(),
        "shapedirs": 0.1 * draw(seed + 1, (vertices, 3, 10)).numpy(),
        "posedirs": poses.reshape(bends, vertices, 3).transpose(1, 2, 0),
        "J_regressor": _share(draw(seed + 3, (joints, vertices))),
        "weights": _share(2 * draw(seed + 4, (vertices, joints))),
        "kintree_table": np.array([[2**32 - 1, *range(joints - 1)], range(joints)], np.uint32),
        "picked_vertices": np.arange(11) % vertices,
        "extra_regressor": np.eye(19, vertices)[:, ::-1],
    }


def _share(numbers: Tensor) -> Any:
    """Return positive rows that add up to 1."""
    grown = np.exp(numbers.numpy())
    return grown / grown.sum(1, keepdims=True)


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="filmgate_tiny")
