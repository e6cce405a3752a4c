"""What people look like: a network that encodes textures, and the distance of two textures.

A texture is (4, S, S), the body's surface laid flat: RGB normalised and divided by 5, and 1 where
it was seen, -1 elsewhere. Rajasegaran et al., CVPR 2022, section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.core.instrumentation.torch_settings import fix_torch_settings
from filmgate.models.people.regions import Floats

CHANNELS = (4, 16, 64, 128, 256, 256, 16)
NAMES = ("conv1x", "conv2", "conv3", "conv4", "conv5", "conv5_1")
POOLED = 4  # of the convolutions are followed by a pool
ALIGN = 1 << POOLED  # sides of textures must be multiples of this
PREFIX = "encoding_head."
Texture = npt.NDArray[np.float32]
Packed = npt.NDArray[np.int16]
_UNIT = 32767  # 1.0 of a packed texture; its values are between -1 and 1
_UNSEEN = -32768


class TextureEncoder(nn.Module):
    """From textures (N, 4, S, S) to (N, 16, S/16, S/16); 4096 numbers of one with S = 256.

    Keys are those of the published file below `encoding_head`, without its decoder.
    """

    def __init__(self) -> None:
        super().__init__()
        for name, (inputs, outputs) in zip(NAMES, pairwise(CHANNELS), strict=True):
            self.add_module(name, nn.Conv2d(inputs, outputs, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        for k, layer in enumerate(self.children()):
            x = functional.relu(layer(x))
            x = functional.max_pool2d(x, 2) if k < POOLED else x
        return x


def list_encoder_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of the encoder by name."""
    with torch.device("meta"):
        return {name: tuple(x.shape) for name, x in TextureEncoder().state_dict().items()}


def select_encoder(names: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder's tensors of a file, by their names here.

    The published file has other networks too, and a prefix before `encoding_head`.
    """
    wanted = list_encoder_shapes()
    below = {name.rpartition(PREFIX)[2]: tensor for name, tensor in names.items()
             if PREFIX in name or name in wanted}  # fmt: skip
    return {name: tensor for name, tensor in below.items() if name in wanted}


# --- textures of tracks ---------------------------------------------------------------------------


def blend(old: npt.NDArray[Any], new: npt.NDArray[Any], share: float) -> Floats:
    """Return a track's texture (4, S, S) after it was seen again.

    Where both are known: `share` of the new one and the rest of the old one; else the known one.
    """
    was, seen = old[3] > 0, new[3] > 0
    mixed = np.where(was & seen, (1 - share) * old[:3] + share * new[:3].astype(np.float64), 0)
    mixed = np.where(was & ~seen, old[:3], np.where(seen & ~was, new[:3], mixed))
    return np.concatenate([mixed, np.where(was | seen, 1.0, -1.0)[None]])


def pack(texture: npt.NDArray[Any]) -> Packed:
    """Return a texture (4, S, S) as (3, S, S) of 16 bits: 393 kB for S = 256; off by 0.000016."""
    values = np.clip(texture[:3], -1, 1) * _UNIT
    return np.where(texture[3] > 0, np.rint(values), _UNSEEN).astype(np.int16)


def unpack(packed: Packed) -> Texture:
    """Return the texture (4, S, S) that `pack` has packed."""
    seen = list_seen(packed)[None]
    values = np.where(seen, packed.astype(np.float32) / _UNIT, 0)
    return np.concatenate([values, np.where(seen, 1, -1)]).astype(np.float32)


def list_seen(packed: Packed) -> npt.NDArray[np.bool_]:
    """Return which texels (S, S) of a packed texture were seen."""
    seen: npt.NDArray[np.bool_] = packed[0] != _UNSEEN
    return seen


@dataclass(frozen=True)
class TextureComparison:
    """Compares textures by their codes. `batch`: pairs at a time, about 25 MB each of side 256."""

    net: TextureEncoder
    device: str
    batch: int = 8

    def compare(self, pairs: Sequence[tuple[Packed, Packed]]) -> Floats:
        """Return how far apart the textures of each pair are (N,); 0 where no texel is in both.

        Only texels that both show are compared. The textures of one call have one size.
        """
        parts = [pairs[k : k + self.batch] for k in range(0, len(pairs), self.batch)]
        return np.concatenate([self._compare(part) for part in parts] or [np.zeros(0)])

    def compare_known(self, pairs: Sequence[tuple[Packed | None, Packed | None]]) -> Floats:
        """Return what `compare` returns, and 0 where a texture is unknown or of another size."""
        known = [(k, (old, new)) for k, (old, new) in enumerate(pairs)
                 if old is not None and new is not None and old.shape == new.shape]  # fmt: skip
        looks = np.zeros(len(pairs))
        looks[[k for k, _ in known]] = self.compare([pair for _, pair in known])
        return looks

    def _compare(self, pairs: Sequence[tuple[Packed, Packed]]) -> Floats:
        images = np.stack([[unpack(a), unpack(b)] for a, b in pairs])
        both = (images[:, :, 3:] > 0.5).all(1, keepdims=True)
        with torch.inference_mode(), fix_torch_settings():
            # a copy, which torch aligns: low bits of sums may depend on that
            x = torch.tensor(np.where(both, images, 0), device=self.device).flatten(0, 1)
            codes = self.net(x).flatten(1).unflatten(0, (-1, 2)).double() / 1000
            off: Floats = 100 * (codes[:, 0] - codes[:, 1]).square().sum(1).cpu().numpy()
        if not np.isfinite(off).all():
            raise FloatingPointError("phalp encoded a texture as values that are NaN or infinite")
        return off
