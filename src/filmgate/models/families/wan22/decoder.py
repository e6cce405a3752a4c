"""Decode latents to frames as a stream: one latent frame at a time, in bands of rows.

Wan's autoencoder is causal: a latent frame needs nothing of later ones, and of earlier ones only
what convolutions remember of their inputs. Only the middle block sees a complete latent frame (its
attention); everything above it is convolutions and runs in bands (bands.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.errors import BadSetting
from filmgate.models.families.wan22.bands import (
    BandPass,
    Cache,
    CacheStore,
    Level,
    OnCpu,
    OnDevice,
)
from filmgate.models.families.wan22.decode_memory import split_rows


@dataclass(frozen=True, slots=True)
class DecoderState:
    """What the decoder remembers between latent frames; the decoder itself remembers nothing.

    `caches`: the last inputs of each convolution in each band, in the order of use. They are large
    (gigabytes at the published size) and follow from the latent frames before.
    """

    caches: tuple[Cache, ...] = ()


class StreamDecoder:
    """Decodes one latent frame after the other with diffusers' AutoencoderKLWan `vae`.

    One band gives bit for bit the frames of the library's decode of all at once. With more `bands`
    of rows less is alive at a time; the bits of a convolution may then depend on its size, by at
    most 1e-5. Bands of fewer than 8 rows of a level are not made. With `park`, what is remembered
    waits on the CPU until its convolution runs. The modules must be on one device and without
    hooks: their weights are used directly.
    """

    def __init__(
        self, vae: nn.Module, *, bands: int = 1, park: bool = False, store: CacheStore | None = None
    ) -> None:
        if bands < 1:
            raise BadSetting(f"{bands} bands: expected 1 or more")
        self._vae: Any = vae
        self._bands = bands
        self._store = store or (OnCpu() if park else OnDevice())
        self._levels = _list_levels(vae)

    def start(self) -> DecoderState:
        """Return the state before the first latent frame."""
        return DecoderState()

    def decode(self, latent: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Return the frames (N, 3, H, W) of one latent frame, and the state for the next one.

        `latent` is (1, C, 1, h, w), normalised as the sampler has it; frames are float RGB in
        [0, 1], 1 of the first latent frame, then 4 of each. `state` is not changed, so what it
        remembers is alive together with what the new one does; `stream` avoids that.
        """
        frames, caches = self._decode(self._prepare(latent), deque(state.caches))
        return frames, DecoderState(tuple(caches))

    def stream(self, latents: Tensor) -> Iterator[Tensor]:
        """Yield the frames (N, 3, H, W) of each latent frame of latents (1, C, T, h, w).

        The same as `decode` one by one (to the last bit for 4 x 4 latent positions or more), with
        half of its caches alive: each is freed as soon as the next one is made.
        """
        caches: deque[Cache] = deque()
        for x in self._prepare(latents).chunk(latents.shape[2], 2):
            frames, caches = self._decode(x, caches)
            yield frames

    def _prepare(self, latents: Tensor) -> Tensor:
        """Return the decoder's input: the same for each frame alone, but for the last bits."""
        with torch.inference_mode():
            return self._vae.post_quant_conv(denormalize(self._vae, latents))  # type: ignore[no-any-return]

    def _decode(self, x: Tensor, old: deque[Cache]) -> tuple[Tensor, deque[Cache]]:
        vae, decoder = self._vae, self._vae.decoder
        bands = BandPass(old, self._store)
        with torch.inference_mode():
            x = run_middle(bands, decoder.mid_block, bands.convolve(decoder.conv_in, x))
            heights = [x.shape[3] << level for level in range(len(self._levels))]
            pieces = bands.run(self._levels, split_rows(heights, self._bands), x)
            patch = vae.config.patch_size or 1
            frames = torch.cat([_to_rgb(piece, patch) for piece in pieces], 2)
        if frames.is_cuda:  # caches that are copied to the CPU are complete from here on
            torch.cuda.current_stream(frames.device).synchronize()
        return frames, bands.caches


def denormalize(vae: Any, latents: Tensor) -> Tensor:
    """Return latents of the sampler as the autoencoder has them, on its device, in its dtype."""
    weight = vae.post_quant_conv.weight
    latents = latents.to(weight.device, weight.dtype)
    mean, scale = get_statistics(vae, latents)
    return latents / scale + mean


def get_statistics(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return means, and 1 over standard deviations, of latents (1, C, 1, 1, 1)."""
    mean, deviation = (
        torch.tensor(values).view(1, -1, 1, 1, 1).to(like.device, like.dtype)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    return mean, 1.0 / deviation


def run_middle(bands: BandPass, block: Any, x: Tensor) -> Tensor:
    """Return the result of the middle block, which sees complete latent frames."""
    x = bands.residual(block.resnets[0], x)
    for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
        x = bands.residual(resnet, attention(x))
    return x


def _list_levels(vae: Any) -> list[Level]:
    """Return the decoder above its middle block, one level for each size of images."""
    decoder = vae.decoder
    level = _run_residual_level if vae.config.is_residual else _run_level
    levels: list[Level] = [partial(level, block) for block in decoder.up_blocks]
    highest = levels[-1]

    def finish(bands: BandPass, x: Tensor) -> Tensor:
        x = functional.silu(decoder.norm_out(highest(bands, x)), inplace=True)
        return bands.convolve(decoder.conv_out, x)

    return [*levels[:-1], finish]


def _run_level(block: Any, bands: BandPass, x: Tensor) -> Tensor:
    """A level of the autoencoder of the 14B models, of Wan 2.1."""
    for resnet in block.resnets:
        x = bands.residual(resnet, x)
    return bands.enlarge(block.upsamplers[0], x) if block.upsamplers else x


def _run_residual_level(block: Any, bands: BandPass, x: Tensor) -> Tensor:
    """A level of the autoencoder of the 5B model, of Wan 2.2, with a shortcut past it."""
    y = x
    for resnet in block.resnets:
        y = bands.residual(resnet, y)
    if block.upsampler is None:
        return y
    y = bands.enlarge(block.upsampler, y)
    return bands.add(block, y, block.avg_shortcut(x, first_chunk=bands.first))


def _to_rgb(x: Tensor, patch: int) -> Tensor:
    """Return frames (N, 3, rows, W) in [0, 1] of rows (1, 3 * patch * patch, N, rows, W)."""
    _, channels, frames, height, width = x.shape
    colours = channels // patch**2
    x = x.view(colours, patch, patch, frames, height, width).permute(3, 0, 4, 2, 5, 1)
    x = x.reshape(frames, colours, height * patch, width * patch)
    return (x.float().clamp(-1, 1) * 0.5 + 0.5).clamp_(0, 1)
