"""Predict the memory of LatentSync on a GPU from the shapes of its networks alone.

Nothing is computed and no weights are needed: tensors on the meta device go through the same code,
and their bytes are counted. Its length, and that of the speech, do not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache

import torch
from torch import nn

from filmgate.device.placement import Dtype
from filmgate.device.tensor_memory import LiveMemory
from filmgate.models.contracts import MemoryPrediction
from filmgate.models.diffusion.autoencoder import Autoencoder
from filmgate.models.families.latentsync.sampler import Clip, Sampler
from filmgate.models.families.latentsync.stages import LENGTH
from filmgate.models.families.latentsync.unet import UNet
from filmgate.models.families.latentsync.whisper import BLOCK_COLUMNS, WhisperEncoder

_TOKENS = 50  # that a frame hears
_STEPS = 2  # one complete step and one of the outermost layers: more need no more


def predict(side: int, dtype: Dtype | None, guidance: float) -> Iterator[MemoryPrediction]:
    """Yield predictions for faces of this side: ours, with low memory, and the usual loop."""
    for name in (dtype,) if dtype else ("float16", "float32"):
        for way, batch, decoded, together in (
            ("ours", None, 2, True), ("low memory", None, 1, False), ("plain", LENGTH, LENGTH, True)
        ):  # fmt: skip
            parts = _predict(side, name, guidance > 1, decoded, together)
            yield MemoryPrediction(way, name, batch, dict(parts), ("side", Fraction(side)))


@cache
def _predict(
    side: int, name: str, guided: bool, decoded: int, together: bool
) -> tuple[tuple[str, int], ...]:
    """Return the peak bytes of each part; each includes the weights of all networks."""
    dtype, live = getattr(torch, name), LiveMemory(layouts=True)
    with torch.device("meta"):
        unet, whisper, vae = UNet(), WhisperEncoder(), Autoencoder()
    nets: tuple[nn.Module, ...] = (unet, whisper, vae)
    for net in nets:
        net.to("meta", dtype).eval().requires_grad_(False)
    peaks: list[tuple[str, int]] = []

    def measure(part: str, run: Callable[[], object]) -> None:
        live.peak = live.bytes
        run()
        peaks.append((part, live.peak))

    cell = side // 8
    sampler = Sampler(unet, _STEPS, 1.5 if guided else 1.0, 3, together)
    with torch.inference_mode(), torch.device("meta"), live:
        for net in nets:
            live.add(*net.parameters(), *net.buffers())
        latents = torch.empty(LENGTH, 4, cell, cell, dtype=dtype)
        tokens = torch.empty(LENGTH, _TOKENS, unet.shape.audio, dtype=dtype)
        clip = Clip(torch.empty(1, cell, cell), latents, latents.clone(), tokens)
        noise = torch.empty(1, 4, cell, cell)
        measure("whisper", lambda: whisper(torch.empty(1, 80, BLOCK_COLUMNS, dtype=dtype)))
        faces = LENGTH if decoded == LENGTH else 2  # a face with and without a mouth
        measure("encode", lambda: vae.encode(torch.empty(faces, 3, side, side)))
        measure("unet", lambda: sampler.denoise(clip, noise))
        measure("decode", lambda: vae.decode(latents[:decoded]))
    return tuple(peaks)
