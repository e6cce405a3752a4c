"""The networks of PersonaLive together, and what is computed with each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.models.diffusion.attention import KeysValues
from filmgate.models.diffusion.autoencoder import SCALE, Autoencoder
from filmgate.models.families.personalive.compiled import CompiledNetworks
from filmgate.models.families.personalive.extractor import VIEW, Head, HeadExtractor, PoseGuider
from filmgate.models.families.personalive.keypoints import GRID, Box, draw_points
from filmgate.models.families.personalive.layers import Portrait
from filmgate.models.families.personalive.motion import FACE, MotionEncoder
from filmgate.models.families.personalive.unet import DenoisingUnet, ReferenceUnet

T = TypeVar("T")
_CLIP_SIDE = 224
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class LatentEncoder(nn.Module):
    """The encoder of an autoencoder: images (N, 3, H, W) in [-1, 1] to mean latents."""

    def __init__(self, vae: Autoencoder) -> None:
        super().__init__()
        self.encoder, self.quant_conv = vae.encoder, vae.quant_conv

    def forward(self, images: Tensor) -> Tensor:
        return self.quant_conv(self.encoder(images)).chunk(2, 1)[0] * SCALE  # type: ignore[no-any-return]


class LatentDecoder(nn.Module):
    """The decoder of an autoencoder: latents to images (N, 3, H, W) in [-1, 1]."""

    def __init__(self, vae: Autoencoder) -> None:
        super().__init__()
        self.post_quant_conv, self.decoder = vae.post_quant_conv, vae.decoder

    def forward(self, latents: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(latents / SCALE))  # type: ignore[no-any-return]


class ImageEncoder(nn.Module):
    """The image encoder of transformers' CLIP: images (1, 3, 224, 224), normalized, to a token."""

    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, images: Tensor) -> Tensor:
        return self.clip(images).image_embeds[:, None]  # type: ignore[no-any-return]


class Recent:
    """Values that are computed from tensors, the last few of them kept.

    Whatever is forgotten is computed again to the same bits, so results do not depend on it.
    """

    def __init__(self, most: int) -> None:
        self._most, self._kept = most, dict[Any, Any]()

    def get(self, make: Callable[[], T], *tensors: Tensor) -> T:
        """Return `make()`, called once for tensors of these values."""
        key = tuple(map(identify, tensors))
        value = self._kept.pop(key) if key in self._kept else make()
        self._kept[key] = value
        while len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]
        return value


def identify(tensor: Tensor) -> bytes:
    """Return what two tensors of the same values have in common."""
    data = tensor.detach().cpu().contiguous()
    return sha256(data.flatten().view(torch.uint8).numpy().tobytes()).digest()


