"""Networks of RGB tensors as models of a family: conversion, batches, dtype, padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.errors import BadSetting, StageContractError, Unsupported
from filmgate.media.pixels.format_names import is_hdr
from filmgate.media.pixels.planes import Planes


def rgb_upscaler(network: Callable[[Tensor], Tensor], *, multiple: int = 1) -> RgbUpscaler:
    """Return a network of RGB images as what `Family.build_upscaler` returns.

    `network` maps (N, 3, H, W) in [0, 1] to (N, 3, H * scale, W * scale), and N is the batch of the
    plan. Images have the device and dtype of its first parameter. `multiple`: of which H and W must
    be multiples; edges are repeated, and what they become is cropped. A module is set to eval mode.
    Raises BadSetting.
    """
    return RgbUpscaler(_prepare(network), _check_multiple(multiple))


def rgb_interpolator(
    network: Callable[[Tensor, Tensor, Tensor], Tensor], *, multiple: int = 1, batch: int = 1
) -> RgbInterpolator:
    """Return a network of RGB images as what `Family.build_interpolator` returns.

    `network(a, b, t)` maps images (N, 3, H, W) in [0, 1] and positions (N, 1, 1, 1), 0 at `a` and 1
    at `b`, to images (N, 3, H, W). N is at most `batch`, positions between the same two images.
    Images have the device and dtype of its first parameter. `multiple`: of which H and W must be
    multiples; edges are repeated, and cropped again. A module is set to eval mode. Raises
    BadSetting.
    """
    if batch < 1:
        raise BadSetting(f"batch is {batch}: pass 1 or more")
    return RgbInterpolator(_prepare(network), _check_multiple(multiple), batch)


@dataclass(frozen=True)
class RgbUpscaler:
    """See `rgb_upscaler`. Raises Unsupported for images that cannot be RGB, such as HDR."""

    network: Callable[[Tensor], Tensor]
    multiple: int = 1

    def __call__(self, image: object, /) -> Planes:
        """Return the image enlarged: planes of the same format."""
        return self.upscale_batch([image])[0]

    def upscale_batch(self, images: Sequence[object]) -> list[Planes]:
        """Return the images, which have one size, enlarged in one call of the network.

        Raises FloatingPointError if the network returns NaN or infinity.
        """
        planes = [_require_planes(image) for image in images]
        with torch.inference_mode():
            inputs = _load(planes, self.network, self.multiple)
            outputs = self.network(inputs)
            scale = _measure_scale(self.network, inputs, outputs)
            width, height = planes[0].size
            visible = outputs[..., : height * scale, : width * scale].float()
            return [image.from_rgb(rgb) for image, rgb in zip(planes, visible, strict=True)]


@dataclass(frozen=True)
class RgbInterpolator:
    """See `rgb_interpolator`. Raises Unsupported for images that cannot be RGB, such as HDR."""

    network: Callable[[Tensor, Tensor, Tensor], Tensor]
    multiple: int = 1
    batch: int = 1

    def __call__(self, a: object, b: object, positions: Sequence[Fraction], /) -> list[Planes]:
        """Return the images at `positions` (0 to 1, both excluded) of the way from `a` to `b`.

        Raises FloatingPointError if the network returns NaN or infinity.
        """
        like = _require_planes(a)
        width, height = like.size
        results: list[Planes] = []
        with torch.inference_mode():
            ends = _load([like, _require_planes(b)], self.network, self.multiple)
            for at in range(0, len(positions), self.batch):
                part = [float(position) for position in positions[at : at + self.batch]]
                first, second = (end.expand(len(part), -1, -1, -1) for end in ends[:, None])
                outputs = self.network(first, second, ends.new_tensor(part).view(-1, 1, 1, 1))
                if _measure_scale(self.network, first, outputs) != 1:
                    raise StageContractError(
                        f"{_get_name(self.network)} returned {tuple(outputs.shape)} for images "
                        f"{tuple(first.shape)}: an interpolator returns images of the same size"
                    )
                visible = outputs[..., :height, :width].float()
                results += [like.from_rgb(rgb) for rgb in visible]
        return results


def _prepare(network: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the network, ready to be used. Raises BadSetting for what cannot be called."""
    if isinstance(network, type) or not callable(network):
        raise BadSetting(f"network is {network!r:.60}, wanted a torch module: pass an instance")
    return network.eval() if isinstance(network, nn.Module) else network


def _check_multiple(multiple: int) -> int:
    if multiple < 1:
        raise BadSetting(f"multiple is {multiple}: pass 1 or more, such as 32")
    return multiple


def _require_planes(image: object) -> Planes:
    if not isinstance(image, Planes):
        raise Unsupported(f"the model cannot take {type(image).__name__}: pass planes as they were "
                          "decoded")  # fmt: skip
    if is_hdr(image.colour):
        raise Unsupported(
            f"the video is HDR (transfer {image.colour.transfer}) and the model was made for SDR: "
            "pass --tonemap to convert the video to BT.709"
        )
    return image


def _load(images: Sequence[Planes], network: Callable[..., Tensor], multiple: int) -> Tensor:
    """Return images (N, 3, H, W) as the network takes them, each side a multiple."""
    sizes = {image.size for image in images}
    if len(sizes) > 1:
        raise Unsupported(f"images of one batch are {' and '.join(f'{w}x{h}' for w, h in sizes)}: "
                          "pass images of one size")  # fmt: skip
    parameters = network.parameters() if isinstance(network, nn.Module) else ()
    like = next((p for p in parameters if p.is_floating_point()), torch.empty(0))
    rgb = torch.stack([image.to_rgb(device=str(like.device)) for image in images])
    down, across = (-side % multiple for side in rgb.shape[-2:])
    padded = functional.pad(rgb, (0, across, 0, down), mode="replicate")
    return padded.to(like.dtype)


def _measure_scale(network: object, inputs: Tensor, outputs: object) -> int:
    """Return how many times as wide and high the outputs are. Raises StageContractError."""
    if isinstance(outputs, Tensor) and outputs.ndim == 4 and outputs.is_floating_point():
        height, width = inputs.shape[-2:]
        scale = outputs.shape[-1] // width
        if scale and outputs.shape == (len(inputs), 3, height * scale, width * scale):
            return scale
    found = f"{tuple(outputs.shape)} of {outputs.dtype}" if isinstance(outputs, Tensor) else ""
    raise StageContractError(
        f"{_get_name(network)} returned {type(outputs).__name__} {found} for images "
        f"{tuple(inputs.shape)}: wanted a floating-point tensor (N, 3, H * scale, W * scale)"
    )


def _get_name(network: object) -> str:
    return str(getattr(network, "__name__", type(network).__name__))
