"""The noise levels of PersonaLive: DDIM with four fixed levels, one for each window of a stack.

Song et al., "Denoising Diffusion Implicit Models", ICLR 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

LEVELS = (0, 333, 666, 999)  # of a stack's windows, the one that leaves first
_STEP, _TRAINED = 333, 1000
_BETAS = (0.00085, 0.02)  # of the first and the last level


@cache
def compute_signal() -> Tensor:
    """Return which part of the variance is signal at each level, (1000,) float32."""
    first, last = (beta**0.5 for beta in _BETAS)
    betas = torch.linspace(first, last, _TRAINED, dtype=torch.float32) ** 2
    return (1 - betas).cumprod(0)


@dataclass(frozen=True, slots=True)
class Schedule:
    """DDIM that starts at 999 and takes three steps of 333 levels; it predicts noise."""

    levels: tuple[int, ...] = LEVELS

    def add_noise(self, latents: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        """Return latents (F, ...) with noise of their levels (F,).

        The signal is rounded to the dtype of the latents before its root is taken, as in the
        published code: in half precision the noise at level 0 weighs 0.0312 in place of 0.0292.
        """
        signal = _spread(compute_signal()[levels.cpu()].to(latents.device, latents.dtype), latents)
        return signal**0.5 * latents + (1 - signal) ** 0.5 * noise

    def remove_noise(self, latents: Tensor, noise: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Return latents (F, ...) of the next lower level, and without any noise; both float32.

        `noise` is what the network predicts; below level 0 is no noise.
        """
        table = compute_signal()
        signal = _spread(table[levels.cpu()].to(latents.device), latents)
        lower = levels.cpu() - _STEP
        after = torch.where(lower >= 0, table[lower.clamp(min=0)], torch.ones(()))
        after = _spread(after.to(latents.device), latents)
        noise, latents = noise.float(), latents.float()
        clean = (latents - (1 - signal) ** 0.5 * noise) / signal**0.5
        return after**0.5 * clean + (1 - after) ** 0.5 * noise, clean


def _spread(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.dim() - 1))
