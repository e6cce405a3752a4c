"""The denoising loop as plain values: one call makes one step.

The rules are those of diffusers' pipeline from image to video, and the schedulers are the
library's: equal parts, seed and settings give equal latents. States are on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from filmgate.errors import BadWeights
from filmgate.models.families.wan22.published import TRAIN_STEPS, Variant

SCHEDULERS = ("UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler")
# What a scheduler changes while it steps: ours, and the attribute of the library's.
_ATTRIBUTES = (
    ("index", "_step_index"),
    ("order", "this_order"),
    ("lower", "lower_order_nums"),
    ("sample", "last_sample"),
)


class NoisePredictor(Protocol):
    """The transformers of a model."""

    def predict(
        self, latents: Tensor, timestep: Tensor, embeddings: Tensor, *, high_noise: bool
    ) -> Tensor:
        """Return what the expert of high or of low noise predicts, (1, C, T, h, w)."""
        ...


@dataclass(frozen=True, slots=True)
class SchedulerState:
    """What a scheduler remembers between steps.

    `outputs` and `timesteps` are of the last steps, () for a scheduler that remembers none.
    """

    index: int | None = None
    order: int = 0
    lower: int = 0
    sample: Any = None
    outputs: tuple[Any, ...] = ()
    timesteps: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class SamplerState:
    """Latents (1, C, T, h, w) in float32 after `step` steps, and what the scheduler remembers."""

    latents: Any
    step: int = 0
    scheduler: SchedulerState = SchedulerState()


@dataclass(frozen=True)
class Sampler:
    """What steps depend on besides their state.

    `guidance`: of high and of low noise; 1 takes one pass a step, else there are two. `settings`:
    the scheduler's, as its file has them.
    """

    variant: Variant
    settings: Mapping[str, Any]
    steps: int
    guidance: tuple[float, float]

    def start(self, noise: Tensor) -> SamplerState:
        """Return the state before the first step; `noise` has the shape of the latents."""
        return SamplerState(noise.float())

    def step(
        self, state: SamplerState, experts: NoisePredictor, condition: Tensor, embeddings: Tensor
    ) -> SamplerState:
        """Return the state after the next step.

        `condition` is that of `encode_condition`. `embeddings` (2, tokens, C) are those of the
        prompt and of the negative prompt.
        """
        with torch.inference_mode(False), torch.no_grad():  # its tensors outlive this step
            scheduler = self._open_scheduler(state.scheduler)
            t = scheduler.timesteps[state.step]
            inputs, timestep = self._join(state.latents, condition, t)
            high = self.variant.boundary is None or bool(t >= self.variant.boundary * TRAIN_STEPS)
            guidance = self.guidance[0 if high else 1]
            predict = experts.predict
            noise = predict(inputs, timestep, embeddings[:1], high_noise=high).cpu()
            if self.guidance[0] > 1:  # as the library decides, for both experts
                free = predict(inputs, timestep, embeddings[1:], high_noise=high).cpu()
                noise = free + guidance * (noise - free)
            latents = scheduler.step(noise, t, state.latents, return_dict=False)[0]
        return SamplerState(latents, state.step + 1, _read_state(scheduler))

    def finish(self, state: SamplerState, condition: Tensor) -> Tensor:
        """Return the latents of the video after the last step."""
        latents: Tensor = state.latents
        return self._replace_first(latents, condition) if self.variant.replaces_first else latents

    def _join(self, latents: Tensor, condition: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the network's input, and its timestep: of all tokens, or of each."""
        if not self.variant.replaces_first:
            return torch.cat([latents, condition], 1), t.expand(1)
        times, rows, columns = self.variant.transformer["patch_size"]
        noisy = torch.ones_like(latents[0, 0])
        noisy[: condition.shape[2]] = 0
        timestep = (noisy[::times, ::rows, ::columns] * t).flatten()[None]
        return self._replace_first(latents, condition), timestep

    def _replace_first(self, latents: Tensor, condition: Tensor) -> Tensor:
        """Return the latents with the encoded image, or images, as the first ones."""
        return torch.cat([condition, latents[:, :, condition.shape[2] :]], 2)

    def _open_scheduler(self, state: SchedulerState) -> Any:
        """Return the library's scheduler, as it was when the state was read."""
        import diffusers

        name = self.settings.get("_class_name")
        if name not in SCHEDULERS:
            raise BadWeights(f"the scheduler is {name!r}, wanted {' or '.join(SCHEDULERS)}: take "
                             "the folder of weights as it is published")  # fmt: skip
        scheduler: Any = getattr(diffusers, name).from_config(dict(self.settings))
        scheduler.set_timesteps(self.steps)
        for own, attribute in _ATTRIBUTES:
            if state.index is not None and hasattr(scheduler, attribute):
                setattr(scheduler, attribute, getattr(state, own))
        if state.outputs:
            scheduler.this_order = state.order  # there is none before the first step
            scheduler.model_outputs = list(state.outputs)
            scheduler.timestep_list = list(state.timesteps)
        return scheduler


def _read_state(scheduler: Any) -> SchedulerState:
    """Return what a scheduler of the library remembers, as a plain value."""
    values = {own: getattr(scheduler, name) for own, name in _ATTRIBUTES
              if hasattr(scheduler, name)}  # fmt: skip
    return replace(
        SchedulerState(**values),
        outputs=tuple(getattr(scheduler, "model_outputs", ())),
        timesteps=tuple(getattr(scheduler, "timestep_list", ())),
    )


def draw_noise(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Return the noise that a video begins with: the library's for the same seed, on the CPU.

    Of seeds that have more than 64 bits the lowest ones count.
    """
    fits = -(1 << 63) <= seed < 1 << 64
    generator = torch.Generator().manual_seed(seed if fits else seed % (1 << 64))
    return torch.randn(shape, generator=generator)
