"""The arithmetic of Stream-DiffVSR outside its networks: noise levels, steps and the warp."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from filmgate.errors import BadSetting, BadWeights

TRAINED_LEVELS = (
    999,
    749,
    499,
    249,
)  # the noise levels for which the four-step network was distilled
# Settings of a scheduler: defaults of diffusers' class, then the values that are required.
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
    """How much of the signal is left at each of 1000 noise levels, and at the end of the last step.

    Song et al., "Denoising Diffusion Implicit Models", ICLR 2021, deterministic; the network
    predicts velocity (Salimans and Ho, ICLR 2022).
    """

    beta_start: float = 0.0001
    beta_end: float = 0.02
    scaled: bool = True
    ends_at_one: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, object], where: object) -> Schedule:
        """Return that of a scheduler_config.json. Raises BadWeights, which names what differs."""
        values = {name: settings.get(name, default) for name, default in _DEFAULTS.items()}
        wrong = [f"{name} is {values[name]!r}, expected {wanted!r}"
                 for name, wanted in _WANTED.items() if values[name] != wanted]  # fmt: skip
        if values["beta_schedule"] not in ("linear", "scaled_linear"):
            wrong.append(f"beta_schedule is {values['beta_schedule']!r}, expected 'scaled_linear'")
        if wrong:
            levels = _space_levels(
                str(values["timestep_spacing"]), 4, int(str(values["steps_offset"]))
            )
            raise BadWeights(
                f"{where}: {'; '.join(wrong)}. Its four noise levels are {levels} and the network "
                f"was trained for {list(TRAINED_LEVELS)}: download that file again"
            )
        return cls(
            float(str(values["beta_start"])), float(str(values["beta_end"])),
            values["beta_schedule"] == "scaled_linear", bool(values["set_alpha_to_one"]),
        )  # fmt: skip

    def compute_alphas(self) -> Tensor:
        """Return the share of the signal's energy left at each level, (1000,) float32."""
        power = 0.5 if self.scaled else 1.0
        steps: Tensor = torch.linspace(self.beta_start**power, self.beta_end**power, 1000)
        left: Tensor = torch.cumprod(1 - steps.pow(1 / power), 0)
        return left

    def list_levels(self, steps: int) -> list[int]:
        """Return the noise levels of the steps, highest first. Raises BadSetting."""
        if not 1 <= steps <= 1000:
            raise BadSetting(f"steps is {steps}: pass 1 to 1000; the network is trained for 4")
        return _space_levels("trailing", steps, 0)

    def step(self, latent: Tensor, velocity: Tensor, level: int, steps: int) -> Tensor:
        """Return the latent one of `steps` steps below `level`, in float32."""
        alphas = self.compute_alphas()
        below = level - 1000 // steps
        last = 1.0 if self.ends_at_one else float(alphas[0])
        now, after = float(alphas[level]), float(alphas[below]) if below >= 0 else last
        x, v = latent.float(), velocity.float()
        clean = sqrt(now) * x - sqrt(1 - now) * v
        noise = sqrt(now) * v + sqrt(1 - now) * x
        return sqrt(after) * clean + sqrt(1 - after) * noise


def _space_levels(spacing: str, steps: int, offset: int) -> list[int]:
    if spacing == "trailing":
        return [round(1000 - k * 1000 / steps) - 1 for k in range(steps)]
    if spacing == "leading":
        return [k * (1000 // steps) + offset for k in reversed(range(steps))]
    return [round(k * 999 / (steps - 1)) for k in reversed(range(steps))]


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Return the image (1, C, H, W) sampled along `flow` (1, 2, H, W; pixels, x first), in float32.

    Outside is 0. As in training, positions are normalised as if pixels 0 and W - 1 were the edges
    and read as if the edges were half a pixel outside: zero flow changes the image a little.
    """
    height, width = image.shape[2:]
    x = torch.arange(width, device=flow.device, dtype=torch.float32) + flow[0, 0].float()
    y = torch.arange(height, device=flow.device, dtype=torch.float32)[:, None] + flow[0, 1].float()
    grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], -1)[None]
    return functional.grid_sample(
        image.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
