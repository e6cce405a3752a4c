"""The network of RIFE 3.9: flow and a mask in four passes, features along the flow, refinement.

Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation", ECCV 2022,
section 3, in the version that takes any instant ("HDv3", Practical-RIFE 3.9). Keys and shapes are
those of the published file without its teacher block and the prefix `module.`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.errors import BadWeights
from filmgate.flow.warp_torch import warp

ALIGN = 128  # sides must be multiples of this
SCALES: tuple[int, ...] = (
    8,
    4,
    2,
    1,
)  # pixels per sample of each pass; twice as many where motion is large
LARGE_MOTION = 32.0  # pixels that the second pass adds, to both flows
_TEACHER = "block_tea."  # only for training


@dataclass(frozen=True, slots=True)
class Shape:
    """The channels of a RIFE network; the defaults are those of the published one.

    `blocks`: of each pass, coarse to fine; `context`: of the first level of features along flow.
    """

    blocks: tuple[int, ...] = (192, 128, 96, 64)
    context: int = 16

    @classmethod
    def of(cls, shapes: Mapping[str, Sequence[int]]) -> Shape:
        """Return the channels of the tensors of a file. Raises BadWeights for other versions."""
        if version := identify_other_version(shapes):
            raise BadWeights(f"these are weights of RIFE {version}, wanted RIFE 3.9: run filmgate "
                             "models pull rife, or pass its flownet.pkl")  # fmt: skip
        try:
            blocks = tuple(shapes[f"block{k}.lastconv.weight"][0] for k in range(len(SCALES)))
            return cls(blocks, shapes["contextnet.conv1.conv1.0.weight"][0])
        except KeyError as error:
            raise BadWeights(f"these are not weights of RIFE: {error} is missing; pass the file "
                             "that filmgate models names") from error  # fmt: skip


class Rife(nn.Module):
    """The network: two images and an instant to the image between."""

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__()
        shape = shape or Shape()
        first, *others = shape.blocks
        self.block0 = _FlowBlock(7, first)
        self.block1, self.block2, self.block3 = (_FlowBlock(12, width) for width in others)
        self.contextnet = _ContextNet(shape.context)
        self.unet = _Refinement(shape.context)

    def forward(self, a: Tensor, b: Tensor, at: float, *, refine: bool = True) -> Tensor:
        """Return the image at `at` (0 to 1) of the way from `a` to `b`.

        Images are (1, 3, H, W), RGB from 0 to 1, with sides that are multiples of ALIGN. Flow is
        float32 whatever the network's dtype is. `refine` False: only the warped images, blended.
        """
        flow, mask = self.estimate_flow(a, b, at)
        first, second = warp(a, flow[:, :2]), warp(b, flow[:, 2:])
        share = torch.sigmoid(mask)
        image = first.float() * share + second.float() * (1 - share)
        if not refine:
            return image
        features = (self.contextnet(a, flow[:, :2]), self.contextnet(b, flow[:, 2:]))
        inputs = torch.cat([a, b, first, second, mask.to(a.dtype), flow.to(a.dtype)], 1)
        residual = self.unet(inputs, *features).float() * 2 - 1
        result: Tensor = (image + residual).clamp(0, 1)
        return result

    def estimate_flow(self, a: Tensor, b: Tensor, at: float) -> tuple[Tensor, Tensor]:
        """Return flow to `a` and to `b` (1, 4, H, W) in pixels, and logits of the share of `a`.

        If the second pass adds more than LARGE_MOTION, it starts again at twice the scale; this
        pair alone decides.
        """
        flow, mask = self._run_passes(a, b, at, SCALES, stop_at_large_motion=True)
        if mask is None:
            coarse = tuple(2 * scale for scale in SCALES)
            flow, mask = self._run_passes(a, b, at, coarse, stop_at_large_motion=False)
        assert mask is not None
        return flow, mask

    def _run_passes(
        self, a: Tensor, b: Tensor, at: float, scales: Sequence[int], *, stop_at_large_motion: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Return flow and mask after all passes, or None as the mask if it stopped early."""
        instant = torch.full_like(a[:, :1], at)
        flow, mask = self.block0(torch.cat([a, b, instant], 1), None, scales[0])
        for block, scale in zip((self.block1, self.block2, self.block3), scales[1:], strict=True):
            warped = warp(a, flow[:, :2]), warp(b, flow[:, 2:])
            inputs = torch.cat([*warped, instant, mask.to(a.dtype)], 1)
            step, change = block(inputs, flow, scale)
            flow, mask = flow + step, mask + change
            if stop_at_large_motion and block is self.block1 and _is_large(step):
                return flow, None
        return flow, mask


