"""The autoencoder of Stable Diffusion: images to latents of an eighth of their size, and back.

Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022. Tensors have
the names of diffusers' AutoencoderKL, which takes seconds to import.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

LATENTS = 4  # channels of latents
SCALE = 0.18215  # by which latents are multiplied, so that their variance is about 1
WIDTHS = (128, 256, 512, 512)
_GROUPS = 32
_IMAGE = 3  # channels of an image


class _Resnet(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(_GROUPS, inputs, eps=1e-6)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = nn.GroupNorm(_GROUPS, outputs, eps=1e-6)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(functional.silu(self.norm1(x), inplace=True))
        hidden = self.conv2(functional.silu(self.norm2(hidden), inplace=True))
        return hidden.add_(x if self.conv_shortcut is None else self.conv_shortcut(x))  # type: ignore[no-any-return]


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(_GROUPS, width, eps=1e-6)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)[:, None]
        seen = functional.scaled_dot_product_attention(
            self.to_q(tokens), self.to_k(tokens), self.to_v(tokens)
        )
        return self.to_out[0](seen[:, 0]).transpose(1, 2).reshape(x.shape) + x  # type: ignore[no-any-return]


class _Middle(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([_Resnet(width, width) for _ in range(2)])
        self.attentions = nn.ModuleList([_Attention(width)])

    def forward(self, x: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))  # type: ignore[no-any-return]


class _Resize(nn.Module):
    def __init__(self, width: int, *, up: bool) -> None:
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(width, width, 3, 1 if up else 2, padding=1 if up else 0)

    def forward(self, x: Tensor) -> Tensor:
        if self.up:
            return self.conv(functional.interpolate(x, scale_factor=2.0))  # type: ignore[no-any-return]
        return self.conv(functional.pad(x, (0, 1, 0, 1)))  # type: ignore[no-any-return]


class _Level(nn.Module):
    """Residual layers at one size; then a change of size unless it is the `last`."""

    def __init__(self, inputs: int, width: int, layers: int, *, up: bool, last: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(_Resnet(width if k else inputs, width) for k in range(layers))
        if not last:
            resize = nn.ModuleList([_Resize(width, up=up)])
            self.add_module("upsamplers" if up else "downsamplers", resize)

    def forward(self, x: Tensor) -> Tensor:
        for part in self.children():
            assert isinstance(part, nn.ModuleList)
            for layer in part:
                x = layer(x)
        return x


class _Encoder(nn.Module):
    def __init__(self, widths: Sequence[int], layers: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(_IMAGE, widths[0], 3, padding=1)
        pairs = list(zip((widths[0], *widths), widths, strict=False))
        self.down_blocks = nn.ModuleList(
            _Level(inputs, width, layers, up=False, last=k == len(widths) - 1)
            for k, (inputs, width) in enumerate(pairs)
        )
        self.mid_block = _Middle(widths[-1])
        self.conv_norm_out = nn.GroupNorm(_GROUPS, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], 2 * LATENTS, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        x = functional.silu(self.conv_norm_out(self.mid_block(x)), inplace=True)
        return self.conv_out(x)  # type: ignore[no-any-return]


class _Decoder(nn.Module):
    def __init__(self, widths: Sequence[int], layers: int) -> None:
        super().__init__()
        last = widths[-1]
        self.conv_in = nn.Conv2d(LATENTS, last, 3, padding=1)
        self.mid_block = _Middle(last)
        pairs = list(zip((last, *reversed(widths)), reversed(widths), strict=False))
        self.up_blocks = nn.ModuleList(
            _Level(inputs, width, layers + 1, up=True, last=k == len(widths) - 1)
            for k, (inputs, width) in enumerate(pairs)
        )
        self.conv_norm_out = nn.GroupNorm(_GROUPS, widths[0], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[0], _IMAGE, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(x))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(functional.silu(self.conv_norm_out(x), inplace=True))  # type: ignore[no-any-return]


class Autoencoder(nn.Module):
    """The network, for images in [-1, 1] whose sides are multiples of 8."""

    def __init__(self, widths: Sequence[int] = WIDTHS, layers: int = 2) -> None:
        super().__init__()
        self.encoder, self.decoder = _Encoder(widths, layers), _Decoder(widths, layers)
        self.quant_conv = nn.Conv2d(2 * LATENTS, 2 * LATENTS, 1)
        self.post_quant_conv = nn.Conv2d(LATENTS, LATENTS, 1)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of its weights."""
        return self.quant_conv.weight.dtype

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return self.quant_conv.weight.device

    def encode(self, images: Tensor) -> Tensor:
        """Return the mean latents (N, 4, h, w), times SCALE, of images (N, 3, 8h, 8w)."""
        moments = self.quant_conv(self.encoder(images.to(self.device, self.dtype)))
        return moments[:, :LATENTS] * SCALE  # type: ignore[no-any-return]

    def decode(self, latents: Tensor) -> Tensor:
        """Return the images (N, 3, 8h, 8w) of latents (N, 4, h, w) that `encode` returned."""
        scaled = (latents / SCALE).to(self.device, self.dtype)
        return self.decoder(self.post_quant_conv(scaled))  # type: ignore[no-any-return]
