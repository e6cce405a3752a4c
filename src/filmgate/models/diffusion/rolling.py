"""A denoiser of videos of any length: each window of frames passes through all noise levels.

A stack of windows is denoised at once, the first one at the lowest level, the last one at the
highest. After each pass the first window leaves, free of noise, the others are one level lower, and
a new one of noise joins. So every frame sees its past and its future, and nothing is cut. Kim et
al., "FIFO-Diffusion: Generating Infinite Videos from Text without Training", NeurIPS 2024; Li et
al., "PersonaLive! Expressive Portrait Image Animation for Live Streaming", 2025.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from filmgate.errors import BadSetting
from filmgate.models.diffusion.noise import draw_noise

# Given latents (F, C, h, w), their levels (F,) and the condition of each window: their noise.
Predict = Callable[[Tensor, Tensor, Sequence[Any]], Tensor]
# Given the indices of frames and the shape (C, h, w) of one: their noise (F, C, h, w).
Draw = Callable[[Sequence[int], tuple[int, ...]], Tensor]


class Schedule(Protocol):
    """How noise is added and removed; a schedule holds settings and never changes."""

    @property
    def levels(self) -> Sequence[int]:
        """The level of each window of a stack, the lowest first."""
        ...

    def add_noise(self, latents: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        """Return latents (F, ...) with noise of their levels (F,)."""
        ...

    def remove_noise(self, latents: Tensor, noise: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Return latents (F, ...) of the next lower level, and free of noise."""
        ...


@dataclass(frozen=True, slots=True)
class Window:
    """A window that left the stack: its number, clean latents (M, C, h, w) and condition.

    Numbers count from 0; those of the windows with which the stack started are negative.
    """

    number: int
    latents: Tensor
    condition: Any


@dataclass(frozen=True, slots=True)
class Piles:
    """The state: what stays in the stack between two passes, the lowest level first.

    `latents` ((N - 1) M, C, h, w), `conditions` of the N - 1 windows, and the number of the window
    that joins next.
    """

    latents: Tensor
    conditions: tuple[Any, ...]
    next: int = 0


def draw_frames(seed: int, purpose: str) -> Draw:
    """Return a function that draws each frame's noise by its index, whatever is drawn besides."""

    def draw(indices: Sequence[int], shape: tuple[int, ...]) -> Tensor:
        noise = [torch.from_numpy(draw_noise(seed, purpose, index, shape)) for index in indices]
        return torch.stack(noise)

    return draw


@dataclass(frozen=True)
class RollingDenoiser:
    """Moves windows of `window` frames through the levels of `schedule`.

    Windows count from the start of the stream, and noise belongs to a frame's index, so results do
    not depend on how a stream is cut. Nothing grows: one pass for each window.
    """

    schedule: Schedule
    window: int
    draw: Draw

    def __post_init__(self) -> None:
        if self.window < 1 or len(self.schedule.levels) < 2:
            raise BadSetting(f"window is {self.window}, and there are {len(self.schedule.levels)} "
                             "levels: pass 1 frame or more and 2 levels or more")  # fmt: skip

    @property
    def waiting(self) -> int:
        """How many windows stay in the stack: a window leaves so many pushes later."""
        return len(self.schedule.levels) - 1

    def start(self, latents: Tensor, conditions: Sequence[Any]) -> Piles:
        """Return the state before the first window: a warm start from clean latents.

        `latents` ((N - 1) M, C, h, w), such as a reference repeated; frame indices are negative.
        Raises BadSetting for another number of frames or conditions.
        """
        count = self.waiting * self.window
        if len(latents) != count or len(conditions) != self.waiting:
            raise BadSetting(f"there are {len(latents)} latents and {len(conditions)} conditions: "
                             f"pass {count} and {self.waiting}")  # fmt: skip
        levels = self._spread(self.schedule.levels[:-1])
        noise = self._draw(range(-count, 0), latents)
        return Piles(self.schedule.add_noise(latents, noise, levels), tuple(conditions))

    def push(
        self, piles: Piles, latents: Tensor, condition: Any, predict: Predict
    ) -> tuple[Piles, Window]:
        """Let a window join, denoise the stack once, and return the window that leaves.

        `latents` (M, C, h, w): what the new window's noise is added to. At the end of a stream,
        push windows that repeat the last condition until the last wanted one has left.
        """
        first = piles.next * self.window
        noise = self._draw(range(first, first + self.window), latents)
        new = self.schedule.add_noise(latents, noise, self._spread(self.schedule.levels[-1:]))
        stack = torch.cat([piles.latents, new])
        conditions = (*piles.conditions, condition)
        levels = self._spread(self.schedule.levels)
        predicted = predict(stack, levels.to(stack.device), conditions)
        lower, clean = self.schedule.remove_noise(stack, predicted, levels)
        kept = lower[self.window :].to(stack.dtype)
        left = Window(piles.next - self.waiting, clean[: self.window].to(stack.dtype),
                      conditions[0])  # fmt: skip
        return Piles(kept, conditions[1:], piles.next + 1), left

    def _spread(self, levels: Sequence[int]) -> Tensor:
        """Return the level of each frame of windows with these levels."""
        return torch.tensor(levels).repeat_interleave(self.window)

    def _draw(self, indices: Sequence[int], like: Tensor) -> Tensor:
        noise = self.draw(indices, tuple(like.shape[1:]))
        return noise.to(like.device, like.dtype)