@dataclass(frozen=True)
class Networks:
    """The networks, all of one dtype; the large ones that are used seldom stay on the CPU.

    `clip`, `encoder` and `reference` are lent to `device` layer by layer: see `lend`. `compiled`:
    the compiled form of `unet` and `decoder`, for one size of images.
    """

    unet: DenoisingUnet
    motion: MotionEncoder
    heads: HeadExtractor
    guider: PoseGuider
    decoder: nn.Module
    clip: nn.Module
    encoder: nn.Module
    reference: ReferenceUnet
    device: str = "cpu"
    compiled: CompiledNetworks | None = None
    _poses: Recent = field(default_factory=lambda: Recent(4), compare=False, repr=False)
    _banks: Recent = field(default_factory=lambda: Recent(1), compare=False, repr=False)

    def forget(self) -> Self:
        """Return the same networks without what they computed for others."""
        return replace(self, _poses=Recent(4), _banks=Recent(1))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the networks."""
        return self.unet.dtype

    def read_heads(self, images: Tensor) -> Head:
        """Return the heads in images (N, 3, 512, 512) in [-1, 1]."""
        small = functional.interpolate(images, (VIEW, VIEW), mode="bilinear", align_corners=False)
        return self.heads(self._place(small / 2 + 0.5))  # type: ignore[no-any-return]

    def read_motion(self, images: Sequence[Tensor], boxes: Sequence[Box]) -> Tensor:
        """Return motion tokens (N, 32, 16), float32, of faces in images (3, 512, 512)."""
        faces = [
            functional.interpolate(
                image[None, :, box.top : box.bottom, box.left : box.right], (FACE, FACE),
                mode="bilinear", align_corners=False,
            )
            for image, box in zip(images, boxes, strict=True)
        ]  # fmt: skip
        return self.motion(self._place(torch.cat(faces))).float()  # type: ignore[no-any-return]

    def guide(self, points: Tensor, size: int, radius: float | None = None) -> Tensor:
        """Return pose features (N, C, h, w) of points (N, 21, 3) on an image of `size`."""

        def make() -> Tensor:
            return self.guider(self._place(draw_points(points, size, radius)))  # type: ignore[no-any-return]

        return self._poses.get(make, points)

    def see(self, image: Tensor) -> Tensor:
        """Return the CLIP token (1, 1, W) of a square image (3, H, W) in [0, 1]."""
        small = functional.interpolate(image[None].float(), (_CLIP_SIDE, _CLIP_SIDE),
                                       mode="bicubic", antialias=True).clamp(0, 1)  # fmt: skip
        mean, std = (torch.tensor(values, device=small.device)[:, None, None]
                     for values in (_CLIP_MEAN, _CLIP_STD))  # fmt: skip
        token: Tensor = self._borrow(self.clip, (small - mean) / std)
        return token

    def encode(self, image: Tensor) -> Tensor:
        """Return the latent (1, 4, h, w), float32, of an image (3, H, W) in [-1, 1]."""
        latent: Tensor = self._borrow(self.encoder, image[None])
        return latent.float()

    def decode(self, latent: Tensor) -> Tensor:
        """Return the image (3, H, W) in [0, 1], float32, of a latent (4, h, w)."""
        placed = self._place(latent[None])
        images = self.compiled.decoder(placed)[0] if self.compiled else self.decoder(placed)
        image: Tensor = images[0]
        return (image.float() / 2 + 0.5).clamp_(0, 1)

    def show(self, token: Tensor, references: Sequence[Tensor]) -> Portrait:
        """Return what the denoising UNet sees of the portrait.

        `token` (1, 1, W) is CLIP's; `references` are latents (1, 4, h, w), first that of the
        portrait, then those of keyframes. Keys and values are computed once for each of them.
        """

        def read(latent: Tensor) -> tuple[KeysValues, ...]:
            return self.unet.project(self._borrow(self.reference, latent, token))

        def settle(portrait: Portrait) -> Portrait:
            return self.compiled.settle(portrait) if self.compiled else portrait

        def make(count: int) -> Portrait:
            if count == 1:
                return settle(Portrait(self.unet.look(self._place(token)), read(references[0])))
            before = self._banks.get(lambda: make(count - 1), token, *references[: count - 1])
            banks = tuple(
                (torch.cat([keys, more_keys], 2), torch.cat([values, more_values], 2))
                for (keys, values), (more_keys, more_values) in zip(
                    before.banks, read(references[count - 1]), strict=True
                )
            )
            return settle(Portrait(before.looks, banks))

        return self._banks.get(lambda: make(len(references)), token, *references)

    def predict_noise(
        self, latents: Tensor, levels: Tensor, portrait: Portrait, motion: Tensor, pose: Tensor
    ) -> Tensor:
        """Return the noise (F, 4, h, w) in latents, in their dtype; see `DenoisingUnet`."""
        predict = self.compiled.predict_noise if self.compiled else self.unet
        noise = predict(self._place(latents), levels, portrait, self._place(motion), pose)
        return noise.to(latents.dtype)

    def _place(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, self.dtype)

    def _borrow(self, net: nn.Module, *inputs: Tensor) -> Any:
        """Return `net(*inputs)`, computed on the device."""
        placed = [self._place(tensor) for tensor in inputs]
        return lend(net, self.device)(*placed)


def lend(net: nn.Module, device: str) -> nn.Module:
    """Return the network as one that computes on another device, itself if it is there.

    Each layer has its weights there only while it computes, so that of a large network no more than
    its largest layer is there. `net` is not changed: networks are shared by everything that a
    process runs, so none is moved to and fro.
    """
    held = [*net.parameters(), *net.buffers()]
    if all(tensor.device.type == torch.device(device).type for tensor in held):
        return net
    lent = deepcopy(net, {id(tensor): tensor for tensor in held})  # the tensors are not copied
    for layer in lent.modules():
        if layer._parameters or layer._buffers:
            loan = _Loan(dict(layer._parameters), dict(layer._buffers), device)
            layer.register_forward_pre_hook(loan.take)
            layer.register_forward_hook(loan.give_back)
    return lent


@dataclass(frozen=True)
class _Loan:
    """The weights of a layer, and the device that has them while the layer computes."""

    parameters: dict[str, nn.Parameter | None]
    buffers: dict[str, Tensor | None]
    device: str

    def take(self, layer: nn.Module, inputs: Any) -> None:
        for name, tensor in self.parameters.items():
            if tensor is not None:
                moved = nn.Parameter(tensor.to(self.device), requires_grad=False)
                layer._parameters[name] = moved
        for name, buffer in self.buffers.items():
            layer._buffers[name] = None if buffer is None else buffer.to(self.device)

    def give_back(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        layer._parameters.update(self.parameters)
        layer._buffers.update(self.buffers)


def square(image: Tensor, size: int = GRID) -> Tensor:
    """Return a square image (3, H, W) at `size`, averaged where it becomes smaller."""
    return functional.interpolate(
        image[None], (size, size), mode="bilinear", align_corners=False, antialias=True
    )[0]
