"""A stage that tells of every frame where its pixels were in the frame before, and which were not.

Each frame is looked at once in the life of a film; what is known of the last one is the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from filmgate.core.costly import Costly
from filmgate.core.frame import Frame, Position, Spec
from filmgate.core.stage import AnyStage, Reach, frames_long
from filmgate.errors import BadSetting, Unsupported
from filmgate.flow import raft
from filmgate.flow.cuts import cuts
from filmgate.flow.dis import DisFlow
from filmgate.flow.raft.net import UPDATES
from filmgate.flow.sampled import places, warp
from filmgate.media import colour
from filmgate.media.planes import Planes

MODELS = ("dis", *raft.MODELS)
# Forward and backward flow may differ by this share of their lengths, and by this, both squared.
_APART = (0.01, 0.5)


class Estimator(Protocol):
    """Finds flow between two pictures of which it has seen each once."""

    @property
    def device(self) -> str:
        """Where it works: pictures are brought there before they are made larger or smaller."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """Which flow is wanted: a definition, without weights. `stages` builds it."""

    model: str = "raft_large"
    """Who finds it: raft_large, raft_small, or dis, which is rough, quick and no download."""

    scale: Fraction | int = Fraction(1)
    """Flow is found on pictures of 4 times to 1/16 of each side."""

    occlusion: bool = True
    """Find what was hidden in the frame before; that takes the flow the other way too."""

    updates: int = UPDATES
    """Steps of RAFT. 12 are usual."""

    volume: bool | None = None
    """Correlate all pairs beforehand, or look up what is needed; None: by their size."""

    weights: Path | None = None
    """Where RAFT's weights lie: a file, or a folder with it. Without: the models folder."""

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise BadSetting(f"the flow is by {self.model!r}: wanted one of {', '.join(MODELS)}")
        if not Fraction(1, 16) <= self.scale <= 4:
            raise BadSetting(f"the flow's scale is {self.scale}: wanted 4 to 1/16")
        if self.updates < 1:
            raise BadSetting(f"updates is {self.updates}: wanted 1 or more")

    def stage(self) -> Flow:
        """The stage alone, for a line that has looked for cuts. Raises BadWeights."""
        if self.model == "dis":
            return Flow(Dis(), Fraction(self.scale), self.occlusion)
        found = raft.estimator(self.model, self.weights, self.updates, self.volume)
        return Flow(found, Fraction(self.scale), self.occlusion)

    def stages(self, spec: Spec) -> tuple[AnyStage, ...]:
        """Cuts are looked for, then flow within each shot. Raises BadWeights, Unsupported."""
        flow, weights = self.stage(), ""
        flow.output(spec)
        if self.model != "dis":
            weights = raft.sha256(self.model, self.weights)
        return (cuts(), Costly(flow, settings=repr(replace(self, weights=None)), weights=weights))

    def timeline(self, shown: Iterable[Frame]) -> Iterator[Frame]:
        """Frames stay when they are."""
        return iter(shown)


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

    def lean(self) -> Flow:
        """With RAFT: pairs are looked up and never correlated beforehand."""
        if not isinstance(self.estimator, raft.RaftFlow) or self.estimator.volume is not None:
            return self
        return replace(self, estimator=replace(self.estimator, volume=False))

    def reach(self, spec: Spec) -> Reach:
        return Reach(frames_long(1, spec), Fraction(0))

    def output(self, spec: Spec) -> Spec:
        if spec.pixels != "rgb":
            colour.rgb().output(spec)  # alpha, HDR: refused with words before the first frame
        return spec

    def start(self, spec: Spec, first: Position) -> tuple[Last, ...]:
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


@dataclass(frozen=True, slots=True)
class Dis:
    """Flow by dense inverse search, on the CPU and without weights."""

    flow: DisFlow = DisFlow(cell=1)
    device: str = "cpu"

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


def samples() -> tuple[Guide, ...]:
    """One of each estimator, for trials."""
    return (
        Guide(model="dis"),
        Guide(model="dis", scale=Fraction(1, 2), occlusion=False),
        Guide(model="raft_large", updates=1),
        Guide(model="raft_small", scale=Fraction(1, 3), updates=1, occlusion=False, volume=False),
    )


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
        return colour.to_rgb(image, device=device)
    if isinstance(image, Tensor) and image.dim() == 3 and image.shape[0] == 3:
        return image.to(device)
    raise Unsupported(f"flow was looked for in {type(image).__name__}: planes are wanted, or a "
                      "tensor (3, H, W) in [0, 1]")  # fmt: skip
