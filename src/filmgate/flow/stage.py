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
from filmgate.core.stage import Reach, frames_to_seconds
from filmgate.errors import Unsupported
from filmgate.flow.estimator import Estimator
from filmgate.flow.warp_torch import make_pixel_grid, warp
from filmgate.media.pixels import rgb
from filmgate.media.pixels.planes import Planes

# Forward and backward flow may differ by this share of their lengths plus this, both squared.
_TOLERANCE = (0.01, 0.5)


@dataclass(frozen=True, slots=True)
class PreviousFrame:
    """The previous frame: its (H, W), and the estimator's encoding of it."""

    size: tuple[int, int]
    encoding: Any


@dataclass(frozen=True)
class Flow:
    """Adds `flow_prev` and `occluded` to every frame but the first of a shot; images stay.

    `flow_prev` (2, H, W), float32, pixels: the content of (x, y) was at (x + flow_prev[0, y, x],
    y + flow_prev[1, y, x]) in the previous frame. `occluded` (H, W), bool: it was not visible
    there, by forward-backward consistency. A `scale` above 1 enlarges the frame first (bicubic),
    and both are of that size. Images are Planes, or tensors (3, H, W) in [0, 1].
    """

    estimator: Estimator
    scale: Fraction = Fraction(1)
    occlusion: bool = True
    name: str = "flow"

    def low_memory(self) -> Flow:
        """Return the stage with an estimator that needs less memory, or itself."""
        estimator = self.estimator.low_memory()
        return self if estimator is self.estimator else replace(self, estimator=estimator)

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(frames_to_seconds(1, spec), Fraction(0))

    def output(self, spec: StreamSpec) -> StreamSpec:
        if spec.pixels != "rgb":
            rgb.convert_to_rgb().output(spec)  # raises for alpha and HDR
        return spec

    def start(self, spec: StreamSpec, first: Position) -> tuple[PreviousFrame, ...]:
        return ()

    def step(
        self, state: tuple[PreviousFrame, ...], frames: Sequence[Frame]
    ) -> tuple[tuple[PreviousFrame, ...], list[Frame]]:
        outputs = []
        with torch.no_grad():
            for frame in frames:
                last = () if frame.extras.get("cut") else state
                frame, now = self._add_flow(frame, last)
                outputs.append(frame)
                state = (now,)
        return state, outputs

    def finish(self, state: tuple[PreviousFrame, ...]) -> tuple[None, list[Frame]]:
        return None, []

    def _add_flow(
        self, frame: Frame, last: tuple[PreviousFrame, ...]
    ) -> tuple[Frame, PreviousFrame]:
        image = _to_rgb(frame.image, self.estimator.device)
        height, width = image.shape[1:]
        size, encoded = (height, width), self.estimator.encode(scale_image(image, self.scale))
        now = PreviousFrame(size, self.estimator.reduce(encoded, self.occlusion))
        del image
        if not last:
            return frame, now
        if last[0].size != size:
            raise Unsupported(f"frame {frame.index} is {width}x{height} and the previous one "
                              f"{last[0].size[1]}x{last[0].size[0]}: flow needs one size: "
                              "split the video there")  # fmt: skip
        scaled = _scale_size(size, self.scale)
        flow, back = self.estimator.estimate(encoded, last[0].encoding, scaled, self.occlusion)
        full = max(size, scaled)
        extras: dict[str, object] = {"flow_prev": upsample_flow(flow, full)}
        if back is not None:
            hidden = find_occlusion(flow, back)[None, None].float()
            extras["occluded"] = functional.interpolate(hidden, full, mode="nearest")[0, 0] > 0
        return frame.with_extras(**extras), now


def scale_image(image: Tensor, scale: Fraction) -> Tensor:
    """Return the image (3, H, W) at `scale`, sides rounded up, as float32 if the size changes.

    Smaller images are area means, larger ones bicubic and not clamped.
    """
    size = _scale_size((image.shape[1], image.shape[2]), scale)
    if size == tuple(image.shape[1:]):
        return image
    resized = image[None].float()
    if scale > 1:
        return functional.interpolate(resized, size, mode="bicubic", align_corners=False)[0]
    return functional.interpolate(resized, size, mode="bilinear", antialias=True)[0]


def upsample_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """Return flow (2, h, w) in its own pixels as flow (2, H, W) in pixels of that size."""
    height, width = size
    if tuple(flow.shape[1:]) == size:
        return flow.contiguous()
    resized = functional.interpolate(flow[None], size, mode="bilinear", align_corners=False)[0]
    resized[0] *= width / flow.shape[2]
    resized[1] *= height / flow.shape[1]
    return resized


def find_occlusion(flow: Tensor, back: Tensor) -> Tensor:
    """Return (H, W) bool: where `back` does not undo `flow` (2, H, W), or it leads outside.

    Sundaram, Brox & Keutzer, "Dense Point Trajectories by GPU-Accelerated Large Displacement
    Optical Flow", ECCV 2010, section 4.
    """
    height, width = flow.shape[1:]
    x, y = make_pixel_grid(height, width, flow.device) + flow
    outside = (x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)
    returned = warp(back[None], flow[None])[0]
    share, offset = _TOLERANCE
    lengths = flow.square().sum(0) + returned.square().sum(0)
    inconsistent = (flow + returned).square().sum(0) > share * lengths + offset
    hidden: Tensor = outside | inconsistent
    return hidden


def _scale_size(size: tuple[int, int], scale: Fraction) -> tuple[int, int]:
    return ceil(size[0] * scale), ceil(size[1] * scale)


def _to_rgb(image: object, device: str) -> Tensor:
    if isinstance(image, Planes):
        return rgb.to_rgb(image, device=device)
    if isinstance(image, Tensor) and image.dim() == 3 and image.shape[0] == 3:
        return image.to(device)
    raise Unsupported(f"flow cannot take {type(image).__name__}: pass planes, or a tensor "
                      "(3, H, W) in [0, 1]")  # fmt: skip
