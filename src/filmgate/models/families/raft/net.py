"""The network of RAFT: a frame is encoded once, flow is refined in steps and upsampled once.

Teed & Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV 2020, section 3 and
appendix B. Keys and shapes are those of torchvision's raft_large and raft_small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.errors import BadWeights
from filmgate.flow.warp_torch import make_pixel_grid
from filmgate.models.families.raft.correlation import LEVELS, correlate, count_volume_bytes

CELL = 8  # pixels per side of one position in the feature maps
MIN_SIDE = 16 * CELL  # pixels: below it the coarsest level of the correlation has a side of 1
UPDATES = 12  # of the published evaluations
VOLUME_BYTES = 1 << 30  # larger correlation volumes are not built by default
GPU_VOLUME_BYTES = 1 << 31  # ... on a GPU: on an H100 832x1216 took 0.25 s by looking pairs up
_SLICE = 1 << 26  # bytes that are processed at a time where parts are independent

Kernels = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a RAFT network; the defaults are raft_large's.

    Channels of `encoder`: its stem, three layers and output; `context`: the context encoder's
    output; `corr` and `flow`: branches of the motion encoder; `motion`: its output.
    """

    encoder: tuple[int, ...] = (64, 64, 96, 128, 256)
    context: int = 256
    bottleneck: bool = False
    normed: bool = True  # the context encoder has batch norms
    radius: int = 4
    corr: tuple[int, ...] = (256, 192)
    flow: tuple[int, int] = (128, 64)
    motion: int = 128
    hidden: int = 128
    kernels: Kernels = ((1, 5), (5, 1))
    head: int = 256
    mask: int = 256  # 0: flow is upsampled by interpolation

    @classmethod
    def of(cls, shapes: Mapping[str, Sequence[int]]) -> Shape:
        """Return the sizes of the tensors of a file. Raises BadWeights if it is not a RAFT."""
        motion, gru = "update_block.motion_encoder", "update_block.recurrent_block"
        try:
            stem = shapes["feature_encoder.convnormrelu.0.weight"][0]
            ends = [f"feature_encoder.layer{k}.0.convnormrelu" for k in (1, 2, 3)]
            narrow = f"{ends[0]}3.0.weight" in shapes
            wide = [shapes[f"{end}{3 if narrow else 2}.0.weight"][0] for end in ends]
            convs = [f"{motion}.convcorr{k}.0.weight" for k in (1, 2)]
            kernels = [f"{gru}.convgru{k}.convz.weight" for k in (1, 2)]
            masked = shapes.get("mask_predictor.convrelu.0.weight", (0,))
            return cls(
                (stem, *wide, shapes["feature_encoder.conv.weight"][0]),
                shapes["context_encoder.conv.weight"][0],
                narrow,
                "context_encoder.convnormrelu.1.weight" in shapes,
                (isqrt(shapes[convs[0]][1] // LEVELS) - 1) // 2,
                tuple(shapes[name][0] for name in convs if name in shapes),
                (
                    shapes[f"{motion}.convflow1.0.weight"][0],
                    shapes[f"{motion}.convflow2.0.weight"][0],
                ),
                shapes[f"{motion}.conv.0.weight"][0] + 2,
                shapes[kernels[0]][0],
                tuple((shapes[k][2], shapes[k][3]) for k in kernels if k in shapes),
                shapes["update_block.flow_head.conv1.weight"][0],
                masked[0],
            )
        except (KeyError, IndexError) as error:
            raise BadWeights(
                f"these are not weights of RAFT: {error} is missing or too short; pass the file "
                "that filmgate models names"
            ) from error


LARGE = Shape()
SMALL = Shape(encoder=(32, 32, 64, 96, 128), context=160, bottleneck=True, normed=False, radius=3,
              corr=(96,), flow=(64, 32), motion=82, hidden=96, kernels=((3, 3),), head=128,
              mask=0)  # fmt: skip


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """The encoding of one frame: all that flow from it and to it needs.

    `features` (1, C, h, w), and `context` (1, D, h, w): the first hidden state of the update and
    its constant input. h and w are those of the image divided by 8.
    """

    features: Tensor
    context: Tensor | None

    def to(self, device: str) -> EncodedFrame:
        """Return it on another device."""
        context = None if self.context is None else self.context.to(device)
        return EncodedFrame(self.features.to(device), context)


class Encoder(nn.Module):
    """An image to a map of an eighth of its sides; `norm` is the class of its normalisation."""

    def __init__(self, shape: Shape, outputs: int, norm: type[nn.Module] | None) -> None:
        super().__init__()
        stem, *wide, _ = shape.encoder
        self.convnormrelu = _build_unit(3, stem, 7, 2, norm)
        inputs = stem
        for k, channels in enumerate(wide):
            blocks = [_build_block(inputs, channels, 2 if k else 1, shape.bottleneck, norm)]
            blocks.append(_build_block(channels, channels, 1, shape.bottleneck, norm))
            self.add_module(f"layer{k + 1}", nn.Sequential(*blocks))
            inputs = channels
        self.conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, image: Tensor, rows: int | None) -> Tensor:
        """Run `rows` of each convolution at a time: less memory, the same up to the last bits."""
        x = _apply_unit(self.convnormrelu, image, rows).relu_()
        for name in ("layer1", "layer2", "layer3"):
            for block in getattr(self, name):
                y = x
                for k, unit in enumerate(block.units()):
                    y = _apply_unit(unit, y, rows, reuse=k > 0).relu_()
                if hasattr(block, "downsample"):
                    x = _apply_unit(block.downsample, x, rows)
                x = x.add_(y).relu_()
                del y
        return convolve_in_bands(self.conv, x, rows)


class Raft(nn.Module):
    """The network. Parts are named as in the published files."""

    def __init__(self, shape: Shape = LARGE, device: str = "cpu") -> None:
        with torch.device(device):
            super().__init__()
            self._build(shape)

    def _build(self, shape: Shape) -> None:
        self.shape = s = shape
        self.feature_encoder = Encoder(s, s.encoder[-1], nn.InstanceNorm2d)
        self.context_encoder = Encoder(s, s.context, nn.BatchNorm2d if s.normed else None)
        # Any: these modules only give the published names to their parts
        update: Any = nn.Module()
        update.motion_encoder = motion = nn.Module()
        inputs = LEVELS * (2 * s.radius + 1) ** 2
        for k, channels in enumerate(s.corr):
            motion.add_module(f"convcorr{k + 1}", _build_unit(inputs, channels, 3 if k else 1))
            inputs = channels
        motion.convflow1 = _build_unit(2, s.flow[0], 7)
        motion.convflow2 = _build_unit(s.flow[0], s.flow[1], 3)
        motion.conv = _build_unit(s.corr[-1] + s.flow[1], s.motion - 2, 3)
        update.recurrent_block = grus = nn.Module()
        inputs = s.context + s.motion  # the first channels of the context are the hidden state
        for k, kernel in enumerate(s.kernels):
            gru = nn.Module()
            padding = (kernel[0] // 2, kernel[1] // 2)
            for gate in ("convz", "convr", "convq"):
                gru.add_module(gate, nn.Conv2d(inputs, s.hidden, kernel, padding=padding))
            grus.add_module(f"convgru{k + 1}", gru)
        update.flow_head = nn.Module()
        update.flow_head.conv1 = nn.Conv2d(s.hidden, s.head, 3, padding=1)
        update.flow_head.conv2 = nn.Conv2d(s.head, 2, 3, padding=1)
        self.update_block = update
        if s.mask:
            self.mask_predictor: Any = nn.Module()
            self.mask_predictor.convrelu = _build_unit(s.hidden, s.mask, 3)
            self.mask_predictor.conv = nn.Conv2d(s.mask, CELL * CELL * 9, 1)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights; positions, correlation and flow are always float32."""
        return self.feature_encoder.conv.weight.dtype

    def encode(self, image: Tensor, rows: int | None = None) -> EncodedFrame:
        """Encode (1, 3, H, W), RGB in [0, 1], H and W multiples of 8 and 128 or more."""
        with _without_autocast(image.device):
            scaled = image.to(self.dtype).mul(2).sub_(1)
            features = self.feature_encoder(scaled, rows)
            context = self.context_encoder(scaled, rows)
        context[:, : self.shape.hidden].tanh_()
        context[:, self.shape.hidden :].relu_()
        return EncodedFrame(features, context)

    def estimate_flow(
        self, a: EncodedFrame, b: EncodedFrame, updates: int = UPDATES, volume: bool | None = None
    ) -> Tensor:
        """Return (2, H, W) float32: where each pixel of `a` is in `b`, in pixels, x first.

        `volume`: correlate all pairs in advance; None: if that takes at most VOLUME_BYTES, or
        GPU_VOLUME_BYTES. False: look pairs up, which is slower and gives the same within 1e-4.
        """
        height, width = a.features.shape[2:]
        if volume is None:
            limit = VOLUME_BYTES if a.features.device.type == "cpu" else GPU_VOLUME_BYTES
            volume = count_volume_bytes(height, width) <= limit
        with _without_autocast(a.features.device):
            pairs = correlate(a.features, b.features, self.shape.radius, volume)
            grid = make_pixel_grid(height, width, a.features.device)
            at = grid
            h = self.shape.hidden
            assert a.context is not None, "flow from a frame needs its context"
            known = a.context.to(self.dtype)
            hidden, context = known[:, :h], known[:, h:]
            constants = self._precompute(context)
            for _ in range(updates):
                motion = self._encode_motion(pairs.sample_around(at), at - grid)
                hidden = self._update_hidden(hidden, motion, constants)
                at = at + self._predict_step(hidden)
            del pairs, constants, motion
            return self._upsample(at - grid, hidden)

    # --- one update -------------------------------------------------------------------------------

    def _encode_motion(self, correlations: Tensor, flow: Tensor) -> Tensor:
        parts, s = self.update_block.motion_encoder, self.shape
        flow = flow[None].to(self.dtype)
        corr = correlations.to(self.dtype)
        del correlations
        for k in range(len(s.corr)):
            corr = getattr(parts, f"convcorr{k + 1}")(corr).relu_()
        moved = parts.convflow2(parts.convflow1(flow).relu_()).relu_()
        return torch.cat([parts.conv(torch.cat([corr, moved], 1)).relu_(), flow], 1)

    def _precompute(self, context: Tensor) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Return the gates' results for the context, which is constant, and their other weights.

        For each GRU: z and r together (result, weights), then q.
        """
        h, c, constants = self.shape.hidden, context.shape[1], []
        for gru in self.update_block.recurrent_block.children():
            z, r, q = gru.convz, gru.convr, gru.convq
            both = torch.cat([z.weight, r.weight])
            from_context = _conv(context, both[:, h : h + c], torch.cat([z.bias, r.bias]))
            q_from_context = _conv(context, q.weight[:, h : h + c], q.bias)
            constants.append(
                (
                    from_context,
                    _remove_channels(both, h, c),
                    q_from_context,
                    _remove_channels(q.weight, h, c),
                )
            )
        return constants

    def _update_hidden(
        self, hidden: Tensor, motion: Tensor, constants: list[tuple[Tensor, Tensor, Tensor, Tensor]]
    ) -> Tensor:
        for from_context, both, q_from_context, of_q in constants:
            gates = _conv(torch.cat([hidden, motion], 1), both).add_(from_context).sigmoid_()
            z, r = gates.chunk(2, 1)
            q = _conv(torch.cat([r * hidden, motion], 1), of_q).add_(q_from_context).tanh_()
            hidden = torch.lerp(hidden, q, z)
        return hidden

    def _predict_step(self, hidden: Tensor) -> Tensor:
        head = self.update_block.flow_head
        return head.conv2(head.conv1(hidden).relu_())[0].float()  # type: ignore[no-any-return]

    # --- upsampling ---------------------------------------------------------------

    def _upsample(self, flow: Tensor, hidden: Tensor) -> Tensor:
        """Return (2, 8h, 8w): each pixel's flow is a mean of nine, weighted by the network."""
        flow = flow * CELL
        _, height, width = flow.shape
        if not self.shape.mask:
            size = (height * CELL, width * CELL)
            return functional.interpolate(flow[None], size, mode="bilinear", align_corners=True)[0]
        wide = functional.pad(flow, (1, 1, 1, 1))
        near = torch.stack([wide[:, y : y + height, x : x + width]
                            for y in range(3) for x in range(3)], 1)  # fmt: skip
        last = self.mask_predictor.convrelu(hidden).relu_()
        outputs = flow.new_empty(2, height, CELL, width, CELL)
        rows = max(1, _SLICE // (4 * 9 * CELL * CELL * width))
        for top in range(0, height, rows):
            part = slice(top, top + rows)
            weights = self.mask_predictor.conv(last[:, :, part])[0].float().mul_(0.25)
            weights = weights.view(9, CELL, CELL, -1, width).softmax(0)
            for k in range(2):  # x, then y
                mean = (weights * near[k, :, None, None, part]).sum(0)
                outputs[k, part] = mean.permute(2, 0, 3, 1)
        return outputs.view(2, height * CELL, width * CELL)


def _without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Keep the dtypes of this module, whatever autocast the caller uses."""
    return torch.autocast("cuda" if device.type == "cuda" else "cpu", enabled=False)


def convolve_in_bands(conv: nn.Conv2d, x: Tensor, rows: int | None, reuse: bool = False) -> Tensor:
    """Return the convolution, computed `rows` rows at a time (None: all at once).

    With `reuse`, `x` is overwritten if it is as large as the result.
    """
    side, stride, pad = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])
    high = (x.shape[2] + 2 * pad - side) // stride + 1
    if rows is None or rows >= high:
        return conv(x)  # type: ignore[no-any-return]
    wide = (x.shape[3] + 2 * pad - side) // stride + 1
    size = (1, conv.out_channels, high, wide)
    outputs = x if reuse and x.shape == size else x.new_empty(size)
    above = x[:, :, :0]
    for first in range(0, high, rows):
        last = min(high, first + rows)
        low, end = first * stride - pad, (last - 1) * stride - pad + side
        part = x[:, :, max(0, low) : end]
        if outputs is x:  # the rows above are overwritten already
            part = torch.cat([above, x[:, :, first:end]], 2)
            above = x[:, :, max(0, last - pad) : last].clone()
        around = (pad, pad, max(0, -low), max(0, end - x.shape[2]))
        part = functional.pad(part, around)
        outputs[:, :, first:last] = functional.conv2d(part, conv.weight, conv.bias, stride)
    return outputs


def _apply_unit(unit: nn.Sequential, x: Tensor, rows: int | None, reuse: bool = False) -> Tensor:
    """Apply convolution and norm; statistics of a norm are those of the complete map."""
    conv, *norms = unit
    assert isinstance(conv, nn.Conv2d)
    x = convolve_in_bands(conv, x, rows, reuse)
    for norm in norms:
        if rows is None:
            x = norm(x)
            continue
        some = max(1, _SLICE // (4 * x.shape[2] * x.shape[3]))  # channels
        for first in range(0, x.shape[1], some):
            part = x[:, first : first + some]
            if isinstance(norm, nn.BatchNorm2d):
                mean, var, weight, bias = (
                    None if v is None else v[first : first + some]
                    for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
                )
                normed = functional.batch_norm(part, mean, var, weight, bias, eps=norm.eps)
                part.copy_(normed)
            else:
                part.copy_(functional.instance_norm(part))
    return x


class _Block(nn.Module):
    """Two or three units with a shortcut around them."""

    def units(self) -> list[nn.Sequential]:
        return [part for name, part in self.named_children() if name.startswith("convnormrelu")]  # type: ignore[misc]


def _build_block(
    inputs: int, outputs: int, stride: int, narrow: bool, norm: type[nn.Module] | None
) -> _Block:
    block = _Block()
    thin = outputs // 4
    units = [(inputs, thin, 1, 1), (thin, thin, 3, stride), (thin, outputs, 1, 1)] if narrow else [
        (inputs, outputs, 3, stride), (outputs, outputs, 3, 1)]  # fmt: skip
    for k, (before, after, side, step) in enumerate(units):
        block.add_module(f"convnormrelu{k + 1}", _build_unit(before, after, side, step, norm))
    if stride > 1:
        block.add_module("downsample", _build_unit(inputs, outputs, 1, stride, norm))
    return block


def _build_unit(
    inputs: int, outputs: int, side: int, stride: int = 1, norm: type[nn.Module] | None = None
) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, side, stride, side // 2)
    return nn.Sequential(conv, norm(outputs)) if norm else nn.Sequential(conv)


def _conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.conv2d(x, weight, bias, padding=(weight.shape[2] // 2, weight.shape[3] // 2))


def _remove_channels(weight: Tensor, begin: int, count: int) -> Tensor:
    return torch.cat([weight[:, :begin], weight[:, begin + count :]], 1)
