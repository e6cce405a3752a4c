"""A device that fails on request."""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

from filmgate.core.frame import Frame
from filmgate.core.instrumentation.fault_injection import Fault
from filmgate.core.stage import AnyStage, StageWrapper
from filmgate.core.values import nbytes


@dataclass
class FakeDevice:
    """A device that fails as told; `on(stage)` is the stage running on it. Steps count from 1.

    Frames of more than `budget_bytes` at a time, and the steps in `out_of_memory_at`, do not fit
    (MemoryError); `nan_at`: its pictures are NaN; `stall_at`: it never answers; after
    `lost_after` steps every one raises Fault. Counted over all stages, so it is for one run.
    """

    budget_bytes: int | None = None
    out_of_memory_at: frozenset[int] = frozenset()
    nan_at: int | None = None
    stall_at: int | None = None
    lost_after: int | None = None
    steps: int = 0

    def on(self, stage: AnyStage) -> "Failing":
        """The stage, running here."""
        return Failing(stage, self)

    def before(self, frames: Sequence[Frame]) -> None:
        """One more step, with these frames. Raises MemoryError, Fault."""
        self.steps += 1
        if self.lost_after is not None and self.steps > self.lost_after:
            raise Fault(f"the device is lost since step {self.lost_after}")
        if self.steps == self.stall_at:
            Event().wait()
        if self.steps in self.out_of_memory_at:
            raise MemoryError(f"step {self.steps} does not fit")
        if self.budget_bytes is not None and (needed := nbytes(list(frames))) > self.budget_bytes:
            raise MemoryError(f"{needed} bytes of {self.budget_bytes} wanted")

    def after(self, frames: list[Frame]) -> list[Frame]:
        """What the device makes of a step's result."""
        if self.steps != self.nan_at:
            return frames
        return [frame.made(_spoilt(frame.image)) for frame in frames]


def _spoilt(image: Any) -> Any:
    return image * float("nan")


@dataclass(frozen=True)
class Failing(StageWrapper):
    """A stage on a fake device."""

    device: FakeDevice

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        self.device.before(frames)
        state, made = self.stage.step(state, frames)
        return state, self.device.after(made)
