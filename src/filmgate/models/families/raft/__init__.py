"""RAFT: dense optical flow by a network, in streaming form; its weights are a download.

Teed & Deng, ECCV 2020. Takes torchvision's published files. UNPROVEN with them: none could be
fetched where this was written. On equal weights it gives torchvision's flow within 1e-4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from filmgate.errors import BadSetting
from filmgate.models.families.raft.net import (
    CELL,
    LARGE,
    SMALL,
    SMALLEST,
    UPDATES,
    Raft,
    Seen,
    Shape,
)
from filmgate.weights.definitions import Weights
from filmgate.weights.state_dict import fitting, tensors
from filmgate.weights.store import WeightsStore

MODELS = ("raft_large", "raft_small")
BANDED = 1 << 20  # pixels from which on a frame is encoded in bands
ROWS = 64  # of a convolution's result, in a band


@dataclass(frozen=True)
class RaftFlow:
    """Flow by RAFT between pictures of one size; `updates` and `volume` as in `Raft.flow`."""

    net: Raft
    updates: int = UPDATES
    volume: bool | None = None

    @property
    def device(self) -> str:
        """The network's."""
        return str(self.net.feature_encoder.conv.weight.device)

    def low_memory(self) -> RaftFlow:
        """Pairs are looked up and never correlated beforehand."""
        return self if self.volume is not None else replace(self, volume=False)

    def seen(self, picture: Tensor) -> Seen:
        """What is kept of a picture (3, H, W), RGB in [0, 1] of any dtype: it is encoded once.

        Sides become multiples of 8 and 128 or more: the last row and column are repeated.
        """
        height, width = picture.shape[1:]
        high, wide = (max(SMALLEST, -(-side // CELL) * CELL) for side in (height, width))
        image = picture.to(self.device, self.net.dtype)[None]
        image = functional.pad(image, (0, wide - width, 0, high - height), mode="replicate")
        return self.net.seen(image, ROWS if high * wide >= BANDED else None)

    def kept(self, seen: Seen, back: bool) -> Seen:
        """Flow back starts from the context of the frame before; flow one way does not ask it."""
        return seen if back else Seen(seen.features, None)

    def flows(
        self, a: Seen, b: Seen, size: tuple[int, int], back: bool
    ) -> tuple[Tensor, Tensor | None]:
        """(2, H, W) from `a` to `b`, and with `back` from `b` to `a`; `size` is (H, W)."""
        height, width = size
        b = b.to(self.device)  # one that comes from another machine lies elsewhere
        pairs = ((a, b), (b, a)) if back else ((a, b),)
        found = [self.net.flow(x, y, self.updates, self.volume)[:, :height, :width]
                 for x, y in pairs]  # fmt: skip
        return found[0], found[1] if back else None


def weights() -> tuple[Weights, ...]:
    """Torchvision's own files, of its defaults: trained from scratch by its authors."""
    return (
        _published("raft_large", "raft_large_C_T_SKHT_V2-ff5fadd5.pth", 20.129),
        _published("raft_small", "raft_small_C_T_V2-01064c6d.pth", 3.821),
    )


def shapes(weights: Weights) -> Mapping[str, tuple[int, ...]]:
    """The tensors of the published network: 169 in the large one, 106 in the small."""
    return _shapes(Raft(LARGE if weights.name == "raft_large" else SMALL, "meta"))


def opened(path: Path, dtype: torch.dtype, device: str) -> Raft:
    """The network that a file holds, its numbers as `dtype` whatever they were. Raises BadWeights.

    Its sizes are read from the tensors, so a smaller network of the same kind opens too.
    """
    found = tensors(path)
    net = Raft(Shape.of({name: tensor.shape for name, tensor in found.items()}))
    net.load_state_dict(fitting(found, _shapes(net), path))
    return net.to(device, dtype).eval().requires_grad_(False)


def estimator(
    model: str, path: Path | None, updates: int = UPDATES, volume: bool | None = None
) -> RaftFlow:
    """RAFT with the weights called `model`, from `path` or the models folder. Raises BadWeights.

    Numbers are float16 on a GPU and float32 elsewhere; places, correlation and flow float32.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float16 if device == "cuda" else torch.float32
    net = opened(WeightsStore.here().verified(_weights(model), path), dtype, device)
    return RaftFlow(net, updates, volume)


def sha256(model: str, path: Path | None) -> str:
    """Of the file that `estimator` takes. Raises BadWeights."""
    shelf = WeightsStore.here()
    return shelf.sha256(shelf.find(_weights(model), path))


def _weights(model: str) -> Weights:
    known = {one.name: one for one in weights()}
    if model not in known:
        raise BadSetting(f"the flow is by {model!r}: wanted one of {', '.join(known)}")
    return known[model]


def _published(name: str, file: str, size_mib: float) -> Weights:
    """The size is known to a thousandth of a MiB; the name ends with digits of the sha256."""
    return Weights(
        name=name,
        family="raft",
        file=file,
        size_bytes=round(size_mib * (1 << 20)),
        off_bytes=(1 << 20) // 1000,
        sha256=file.removesuffix(".pth").rpartition("-")[2],
        licence="BSD-3-Clause",
        commercial=True,
        flag="--flow-weights",
        url=f"https://download.pytorch.org/models/{file}",
    )


def _shapes(net: Raft) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
