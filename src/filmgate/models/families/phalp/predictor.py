"""The network that predicts poses: a transformer over 125 frames, most of them masked.

Rajasegaran et al., "On the Benefits of 3D Pose and Tracking for Human Action Recognition" (LART),
CVPR 2023, as PHALP uses it. Keys and shapes are those of the published checkpoint without the
prefix `encoder.`; it also holds a third transformer, an action head and two tables of positions,
which nothing uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.core.instrumentation.torch_settings import fix_torch_settings
from filmgate.errors import BadWeights
from filmgate.models.families.hmr2.net import to_rotations

POSE = 229  # root 9, joints 207, shape 10, camera 3
JOINTS = 24
_PAD = 1  # of both convolutions over time
_ROUNDS = 3  # of refining the pose


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a predictor; the defaults are those of LART.

    `frames`: of the sequence; `width`: of a token; `depth`: layers; `attention`: numbers of all
    heads; `head`: of one head; `mlp` and `middle`: hidden numbers of the layers and of the pose
    encoder; `kernel`: frames of the convolutions; `hidden`: of the pose head.
    """

    frames: int = 125
    width: int = 512
    depth: int = 16
    attention: int = 1024
    head: int = 64
    mlp: int = 512
    middle: int = 512
    kernel: int = 7
    hidden: int = 1024

    @classmethod
    def of(cls, shapes: Mapping[str, Sequence[int]], head: int = 64) -> Shape:
        """Return the sizes of the tensors of a file. Raises BadWeights if it is no predictor.

        No tensor shows how many numbers a head of the attention has: `head`.
        """
        try:
            _, frames, width = shapes["pos_embedding_learned1"]
            attention = shapes["transformer1.layers.0.0.fn.to_qkv.weight"][0] // 3
            mlp = shapes["transformer1.layers.0.1.fn.net.0.weight"][0]
            middle, pose = shapes["pose_shape_encoder.0.weight"]
            kernel = shapes["conv_en.weight"][2]
            hidden = shapes["smpl_head.0.fc1.weight"][0]
        except (KeyError, IndexError, ValueError) as error:
            raise BadWeights(
                f"these are not weights of the pose predictor: {error} is missing or "
                "has another shape; pass the published checkpoint"
            ) from error
        depth = next(k for k in count() if f"transformer1.layers.{k}.0.norm.weight" not in shapes)
        stride = kernel - 2 * _PAD
        if pose != POSE or attention % head or stride < 1 or frames % stride or not attention:
            raise BadWeights(f"these are not weights of the pose predictor: poses of {pose} "
                             f"numbers, {frames} frames by {stride}, attention of {attention}; "
                             "pass the published checkpoint")  # fmt: skip
        return cls(frames, width, depth, attention, head, mlp, middle, kernel, hidden)


