"""The network of HMR 2.0: a plain vision transformer, and a decoder of one token.

Goel et al., "Humans in 4D: Reconstructing and Tracking Humans with Transformers", ICCV 2023,
section 3; the backbone is that of Xu et al., "ViTPose", NeurIPS 2022. Keys and shapes are those of
the published checkpoint (389 + 114 tensors).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import isqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.errors import BadWeights
from filmgate.weights.state_dict import list_shapes

JOINTS = 23  # of the body, without the root
BETAS = 10
PADDING = 2  # pixels around the crop: the patches overlap its border
MEAN = (0.485, 0.456, 0.406)  # of ImageNet, which the crops are normalised by
STD = (0.229, 0.224, 0.225)
_PARTS = ("backbone.", "smpl_head.")
_UNUSED = ("smpl.", "discriminator.")  # parts of the published checkpoint that only train it


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a network; the defaults are those of all published ones.

    `width`, `depth`, `mlp` and `head`: of the backbone, and numbers of each of its heads. `rows`:
    of patches in a crop of 3 : 4; `patch`: pixels of a patch. `token`, `layers`, `inner`, `ahead`
    and `ff`: of the decoder, its layers, attention, numbers of each head, and feed-forward part.
    """

    width: int = 1280
    depth: int = 32
    mlp: int = 5120
    head: int = 80
    rows: int = 16
    patch: int = 16
    token: int = 1024
    layers: int = 6
    inner: int = 512
    ahead: int = 64
    ff: int = 1024

    @property
    def side(self) -> int:
        """Height of the crop in pixels; it is read as a square."""
        return self.rows * self.patch

    @property
    def margin(self) -> int:
        """Columns of the square at each side that the network does not see."""
        return self.side // 8

    @classmethod
    def of(cls, shapes: Mapping[str, Sequence[int]]) -> Shape:
        """Return the sizes of the tensors of a file. Raises BadWeights if it is not an HMR 2.0.

        No tensor shows how many heads there are: their numbers are those of the published
        networks of this width, and 8 in small ones.
        """
        try:
            places, width = shapes["backbone.pos_embed"][1:]
            patch = shapes["backbone.patch_embed.proj.weight"][2]
            depth = _count_keys("backbone.blocks.{}.norm1.weight", shapes)
            mlp = shapes["backbone.blocks.0.mlp.fc1.weight"][0]
            decoder = "smpl_head.transformer.transformer.layers"
            token = shapes["smpl_head.decpose.weight"][1]
            layers = _count_keys(decoder + ".{}.0.norm.weight", shapes)
            inner = shapes[f"{decoder}.0.1.fn.to_q.weight"][0]
            ff = shapes[f"{decoder}.0.2.fn.net.0.weight"][0]
        except (KeyError, IndexError, ValueError) as error:
            raise BadWeights(f"these are not weights of hmr2: {error} is missing or has another "
                             "shape; pass the published checkpoint") from error  # fmt: skip
        k = isqrt(max(0, (places - 1) // 12))
        head, ahead = _choose_head(width), _choose_head(inner)
        if (
            k < 1
            or 12 * k * k + 1 != places
            or min(width, inner) < 8
            or (width % head or inner % ahead or patch <= 2 * PADDING)
        ):
            raise BadWeights(f"these are not weights of hmr2: {places} positions of {width} "
                             f"numbers, patches of {patch} pixels, attention of {inner}; pass the "
                             "published checkpoint")  # fmt: skip
        return cls(width, depth, mlp, head, 4 * k, patch, token, layers, inner, ahead, ff)


def _count_keys(key: str, shapes: Mapping[str, object]) -> int:
    return next(k for k in count() if key.format(k) not in shapes)


def _choose_head(width: int) -> int:
    """Return the numbers of one head."""
    usual = Shape()
    return usual.head if width == usual.width else 8 if width % usual.ahead else usual.ahead


class Estimate(NamedTuple):
    """What the network says of each of N people, in float32.

    `orient` (N, 3, 3) and `pose` (N, 23, 3, 3): rotations of the root and of the other joints.
    `betas` (N, 10): the shape. `camera` (N, 3): scale, x and y of the weak perspective.
    """

    orient: Tensor
    pose: Tensor
    betas: Tensor
    camera: Tensor


# --- backbone -------------------------------------------------------------------------------------


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return (N, T, C) of queries, keys and values (N, heads, T, C / heads)."""
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class _Attention(nn.Module):
    def __init__(self, width: int, head: int) -> None:
        super().__init__()
        self.heads = width // head
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(_attend(q, k, v))  # type: ignore[no-any-return]


class _Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width, eps=1e-6)
        self.attn = _Attention(shape.width, shape.head)
        self.norm2 = nn.LayerNorm(shape.width, eps=1e-6)
        self.mlp = _Mlp(shape.width, shape.mlp)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class Backbone(nn.Module):
    """From crops (N, 3, 256, 192) to features (N, 1280, 16, 12)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        s, places = shape, shape.rows * shape.rows * 3 // 4
        self.rows = s.rows
        self.pos_embed = nn.Parameter(torch.zeros(1, places + 1, s.width))
        # Any: this module only gives the published name to its part
        self.patch_embed: Any = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, s.width, s.patch, stride=s.patch, padding=PADDING)
        self.blocks = nn.ModuleList(_Block(s) for _ in range(s.depth))
        self.last_norm = nn.LayerNorm(s.width, eps=1e-6)

    def forward(self, crops: Tensor) -> Tensor:
        x = self.patch_embed.proj(crops).flatten(2).transpose(1, 2)
        x = x + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        for block in self.blocks:
            x = block(x)
        return self.last_norm(x).transpose(1, 2).unflatten(2, (self.rows, -1))  # type: ignore[no-any-return]


# --- head -----------------------------------------------------------------------------------------


class _SelfAttention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.inner // shape.ahead
        self.to_qkv = nn.Linear(shape.token, 3 * shape.inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(shape.inner, shape.token))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = self.to_qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.to_out(_attend(q, k, v))  # type: ignore[no-any-return]


class _CrossAttention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.inner // shape.ahead
        self.to_kv = nn.Linear(shape.width, 2 * shape.inner, bias=False)
        self.to_q = nn.Linear(shape.token, shape.inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(shape.inner, shape.token))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        k, v = self.to_kv(context).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q = self.to_q(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        return self.to_out(_attend(q, k, v))  # type: ignore[no-any-return]


class _FeedForward(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        # the published numbers count dropout, which does nothing here
        self.net = nn.Sequential(
            nn.Linear(shape.token, shape.ff), nn.GELU(), nn.Identity(),
            nn.Linear(shape.ff, shape.token),
        )  # fmt: skip

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.net(x)  # type: ignore[no-any-return]


class _Normed(nn.Module):
    """A part of the decoder on the normalised token, added to the token."""

    def __init__(self, token: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(token)
        self.fn = fn

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return x + self.fn(self.norm(x), context)  # type: ignore[no-any-return]


class _Decoder(nn.Module):
    """From features as a sequence (N, T, width) to a token (N, token)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        s = shape
        self.pos_embedding = nn.Parameter(torch.zeros(1, 1, s.token))
        self.to_token_embedding = nn.Linear(1, s.token)
        # Any: this module only gives the published name to its part
        self.transformer: Any = nn.Module()
        self.transformer.layers = nn.ModuleList(
            nn.ModuleList(
                _Normed(s.token, part) for part in (_SelfAttention(s), _CrossAttention(s),
                                                    _FeedForward(s))
            )
            for _ in range(s.layers)
        )  # fmt: skip

    def forward(self, context: Tensor) -> Tensor:
        x = self.to_token_embedding(context.new_zeros(len(context), 1, 1)) + self.pos_embedding
        for parts in self.transformer.layers:
            for part in parts:
                x = part(x, context)
        token: Tensor = x[:, 0]
        return token


class Head(nn.Module):
    """From features (N, width, rows, columns) to an Estimate: differences from a mean person."""

    init_body_pose: Tensor
    init_betas: Tensor
    init_cam: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        pose = 6 * (1 + JOINTS)
        self.transformer = _Decoder(shape)
        self.decpose = nn.Linear(shape.token, pose)
        self.decshape = nn.Linear(shape.token, BETAS)
        self.deccam = nn.Linear(shape.token, 3)
        self.register_buffer("init_body_pose", torch.zeros(1, pose))
        self.register_buffer("init_betas", torch.zeros(1, BETAS))
        self.register_buffer("init_cam", torch.zeros(1, 3))

    def forward(self, features: Tensor) -> Estimate:
        token = self.transformer(features.flatten(2).transpose(1, 2)).float()
        pose = self.decpose(token) + self.init_body_pose
        rotations = to_rotations(pose.unflatten(1, (1 + JOINTS, 6)))
        betas = self.decshape(token) + self.init_betas
        return Estimate(rotations[:, 0], rotations[:, 1:], betas,
                        self.deccam(token) + self.init_cam)  # fmt: skip


def to_rotations(values: Tensor) -> Tensor:
    """Return rotation matrices (..., 3, 3) of six numbers each (..., 6).

    The numbers are two vectors; made orthonormal they are the first columns (Zhou et al., "On the
    Continuity of Rotation Representations in Neural Networks", CVPR 2019).
    """
    first, second = values[..., :3], values[..., 3:]
    x = functional.normalize(first, dim=-1)
    y = functional.normalize(second - (x * second).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack((x, y, torch.linalg.cross(x, y)), -1)


# --- network --------------------------------------------------------------------------------------


class Hmr2(nn.Module):
    """The network. `device` is where its parameters are made."""

    def __init__(self, shape: Shape | None = None, device: str = "cpu") -> None:
        with torch.device(device):
            super().__init__()
            self.shape = shape or Shape()
            self.backbone = Backbone(self.shape)
            self.smpl_head = Head(self.shape)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the transformers compute in."""
        return self.backbone.pos_embed.dtype

    def convert(self, device: str, dtype: torch.dtype) -> Hmr2:
        """Move the network; only the transformers change to `dtype`, so rotations are float32."""
        self.backbone.to(device, dtype)  # tensor by tensor: never all of them in float32 there
        self.smpl_head.transformer.to(device, dtype)
        self.to(device)
        return self

    def forward(self, crops: Tensor) -> Estimate:
        """Return what is in square crops (N, 3, 256, 256), normalised by MEAN and STD."""
        margin = self.shape.margin
        inner = crops[..., margin : crops.shape[-1] - margin].to(self.dtype)
        return self.smpl_head(self.backbone(inner))  # type: ignore[no-any-return]


def select_names(names: Sequence[str]) -> list[str]:
    """Return the names of a checkpoint without those of the body model and of training."""
    return [name for name in names if not name.startswith(_UNUSED) and name != "initialized"]


def has_hmr2_shapes(shapes: Mapping[str, Sequence[int]]) -> bool:
    """Return whether these are names and shapes of the tensors of an Hmr2 of any size."""
    kept = {name: tuple(shapes[name]) for name in select_names(list(shapes))}
    if not all(name.startswith(_PARTS) for name in kept):
        return False
    try:
        wanted = list_shapes(Hmr2(Shape.of(kept), "meta"))
    except (BadWeights, RuntimeError, ValueError, IndexError, TypeError):
        return False
    return wanted == kept
