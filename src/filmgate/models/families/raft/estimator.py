"""RAFT as an estimator of optical flow: each frame is encoded once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from filmgate.models.families.raft.net import (
    CELL,
    MIN_SIDE,
    UPDATES,
    EncodedFrame,
    Raft,
    Shape,
)
from filmgate.weights.state_dict import check_tensors, list_shapes, load_tensors

BANDED_PIXELS = 1 << 20  # larger frames are encoded in bands
BAND_ROWS = 64  # of a convolution's result per band


@dataclass(frozen=True)
class RaftEstimator:
    """Flow by RAFT between images of one size; settings as in `Raft.estimate_flow`."""

    net: Raft
    updates: int = UPDATES
    volume: bool | None = None

    @property
    def device(self) -> str:
        """The device of the network."""
        return str(self.net.feature_encoder.conv.weight.device)

    def low_memory(self) -> RaftEstimator:
        """Return it without the correlation volume, unless `volume` was set."""
        return self if self.volume is not None else replace(self, volume=False)

    def encode(self, image: Tensor) -> EncodedFrame:
        """Encode an image (3, H, W), RGB in [0, 1] of any dtype.

        Sides are padded to multiples of 8, at least 128, with the last row and column.
        """
        height, width = image.shape[1:]
        padded_height, padded_width = (
            max(MIN_SIDE, -(-side // CELL) * CELL) for side in (height, width)
        )
        image = image.to(self.device, self.net.dtype)[None]
        image = functional.pad(
            image, (0, padded_width - width, 0, padded_height - height), mode="replicate"
        )
        return self.net.encode(
            image, BAND_ROWS if padded_height * padded_width >= BANDED_PIXELS else None
        )

    def reduce(self, encoded: EncodedFrame, backward: bool) -> EncodedFrame:
        """Drop the context unless flow in the other direction is needed, which starts from it."""
        return encoded if backward else EncodedFrame(encoded.features, None)

    def estimate(
        self, a: EncodedFrame, b: EncodedFrame, size: tuple[int, int], backward: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Return (2, H, W) from `a` to `b`, with `backward` also the reverse; `size` is (H, W)."""
        height, width = size
        b = b.to(self.device)  # a state from another machine is on another device
        pairs = ((a, b), (b, a)) if backward else ((a, b),)
        flows = [self.net.estimate_flow(x, y, self.updates, self.volume)[:, :height, :width]
                 for x, y in pairs]  # fmt: skip
        return flows[0], flows[1] if backward else None


def open_network(path: Path, dtype: torch.dtype, device: str) -> Raft:
    """Return the network that a file holds, converted to `dtype`. Raises BadWeights.

    Its sizes are read from the tensors, so a smaller network of the same kind opens too.
    """
    stored = load_tensors(path)
    net = Raft(Shape.of({name: tensor.shape for name, tensor in stored.items()}))
    net.load_state_dict(check_tensors(stored, list_shapes(net), path))
    return net.to(device, dtype).eval().requires_grad_(False)
