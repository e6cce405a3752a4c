"""PersonaLive's networks compiled for one size: the denoising UNet, once for each number of
keyframes, and the decoder of an image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from filmgate.core.model_cache import ModelCache
from filmgate.models.compiling.network import Input, StaticNetwork
from filmgate.models.compiling.packages import CompiledNetwork, open_compiled
from filmgate.models.families.personalive.layers import MOTION_WIDTH, Portrait, SpatialBlock
from filmgate.models.families.personalive.motion import TOKENS
from filmgate.models.families.personalive.unet import DenoisingUnet

_FAMILY = "personalive"


class _Denoiser(nn.Module):
    """The denoising UNet with plain tensors: what each block sees by CLIP, then its keys and
    values, in order."""

    def __init__(self, unet: DenoisingUnet, blocks: int) -> None:
        super().__init__()
        self.unet, self.blocks = unet, blocks

    def forward(
        self, latents: Tensor, levels: Tensor, motion: Tensor, pose: Tensor, *seen: Tensor
    ) -> Tensor:
        looks, banks = seen[: self.blocks], seen[self.blocks :]
        portrait = Portrait(looks, tuple(zip(banks[::2], banks[1::2], strict=True)))
        return self.unet(latents, levels, portrait, motion, pose)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class CompiledNetworks:
    """The networks that are compiled. `denoisers`: by the number of references, from 1."""

    denoisers: tuple[CompiledNetwork, ...]
    decoder: CompiledNetwork

    @classmethod
    def open(
        cls, unet: DenoisingUnet, decoder: nn.Module, stack: int, size: int, keyframes: int,
        models: ModelCache,
    ) -> CompiledNetworks:  # fmt: skip
        """Return them for `stack` frames of `size` pixels on a side, and up to `keyframes`.

        `levels` of the stack are int64. Raises BadSetting.
        """
        denoisers = [
            open_compiled(describe_denoiser(unet, stack, size // 8, 1 + count), models)
            for count in range(1 + keyframes)
        ]
        latent = Input((1, unet.shape.latent, size // 8, size // 8), unet.dtype)
        network = StaticNetwork(_FAMILY, "decoder", decoder, (latent,))
        return cls(tuple(denoisers), open_compiled(network, models))

    def settle(self, portrait: Portrait) -> Portrait:
        """Return what is seen of the portrait in the layout that the compiled network takes."""
        banks = ((keys.contiguous(), values.contiguous()) for keys, values in portrait.banks)
        return Portrait(portrait.looks, tuple(banks))

    def predict_noise(
        self, latents: Tensor, levels: Tensor, portrait: Portrait, motion: Tensor, pose: Tensor
    ) -> Tensor:
        """See `DenoisingUnet.forward`."""
        tokens = portrait.banks[0][0].shape[2]
        count = tokens // (latents.shape[2] * latents.shape[3])
        seen = (*portrait.looks, *chain.from_iterable(portrait.banks))
        (noise,) = self.denoisers[count - 1](latents, levels, motion, pose, *seen)
        return noise


def describe_denoiser(unet: DenoisingUnet, stack: int, side: int, references: int) -> StaticNetwork:
    """Return the UNet for `stack` frames with latents of `side` rows, and so many references."""
    shape, dtype, looks, banks = unet.shape, unet.dtype, list[Input](), list[Input]()
    for block, level in _iter_blocks(unet):
        width, heads = block.attn1.to_q.in_features, block.attn1.heads
        looks.append(Input((1, 1, width), dtype))
        tokens = references * (side >> level) ** 2
        banks += [Input((1, heads, tokens, width // heads), dtype)] * 2
    inputs = (
        Input((stack, shape.latent, side, side), dtype),
        Input((stack,), torch.int64),
        Input((stack, TOKENS, MOTION_WIDTH), dtype),
        Input((stack, shape.channels[0], side, side), dtype),
        *looks,
        *banks,
    )
    part = f"UNet, {references - 1} keyframes"
    return StaticNetwork(_FAMILY, part, _Denoiser(unet, len(looks)), inputs, str(shape))


def _iter_blocks(unet: DenoisingUnet) -> Iterator[tuple[SpatialBlock, int]]:
    """Yield the blocks that attend to the portrait, in order, each with its level from 0."""
    last = len(unet.downs) - 1
    levels = [*enumerate(unet.downs), (last, unet.mid_block)]
    levels += [(last - k, block) for k, block in enumerate(unet.ups)]
    for level, part in levels:
        for block in part.spatial_blocks:
            yield block, level
