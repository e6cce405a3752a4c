"""The arithmetic around the networks of Stream-DiffVSR: noise levels, their steps, the warp."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from filmgate.errors import BadSetting, BadWeights

TRAINED = (999, 749, 499, 249)  # the noise levels for which the four-step network was distilled
# What this reads of a scheduler's settings: the stock class's own defaults, then what is wanted.
_DEFAULTS = MappingProxyType[str, object]({
    "num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear",
    "timestep_spacing": "leading", "prediction_type": "epsilon", "set_alpha_to_one": True,
    "steps_offset": 0, "clip_sample": True, "thresholding": False, "rescale_betas_zero_snr": False,
    "trained_betas": None,
})  # fmt: skip
_WANTED = MappingProxyType[str, object]({
    "num_train_timesteps": 1000, "prediction_type": "v_prediction", "timestep_spacing": "trailing",
    "clip_sample": False, "thresholding": False, "rescale_betas_zero_snr": False,
    "trained_betas": None,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Schedule:
    """How much of the picture is left at each of 1000 noise levels, and what the last step ends at.

    Song et al., "Denoising Diffusion Implicit Models", ICLR 2021, without chance; velocity is what
    the network predicts (Salimans and Ho, ICLR 2022).
    """

    beta_start: float = 0.0001
    beta_end: float = 0.02
    scaled: bool = True
    ends_at_one: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, object], where: object) -> Schedule:
        """From a published scheduler_config.json. Raises BadWeights, which tells what differs."""
        told = {name: settings.get(name, default) for name, default in _DEFAULTS.items()}
        wrong = [f"{name} is {told[name]!r}, wanted {wanted!r}"
                 for name, wanted in _WANTED.items() if told[name] != wanted]  # fmt: skip
        if told["beta_schedule"] not in ("linear", "scaled_linear"):
            wrong.append(f"beta_schedule is {told['beta_schedule']!r}, wanted 'scaled_linear'")
        if wrong:
            levels = _levels(str(told["timestep_spacing"]), 4, int(str(told["steps_offset"])))
            raise BadWeights(
                f"{where}: {'; '.join(wrong)}. Its four noise levels are {levels} and the network "
                f"was made for {list(TRAINED)}: it would draw, but badly; mend that file"
            )
        return cls(
            float(str(told["beta_start"])), float(str(told["beta_end"])),
            told["beta_schedule"] == "scaled_linear", bool(told["set_alpha_to_one"]),
        )  # fmt: skip

    def alphas(self) -> Tensor:
        """How much of the picture's energy is left at each level, (1000,) float32."""
        power = 0.5 if self.scaled else 1.0
        steps: Tensor = torch.linspace(self.beta_start**power, self.beta_end**power, 1000)
        left: Tensor = torch.cumprod(1 - steps.pow(1 / power), 0)
        return left

    def levels(self, steps: int) -> list[int]:
        """The noise levels, from the highest, at which the network is asked. Raises BadSetting."""
        if not 1 <= steps <= 1000:
            raise BadSetting(f"steps is {steps}: wanted 1 to 1000; the network is made for 4")
        return _levels("trailing", steps, 0)

    def step(self, latent: Tensor, velocity: Tensor, level: int, steps: int) -> Tensor:
        """The latent one of `steps` steps below `level`, in float32; `velocity` may be less."""
        alphas = self.alphas()
        below = level - 1000 // steps
        last = 1.0 if self.ends_at_one else float(alphas[0])
        now, after = float(alphas[level]), float(alphas[below]) if below >= 0 else last
        x, v = latent.float(), velocity.float()
        clean = sqrt(now) * x - sqrt(1 - now) * v
        noise = sqrt(now) * v + sqrt(1 - now) * x
        return sqrt(after) * clean + sqrt(1 - after) * noise


def _levels(spacing: str, steps: int, offset: int) -> list[int]:
    if spacing == "trailing":
        return [round(1000 - k * 1000 / steps) - 1 for k in range(steps)]
    if spacing == "leading":
        return [k * (1000 // steps) + offset for k in reversed(range(steps))]
    return [round(k * 999 / (steps - 1)) for k in reversed(range(steps))]


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """The picture (1, C, H, W) as seen along `flow` (1, 2, H, W; pixels, x first), in float32.

    Outside is 0. As the network was trained: places are normalised as if pixels 0 and W - 1 were
    the edges, and read as if edges lay half a pixel beyond, so no flow is not quite no change.
    """
    height, width = picture.shape[2:]
    x = torch.arange(width, device=flow.device, dtype=torch.float32) + flow[0, 0].float()
    y = torch.arange(height, device=flow.device, dtype=torch.float32)[:, None] + flow[0, 1].float()
    grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], -1)[None]
    return functional.grid_sample(
        picture.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
