"""Encode the image that a video starts with to the condition that the sampler needs.

Wan's autoencoder is causal, so the video that the A14B model wants encoded (the image, then grey
frames, then perhaps the last image) goes through it a chunk at a time and is never in memory. Grey
frames cannot be cut short: their latents keep changing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.errors import BadSetting, BadWeights
from filmgate.models.families.wan22.bands import (
    BandPass,
    Cache,
    CacheStore,
    Level,
    OnCpu,
    OnDevice,
)
from filmgate.models.families.wan22.decode_memory import split_rows
from filmgate.models.families.wan22.decoder import get_statistics, run_middle
from filmgate.models.families.wan22.published import Variant


def encode_condition(
    vae: nn.Module, variant: Variant, image: Tensor, last: Tensor | None, frames: int, *,
    bands: int = 1, park: bool = False, store: CacheStore | None = None,
) -> Tensor:  # fmt: skip
    """Return the condition, float32, of a video of so many `frames` that starts with `image`.

    Images are (3, H, W) in [0, 1], or the first N of a video (N, 3, H, W). If the model replaces
    its first latent frames: those, (1, C, n, h, w). Else mask and latents of the complete video,
    (1, temporal + C, T, h, w), which ends with `last`. One band gives the library's bits. Raises
    BadSetting for a wrong number of frames, and for a last image that has no place.
    """
    temporal, images = variant.temporal, image if image.ndim == 4 else image[None]
    for count in (frames, len(images)):
        if count % temporal != 1:
            raise BadSetting(f"{count} frames: expected 1 more than a multiple of {temporal}")
    if last is not None and variant.replaces_first:
        raise BadSetting(f"{variant.name} takes no last image: omit it, or use i2v-a14b")
    room = frames - len(images)
    if room < (last is not None):
        raise BadSetting(f"{frames} frames have no place for {len(images)} first images and "
                         f"{int(last is not None)} last: pass more frames")  # fmt: skip
    chunks = _list_chunks(images, last, 0 if variant.replaces_first else room, temporal)
    latents = encode_stream(vae, chunks, bands, park, store).float()
    mean, scale = get_statistics(vae, latents)
    latents = (latents - mean) * scale
    if variant.replaces_first:
        return latents
    mask = latents.new_zeros(1, temporal, *latents.shape[2:])
    mask[:, :, : variant.count_latent_frames(len(images))] = 1
    if last is not None:
        mask[:, -1, -1] = 1
    return torch.cat([mask, latents], 1)


def encode_stream(
    vae: Any, chunks: Iterable[Tensor], bands: int = 1, park: bool = False,
    store: CacheStore | None = None,
) -> Tensor:  # fmt: skip
    """Return the mean latents (1, C, T, h, w), not normalised, of T chunks of frames.

    Chunks are (1, 3, N, H, W) in [-1, 1]: the first of 1 frame, the others of 4.
    """
    if bands < 1:
        raise BadSetting(f"{bands} bands: expected 1 or more")
    store = store or (OnCpu() if park else OnDevice())
    levels, weight = _list_levels(vae), vae.quant_conv.weight
    caches, encoded = deque[Cache](), list[Tensor]()
    for chunk in chunks:
        with torch.inference_mode():
            x = _split_pixels(chunk.to(weight.device, weight.dtype), vae.config.patch_size or 1)
            latent, caches = _encode(vae, levels, x, BandPass(caches, store), bands)
        encoded.append(latent)
    with torch.inference_mode():
        return vae.quant_conv(torch.cat(encoded, 2))[:, : vae.config.z_dim]  # type: ignore[no-any-return]


def _encode(
    vae: Any, levels: list[Level], x: Tensor, passing: BandPass, bands: int
) -> tuple[Tensor, deque[Cache]]:
    encoder = vae.encoder
    rows = split_rows((x.shape[3] >> level for level in range(len(levels))), bands)
    x = torch.cat(list(passing.run(levels, rows, x)), 3)
    x = run_middle(passing, encoder.mid_block, x)
    x = passing.convolve(encoder.conv_out, functional.silu(encoder.norm_out(x), inplace=True))
    return x, passing.caches


def _list_chunks(images: Tensor, last: Tensor | None, room: int, temporal: int) -> Iterator[Tensor]:
    """Yield the video to encode: the images, `room` grey frames, the last image in their place."""
    first, others = _to_frames(images[:1]), _to_frames(images[1:])
    yield first
    yield from others.chunk(others.shape[2] // temporal, 2) if len(images) > 1 else ()
    grey = torch.zeros_like(first).expand(-1, -1, temporal, -1, -1)
    for left in range(room, 0, -temporal):
        if last is not None and left == temporal:
            yield torch.cat([grey[:, :, 1:], _to_frames(last[None]).to(grey)], 2)
        else:
            yield grey


def _to_frames(images: Tensor) -> Tensor:
    """Return images (N, 3, H, W) in [0, 1] as frames (1, 3, N, H, W) in [-1, 1]."""
    return (2.0 * images.float() - 1.0).transpose(0, 1)[None]


def _split_pixels(x: Tensor, patch: int) -> Tensor:
    """Return frames (1, 3, N, H, W) as (1, 3 * patch * patch, N, H / patch, W / patch)."""
    if patch == 1:
        return x
    _, colours, frames, height, width = x.shape
    x = x.view(colours, frames, height // patch, patch, width // patch, patch)
    x = x.permute(0, 5, 3, 1, 2, 4)
    return x.reshape(1, colours * patch**2, frames, height // patch, width // patch)


def _list_levels(vae: Any) -> list[Level]:
    """Return the encoder below its middle block, one level for each size of images."""
    encoder = vae.encoder
    if vae.config.attn_scales:
        raise BadWeights(f"the autoencoder has attention at scales {vae.config.attn_scales}: "
                         "expected none outside its middle block")  # fmt: skip
    level: Callable[[Any, BandPass, Tensor], Tensor]
    if vae.config.is_residual:
        level, blocks = _run_residual_level, list(encoder.down_blocks)
    else:
        level, blocks = _run_level, list(_group_blocks(vae))

    def begin(bands: BandPass, x: Tensor) -> Tensor:
        return level(blocks[0], bands, bands.convolve(encoder.conv_in, x))

    return [begin, *(partial(level, one) for one in blocks[1:])]


def _group_blocks(vae: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the residual blocks of each size, and what halves it afterwards."""
    blocks, count = vae.encoder.down_blocks, vae.config.num_res_blocks
    for start in range(0, len(blocks), count + 1):
        resnets, halving = blocks[start : start + count], blocks[start + count : start + count + 1]
        yield resnets, halving[0] if halving else None


def _run_level(blocks: tuple[Any, Any], bands: BandPass, x: Tensor) -> Tensor:
    """A level of the autoencoder of the 14B models, of Wan 2.1."""
    resnets, halving = blocks
    for resnet in resnets:
        x = bands.residual(resnet, x)
    return x if halving is None else bands.shrink(halving, x)


def _run_residual_level(block: Any, bands: BandPass, x: Tensor) -> Tensor:
    """A level of the autoencoder of the 5B model, of Wan 2.2, with a shortcut past it."""
    y = x
    for resnet in block.resnets:
        y = bands.residual(resnet, y)
    if block.downsampler is not None:
        y = bands.shrink(block.downsampler, y)
    return bands.add(block, y, bands.average(block.avg_shortcut, x))
