"""Denoise the latents of a clip: DDIM, with guidance by what the clip would be without audio.

Song et al., "Denoising Diffusion Implicit Models", 2021; noise levels of Stable Diffusion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from torch import Tensor

from filmgate.errors import BadSetting
from filmgate.models.families.latentsync.compiled import CompiledUNet
from filmgate.models.families.latentsync.layers import Audio
from filmgate.models.families.latentsync.unet import UNet

TRAINED_STEPS = 1000
_BETA = 0.00085, 0.012  # of the first and the last noise level
Trajectory = tuple[Tensor, ...]  # latents (K, 4, h, w) of a few frames before each step, and after


def list_steps(count: int) -> tuple[int, ...]:
    """Return the steps of the noise levels, from most noise to least: 951, 901 ... 1 for 20."""
    if not 1 <= count <= TRAINED_STEPS:
        raise BadSetting(f"steps is {count}: pass 1 to {TRAINED_STEPS}")
    stride = TRAINED_STEPS // count
    return tuple(k * stride + 1 for k in reversed(range(count)))


@cache
def _list_kept() -> tuple[float, ...]:
    """Return the share of the image's variance that each noise level keeps."""
    betas = np.linspace(_BETA[0] ** 0.5, _BETA[1] ** 0.5, TRAINED_STEPS, dtype=np.float32) ** 2
    return tuple(np.cumprod(1 - betas, dtype=np.float32).tolist())


def remove_noise(latents: Tensor, noise: Tensor, step: int, count: int) -> Tensor:
    """Return the latents at the next of `count` noise levels, given their noise at `step`."""
    kept, before = _list_kept(), step - TRAINED_STEPS // count
    now, then = kept[step], kept[max(0, before)]
    clean = (latents - (1 - now) ** 0.5 * noise) / now**0.5
    return then**0.5 * clean + (1 - then) ** 0.5 * noise  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Clip:
    """What a clip of F frames is made of, on the network's device.

    `mask` (1, h, w): 1 keeps. `masked` and `reference` (F, 4, h, w): latents of the faces with and
    without the part that is generated. `audio` (F, T, C): the tokens that each frame hears.
    """

    mask: Tensor
    masked: Tensor
    reference: Tensor
    audio: Tensor

    @property
    def frames(self) -> int:
        """The number of frames."""
        return len(self.masked)


@dataclass(frozen=True, slots=True)
class Sampler:
    """How a clip is denoised. `every`: steps from one on which the complete network runs to the
    next (1: on all); between them only its outermost layers do. `together` False: with and without
    audio one after the other, with less memory.
    """

    net: UNet | CompiledUNet = field(compare=False, repr=False)
    steps: int = 20
    guidance: float = 1.5
    every: int = 1
    together: bool = True

    def denoise(
        self, clip: Clip, noise: Tensor, before: Trajectory = (), at: int = 0, keep: int = 0
    ) -> tuple[Tensor, Trajectory]:
        """Return the latents (F, 4, h, w), and the trajectory of the last `keep` frames.

        `noise` (1, 4, h, w) is shared by all frames. `before` is the trajectory that K frames, from
        number `at` on, had in the clip before: they follow it, less and less from the first to the
        last. Latents are float32, whatever the dtype of the network.
        """
        latents = noise.float().expand(clip.frames, -1, -1, -1)
        guided = self.guidance > 1
        heard = self._project(clip, guided)
        inner: list[Tensor | None] = [None] * len(heard)
        steps, weights = list_steps(self.steps), _fade(before, at, latents)
        path = []
        for k, step in enumerate(steps):
            latents = _follow(latents, before, k, weights)
            path.append(latents[clip.frames - keep :].clone())
            x = torch.cat([latents.to(self.net.dtype), self._condition(clip)], 1)[None]
            noises = []
            for n, audio in enumerate(heard):
                rows = x.expand(2, -1, -1, -1, -1) if audio[0].silent and self.together else x
                if k % self.every:
                    held = inner[n]
                    assert held is not None
                    predicted, _ = self.net.refine(rows, step, audio, held)
                else:
                    predicted, held = self.net(rows, step, audio)
                    inner[n] = held if self.every > 1 else None
                noises += list(predicted.float())
            predicted = noises[0]
            if guided:
                predicted = noises[0] + self.guidance * (noises[1] - noises[0])
            latents = remove_noise(latents, predicted, step, len(steps))
        latents = _follow(latents, before, len(steps), weights)
        path.append(latents[clip.frames - keep :].clone())
        return latents, tuple(path) if keep else ()

    def _project(self, clip: Clip, guided: bool) -> Sequence[tuple[Audio, ...]]:
        """Return what each pass through the network hears."""
        audio = clip.audio.to(self.net.dtype)[None]
        if not guided:
            return [self.net.project_audio(audio)]
        if self.together:
            return [self.net.project_audio(audio, silent=True)]
        nothing = self.net.project_audio(torch.zeros_like(audio))
        return [nothing, self.net.project_audio(audio)]

    def _condition(self, clip: Clip) -> Tensor:
        mask = clip.mask.to(self.net.dtype).expand(clip.frames, -1, -1, -1)
        return torch.cat([mask, clip.masked.to(mask), clip.reference.to(mask)], 1)


def _fade(before: Trajectory, at: int, latents: Tensor) -> Tensor:
    """Return how much each frame is drawn to the clip before on each step, (F, 1, 1, 1).

    After all steps the first frame has followed it nearly completely, the last hardly.
    """
    count = len(before[0]) if before else 0
    weights = np.zeros((len(latents), 1, 1, 1), np.float32)
    shares = np.arange(count, 0, -1) / (count + 1)
    weights[at : at + count, 0, 0, 0] = 1 - (1 - shares) ** (1 / max(1, len(before)))
    return torch.from_numpy(weights).to(latents.device)


def _follow(latents: Tensor, before: Trajectory, k: int, weights: Tensor) -> Tensor:
    """Return the latents, some drawn to those of the clip before at the same step."""
    if not before:
        return latents
    places = weights.flatten().nonzero().flatten()
    drawn = latents.clone()
    own = latents[places]
    drawn[places] = own + weights[places] * (before[k].to(latents) - own)
    return drawn
