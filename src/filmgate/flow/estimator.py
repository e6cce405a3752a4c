"""Optical flow estimators, and the one without weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from filmgate.flow.dis import DisFlow


class Estimator(Protocol):
    """Finds flow between two pictures of which it has seen each once."""

    @property
    def device(self) -> str:
        """Where it works: pictures are brought there before they are made larger or smaller."""
        ...

    def low_memory(self) -> Estimator:
        """The same, holding less and taking longer, or itself where it can't."""
        ...

    def seen(self, picture: Tensor, /) -> Any:
        """A plain value: what flow needs to know of a picture (3, H, W), RGB in [0, 1]."""
        ...

    def kept(self, seen: Any, back: bool, /) -> Any:
        """What of it is wanted for the next picture's flow; `back`: the other way too."""
        ...

    def flows(
        self, a: Any, b: Any, size: tuple[int, int], back: bool, /
    ) -> tuple[Tensor, Tensor | None]:
        """(2, H, W) float32, x first, from `a` to `b`, and with `back` from `b` to `a`."""
        ...


@dataclass(frozen=True, slots=True)
class Dis:
    """Flow by dense inverse search, on the CPU and without weights."""

    flow: DisFlow = DisFlow(cell=1)
    device: str = "cpu"

    def low_memory(self) -> Dis:
        """Itself: it holds little."""
        return self

    def seen(self, picture: Tensor) -> Any:
        """Grey levels (H, W), uint8."""
        weights = picture.new_tensor((0.299, 0.587, 0.114))[:, None, None]
        grey = (picture * weights).sum(0).mul(255).round().clamp(0, 255)
        return np.ascontiguousarray(grey.to("cpu", torch.uint8).numpy())

    def kept(self, seen: Any, back: bool) -> Any:
        """See `Estimator.kept`."""
        return seen

    def flows(
        self, a: Any, b: Any, size: tuple[int, int], back: bool
    ) -> tuple[Tensor, Tensor | None]:
        """See `Estimator.flows`."""
        ab, ba = (torch.from_numpy(field).permute(2, 0, 1) for field in self.flow.both(a, b))
        return ab, ba if back else None