class _FlowBlock(nn.Module):
    """One pass: at a coarser scale, how flow and mask change."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.conv0 = nn.Sequential(_conv(inputs, width // 2, 2), _conv(width // 2, width, 2))
        self.convblock = nn.Sequential(*(_conv(width, width) for _ in range(8)))
        self.lastconv = nn.ConvTranspose2d(width, 5, 4, 2, 1)

    def forward(self, image: Tensor, flow: Tensor | None, scale: int) -> tuple[Tensor, Tensor]:
        x = _resize(image, 1 / scale)
        if flow is not None:
            x = torch.cat([x, (_resize(flow, 1 / scale) / scale).to(x.dtype)], 1)
        x = self.conv0(x)
        x = self.lastconv(self.convblock(x) + x)
        x = _resize(x.float(), 2.0 * scale)
        return x[:, :4] * (2 * scale), x[:, 4:]


class _TwoConvs(nn.Module):
    """Two convolutions; the first halves the sides."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = _conv(inputs, outputs, 2), _conv(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))  # type: ignore[no-any-return]


class _ContextNet(nn.Module):
    """Features of an image at four levels, each moved along the flow."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [3, *(width << k for k in range(4))]
        self.conv1, self.conv2, self.conv3, self.conv4 = (
            _TwoConvs(inputs, outputs) for inputs, outputs in pairwise(widths)
        )

    def forward(self, image: Tensor, flow: Tensor) -> list[Tensor]:
        features, x = [], image
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x, flow = conv(x), _resize(flow, 0.5) / 2
            features.append(warp(x, flow))
        return features


class _Refinement(nn.Module):
    """A U-Net over everything known: what to add to the blended image, from 0 to 1."""

    def __init__(self, context: int) -> None:
        super().__init__()
        width = 2 * context
        self.down0 = _TwoConvs(17, width)
        self.down1 = _TwoConvs(2 * width, 2 * width)
        self.down2 = _TwoConvs(4 * width, 4 * width)
        self.down3 = _TwoConvs(8 * width, 8 * width)
        self.up0 = _up(16 * width, 4 * width)
        self.up1 = _up(8 * width, 2 * width)
        self.up2 = _up(4 * width, width)
        self.up3 = _up(2 * width, width // 2)
        self.conv = nn.Conv2d(width // 2, 3, 3, 1, 1)

    def forward(self, x: Tensor, a: list[Tensor], b: list[Tensor]) -> Tensor:
        levels = []
        for down, *features in zip((self.down0, self.down1, self.down2, self.down3), a, b,
                                   strict=True):  # fmt: skip
            x = down(x)
            levels.append(x)
            x = torch.cat([x, *features], 1)
        ups = (self.up1, self.up2, self.up3)
        x = self.up0(x)
        for up, level in zip(ups, reversed(levels[:-1]), strict=True):
            x = up(torch.cat([x, level], 1))
        return torch.sigmoid(self.conv(x))


def _is_large(flow: Tensor) -> bool:
    return all(float(part.abs().max()) > LARGE_MOTION for part in torch.split(flow, 2, 1))


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.PReLU(outputs))


def _up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.PReLU(outputs))


def _resize(x: Tensor, factor: float) -> Tensor:
    if factor == 1:
        return x
    return functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def list_stored_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of the published file, by its name there."""
    with torch.device("meta"):
        net, teacher = Rife(), _FlowBlock(21, 64)
    stored = net.state_dict() | teacher.state_dict(prefix=_TEACHER)
    return {f"module.{name}": tuple(tensor.shape) for name, tensor in stored.items()}


def strip_names(names: Mapping[str, object]) -> dict[str, str]:
    """Return the names of a file's tensors by ours; those that only training needs are left out."""
    plain = {name.removeprefix("module."): name for name in names}
    return {name: stored for name, stored in plain.items() if not name.startswith(_TEACHER)}


def has_rife_shapes(shapes: Mapping[str, Sequence[int]]) -> bool:
    """Return whether these are the tensors of a RIFE of any version."""
    names = strip_names(shapes)
    return {"block0.conv0.0.0.weight", "block1.conv0.0.0.weight"} <= names.keys()


def identify_other_version(shapes: Mapping[str, Sequence[int]]) -> str:
    """Return which other version of RIFE has tensors of these names, "" if none has."""
    if "block0.conv0.0.0.weight" not in shapes:
        return ""
    if any(name.startswith("encode.") for name in shapes):
        return "4.7 or newer"
    if any(name.endswith(".beta") for name in shapes):
        return "4.6"
    return "" if any(name.startswith("contextnet.") for name in shapes) else "4.0 to 4.5"