class _Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.attention // shape.head
        self.to_qkv = nn.Linear(shape.width, 3 * shape.attention, bias=False)
        self.to_out = nn.Sequential(nn.Linear(shape.attention, shape.width))

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        q, k, v = self.to_qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if seen is None else seen[:, None, None]
        found = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.to_out(found.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class _FeedForward(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        # the published numbers count dropout, which does nothing here
        self.net = nn.Sequential(nn.Linear(shape.width, shape.mlp), nn.GELU(), nn.Identity(),
                                 nn.Linear(shape.mlp, shape.width))  # fmt: skip

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        return self.net(x)  # type: ignore[no-any-return]


class _Normed(nn.Module):
    """A part of a layer on normalised tokens, added to the tokens."""

    def __init__(self, width: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = fn

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        return x + self.fn(self.norm(x), seen)  # type: ignore[no-any-return]


class _Transformer(nn.Module):
    def __init__(self, shape: Shape, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(_Normed(shape.width, part(shape)) for part in (_Attention, _FeedForward))
            for _ in range(depth)
        )

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            for part in layer:  # type: ignore[attr-defined]  # each layer is a list of two
                x = part(x, seen)
        return x


class SmplHead(nn.Module):
    """From tokens to a body: rotations in six numbers, shape and camera, refined three times."""

    init_body_pose: Tensor
    init_betas: Tensor
    init_cam: Tensor

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        rotations = 6 * JOINTS
        self.fc1 = nn.Linear(width + rotations + 13, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.decpose = nn.Linear(hidden, rotations)
        self.decshape = nn.Linear(hidden, 10)
        self.deccam = nn.Linear(hidden, 3)
        self.register_buffer("init_body_pose", torch.zeros(1, rotations))
        self.register_buffer("init_betas", torch.zeros(1, 10))
        self.register_buffer("init_cam", torch.zeros(1, 3))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return rotations (N, 24, 3, 3), shape (N, 10) and camera (N, 3) of tokens (N, width)."""
        starts = (self.init_body_pose, self.init_betas, self.init_cam)
        pose, betas, camera = (start.expand(len(tokens), -1) for start in starts)
        for _ in range(_ROUNDS):
            x = torch.cat([tokens, pose, betas, camera], 1)
            x = functional.relu(self.fc2(functional.relu(self.fc1(x))))
            pose, betas, camera = (
                pose + self.decpose(x), betas + self.decshape(x), camera + self.deccam(x)
            )  # fmt: skip
        return to_rotations(pose.reshape(-1, JOINTS, 6)), betas, camera


class Predictor(nn.Module):
    """The network: poses of a sequence, some of them unknown, to features of all its frames."""

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__()
        s = shape or Shape()
        self.frames, stride = s.frames, s.kernel - 2 * _PAD
        self.mask_token = nn.Parameter(torch.zeros(s.width))
        self.class_token = nn.Parameter(torch.zeros(1, 1, s.width))  # joins no computation
        self.pos_embedding_learned1 = nn.Parameter(torch.zeros(1, s.frames, s.width))
        self.pos_embedding_learned2 = nn.Parameter(torch.zeros(1, s.frames, s.width))
        self.transformer1 = _Transformer(s, s.depth)
        self.transformer2 = _Transformer(s, 1)
        self.conv_en = nn.Conv1d(s.width, s.width, s.kernel, stride, _PAD)
        self.conv_de = nn.ConvTranspose1d(s.width, s.width, s.kernel, stride, _PAD)
        self.pose_shape_encoder = nn.Sequential(
            nn.Linear(POSE, s.middle), nn.ReLU(), nn.Linear(s.middle, s.width)
        )
        self.smpl_head = nn.ModuleList([SmplHead(s.width, s.hidden)])
        self.loca_head = nn.ModuleList([_make_location_head(s.width)])

    def forward(self, poses: Tensor, seen: Tensor) -> Tensor:
        """Return features (N, frames, width) of normalised poses (N, frames, 229).

        `seen` (N, frames): whether a frame's pose is known; one of them at least is.
        """
        x = torch.where(seen[..., None], self.pose_shape_encoder(poses), self.mask_token)
        x = self.transformer1(x + self.pos_embedding_learned1, seen)
        x = self.conv_de(self.conv_en(x.transpose(1, 2))).transpose(1, 2)
        return self.transformer2(x + self.pos_embedding_learned2)  # type: ignore[no-any-return]

    def read(self, features: Tensor) -> Tensor:
        """Return the poses (N, 229) of features (N, width)."""
        rotations, betas, _ = self.smpl_head[0](features)
        return torch.cat([rotations.flatten(1), betas, self.loca_head[0](features)], 1)


def _make_location_head(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
                         nn.Linear(width, 3))  # fmt: skip


def select_used(names: Mapping[str, Tensor], wanted: Mapping[str, object]) -> dict[str, Tensor]:
    """Return the tensors of a file that the network has, by its names for them.

    The published code loads what it knows and ignores the rest; so does this.
    """
    plain = {name.removeprefix("encoder."): tensor for name, tensor in names.items()}
    return {name: tensor for name, tensor in plain.items() if name in wanted}


# --- poses of tracks ------------------------------------------------------------------------------


@dataclass(frozen=True)
class PosePredictor:
    """Predicts the poses of tracks. `mean` and `std` (229,) normalise poses.

    `batch`: tracks at a time. `as_upstream`: like the published code, read the prediction of every
    track of a call at the place of the first one. That is right only if all were seen in the same
    frames; by default each is read at its own place.
    """

    net: Predictor
    mean: Tensor
    std: Tensor
    batch: int = 8
    as_upstream: bool = False

    def predict(
        self,
        times: npt.NDArray[np.float64],
        poses: npt.NDArray[np.float32],
        misses: Sequence[int],
    ) -> npt.NDArray[np.float32]:
        """Return the poses (T, 229) of T tracks, `misses` frames after each was seen last.

        `times` (T, N): frame indexes; `poses` (T, N, 229): NaN where unknown, and one of each
        track at least is known.
        """
        last = self.net.frames - 1
        slots = np.minimum(times - times[:, :1], last).astype(np.intp)
        places = np.minimum(slots[:, -1] + np.asarray(misses) + 1, last)
        if self.as_upstream:
            places = np.full_like(places, places[0])
        parts = [slice(k, k + self.batch) for k in range(0, len(times), self.batch)]
        return np.concatenate([self._predict(slots[p], poses[p], places[p]) for p in parts])

    def _predict(
        self, slots: npt.NDArray[np.intp], poses: npt.NDArray[np.float32],
        places: npt.NDArray[np.intp],
    ) -> npt.NDArray[np.float32]:  # fmt: skip
        count, length = len(slots), self.net.frames
        sequence = np.zeros((count, length, POSE), np.float32)
        seen = np.zeros((count, length), np.bool_)
        for k, (at, values) in enumerate(zip(slots, poses, strict=True)):
            known = np.isfinite(values).all(1)
            sequence[k, at[known]], seen[k, at[known]] = values[known], True
        with torch.inference_mode(), fix_torch_settings():
            normal = (torch.from_numpy(sequence).to(self.mean) - self.mean) / (self.std + 1e-10)
            features = self.net(normal, torch.from_numpy(seen).to(self.mean.device))
            wanted = features[torch.arange(count), torch.from_numpy(places)]
            found: npt.NDArray[np.float32] = self.net.read(wanted).float().cpu().numpy()
        if not np.isfinite(found).all():
            raise FloatingPointError("phalp predicted a pose that is NaN or infinite")
        return found
