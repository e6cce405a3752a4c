"""The stage that adds optical flow to each frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.stage import Reach, frames_long
from filmgate.errors import Unsupported
from filmgate.flow.estimator import Estimator
from filmgate.flow.warp_torch import places, warp
from filmgate.media.pixels import rgb
from filmgate.media.pixels.planes import Planes

# Forward and backward flow may differ by this share of their lengths, and by this, both squared.
_APART = (0.01, 0.5)


@dataclass(frozen=True, slots=True)
class Last:
    """What is known of the frame before: its (H, W), and what the estimator keeps of it."""

    size: tuple[int, int]
    seen: Any


@dataclass(frozen=True)
class Flow:
    """Puts `flow_prev` and `occluded` on every frame but the first of a shot; pictures stay.

    `flow_prev` (2, H, W), float32, pixels: what is seen at (x, y) was at (x + flow_prev[0, y, x],
    y + flow_prev[1, y, x]) in the frame before. `occluded` (H, W), bool: it was not to be seen
    there, by forward-backward consistency. A `scale` above 1 enlarges the frame first (bicubic),
    and both are of that picture. Images are Planes, or tensors (3, H, W) in [0, 1].
    """

    estimator: Estimator
    scale: Fraction = Fraction(1)
    occlusion: bool = True
    name: str = "flow"

    def low_memory(self) -> Flow:
        """With RAFT: pairs are looked up and never correlated beforehand."""
        lean = self.estimator.low_memory()
        return self if lean is self.estimator else replace(self, estimator=lean)

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(frames_long(1, spec), Fraction(0))

    def output(self, spec: StreamSpec) -> StreamSpec:
        if spec.pixels != "rgb":
            rgb.rgb().output(spec)  # alpha, HDR: refused with words before the first frame
        return spec

    def start(self, spec: StreamSpec, first: Position) -> tuple[Last, ...]:
        return ()

    def step(
        self, state: tuple[Last, ...], frames: Sequence[Frame]
    ) -> tuple[tuple[Last, ...], list[Frame]]:
        made = []
        with torch.no_grad():
            for frame in frames:
                last = () if frame.extras.get("cut") else state
                frame, now = self._told(frame, last)
                made.append(frame)
                state = (now,)
        return state, made

    def finish(self, state: tuple[Last, ...]) -> tuple[None, list[Frame]]:
        return None, []

    def _told(self, frame: Frame, last: tuple[Last, ...]) -> tuple[Frame, Last]:
        picture = _rgb(frame.image, self.estimator.device)
        height, width = picture.shape[1:]
        size, seen = (height, width), self.estimator.seen(scaled(picture, self.scale))
        now = Last(size, self.estimator.kept(seen, self.occlusion))
        del picture
        if not last:
            return frame, now
        if last[0].size != size:
            raise Unsupported(f"frame {frame.index} is {width}x{height} and the one before "
                              f"{last[0].size[1]}x{last[0].size[0]}: flow wants one size, so "
                              "split the film there")  # fmt: skip
        looked = _size(size, self.scale)
        flow, back = self.estimator.flows(seen, last[0].seen, looked, self.occlusion)
        whole = max(size, looked)
        told: dict[str, object] = {"flow_prev": enlarged(flow, whole)}
        if back is not None:
            hidden = occluded(flow, back)[None, None].float()
            told["occluded"] = functional.interpolate(hidden, whole, mode="nearest")[0, 0] > 0
        return frame.learnt(**told), now


def scaled(picture: Tensor, scale: Fraction) -> Tensor:
    """The picture (3, H, W) at `scale`, sides rounded up; if that is another size, as float32.

    Smaller ones are means of what they cover, larger ones bicubic and not clamped.
    """
    size = _size((picture.shape[1], picture.shape[2]), scale)
    if size == tuple(picture.shape[1:]):
        return picture
    whole = picture[None].float()
    if scale > 1:
        return functional.interpolate(whole, size, mode="bicubic", align_corners=False)[0]
    return functional.interpolate(whole, size, mode="bilinear", antialias=True)[0]


def enlarged(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """Flow (2, h, w) in its own pixels as flow (2, H, W) in pixels of a picture of (H, W)."""
    height, width = size
    if tuple(flow.shape[1:]) == size:
        return flow.contiguous()
    whole = functional.interpolate(flow[None], size, mode="bilinear", align_corners=False)[0]
    whole[0] *= width / flow.shape[2]
    whole[1] *= height / flow.shape[1]
    return whole


def occluded(flow: Tensor, back: Tensor) -> Tensor:
    """(H, W) bool: what `flow` (2, H, W) leads to, `back` does not lead back from; or outside.

    Sundaram, Brox & Keutzer, "Dense Point Trajectories by GPU-Accelerated Large Displacement
    Optical Flow", ECCV 2010, section 4.
    """
    height, width = flow.shape[1:]
    x, y = places(height, width, flow.device) + flow
    outside = (x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)
    returned = warp(back[None], flow[None])[0]
    share, more = _APART
    lengths = flow.square().sum(0) + returned.square().sum(0)
    apart = (flow + returned).square().sum(0) > share * lengths + more
    hidden: Tensor = outside | apart
    return hidden


def _size(size: tuple[int, int], scale: Fraction) -> tuple[int, int]:
    return ceil(size[0] * scale), ceil(size[1] * scale)


def _rgb(image: object, device: str) -> Tensor:
    if isinstance(image, Planes):
        return rgb.to_rgb(image, device=device)
    if isinstance(image, Tensor) and image.dim() == 3 and image.shape[0] == 3:
        return image.to(device)
    raise Unsupported(f"flow was looked for in {type(image).__name__}: planes are wanted, or a "
                      "tensor (3, H, W) in [0, 1]")  # fmt: skip
