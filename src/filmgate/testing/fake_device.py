"""A device that fails on request."""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

from filmgate.core.frame import Frame
from filmgate.core.instrumentation.fault_injection import Fault
from filmgate.core.stage import AnyStage, StageWrapper
from filmgate.core.values import count_bytes


@dataclass
class FakeDevice:
    """A device that fails at given steps; `on(stage)` runs a stage on it. Steps count from 1.

    A step with more than `budget_bytes` of frames, or listed in `out_of_memory_at`, raises
    MemoryError. Step `nan_at` returns NaN images, step `stall_at` never returns. After
    `lost_after` steps every one raises Fault. Steps of all stages count, so use one per run.
    """

    budget_bytes: int | None = None
    out_of_memory_at: frozenset[int] = frozenset()
    nan_at: int | None = None
    stall_at: int | None = None
    lost_after: int | None = None
    steps: int = 0

    def on(self, stage: AnyStage) -> "FailingStage":
        """Return the stage, running on this device."""
        return FailingStage(stage, self)

    def start_step(self, frames: Sequence[Frame]) -> None:
        """Count a step with these frames. Raises MemoryError or Fault if it fails."""
        self.steps += 1
        if self.lost_after is not None and self.steps > self.lost_after:
            raise Fault(f"the device is lost since step {self.lost_after}")
        if self.steps == self.stall_at:
            Event().wait()
        if self.steps in self.out_of_memory_at:
            raise MemoryError(f"step {self.steps} does not fit")
        if self.budget_bytes is not None:
            needed = count_bytes(list(frames))
            if needed > self.budget_bytes:
                raise MemoryError(f"{needed} bytes of frames, {self.budget_bytes} fit")

    def end_step(self, outputs: list[Frame]) -> list[Frame]:
        """Return what the device makes of a step's output."""
        if self.steps != self.nan_at:
            return outputs
        images: list[Any] = [frame.image for frame in outputs]
        return [f.with_image(x * float("nan")) for f, x in zip(outputs, images, strict=True)]


@dataclass(frozen=True)
class FailingStage(StageWrapper):
    """A stage on a fake device."""

    device: FakeDevice

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        self.device.start_step(frames)
        state, outputs = self.stage.step(state, frames)
        return state, self.device.end_step(outputs)
