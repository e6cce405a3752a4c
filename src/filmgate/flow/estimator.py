"""Optical flow estimators, and the one without weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from filmgate.flow.dis import DisFlow


class Estimator(Protocol):
    """Estimates flow between images; each image is encoded once."""

    @property
    def device(self) -> str:
        """The device that images are moved to, before they are resized."""
        ...

    def low_memory(self) -> Estimator:
        """Return a slower estimator that needs less memory, or itself if there is none."""
        ...

    def encode(self, image: Tensor, /) -> Any:
        """Return the encoding of an image (3, H, W), RGB in [0, 1], as a plain value."""
        ...

    def reduce(self, encoded: Any, backward: bool, /) -> Any:
        """Return what the next image's flow needs; `backward`: in the other direction too."""
        ...

    def estimate(
        self, a: Any, b: Any, size: tuple[int, int], backward: bool, /
    ) -> tuple[Tensor, Tensor | None]:
        """Return (2, H, W) float32, x first, from `a` to `b`, with `backward` also the reverse."""
        ...


@dataclass(frozen=True, slots=True)
class DisEstimator:
    """Flow by dense inverse search, on the CPU, without weights."""

    flow: DisFlow = DisFlow(cell=1)
    device: str = "cpu"

    def low_memory(self) -> DisEstimator:
        """Return itself: it needs little."""
        return self

    def encode(self, image: Tensor) -> Any:
        """Return grey levels (H, W), uint8."""
        weights = image.new_tensor((0.299, 0.587, 0.114))[:, None, None]
        grey = (image * weights).sum(0).mul(255).round().clamp(0, 255)
        return np.ascontiguousarray(grey.to("cpu", torch.uint8).numpy())

    def reduce(self, encoded: Any, backward: bool) -> Any:
        """See `Estimator.kept`."""
        return encoded

    def estimate(
        self, a: Any, b: Any, size: tuple[int, int], backward: bool
    ) -> tuple[Tensor, Tensor | None]:
        """See `Estimator.flows`."""
        ab, ba = (
            torch.from_numpy(field).permute(2, 0, 1) for field in self.flow.estimate_both(a, b)
        )
        return ab, ba if backward else None
