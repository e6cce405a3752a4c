"""Stages that give a video the constant rate that a network was trained at, and its start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.join import SOURCE
from filmgate.core.stage import Reach

State = tuple[bool, ...]  # (True,) if a shot boundary is at the next frame


@dataclass(frozen=True)
class ConstantRate:
    """Repeats and drops frames: frame k is what is shown at time (k + 1/2) / `fps`.

    At most `count` frames come out (None: all). Of a video of this rate, every frame does, once.
    """

    fps: Fraction
    count: int | None = None
    name: str = "rate"

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach()

    def output(self, spec: StreamSpec) -> StreamSpec:
        frames = spec.frames
        if frames is not None and spec.rate is not None:
            frames = ceil(frames / spec.rate * self.fps - Fraction(1, 2))
        if self.count is not None:
            frames = self.count if frames is None else min(frames, self.count)
        tick = Fraction(1, self.fps.numerator)
        return replace(spec, rate=self.fps, time_base=tick, frames=frames)

    def start(self, spec: StreamSpec, first: Position) -> State:
        return ()

    def step(self, state: State, frames: Sequence[Frame]) -> tuple[State, list[Frame]]:
        outputs = []
        for frame in frames:
            cut = bool(state or frame.extras.get("cut"))
            for k in self.list_indexes(frame):
                extras = {key: value for key, value in frame.extras.items() if key != "cut"}
                extras |= {SOURCE: frame.extras.get(SOURCE, frame.index)} | (
                    {"cut": True} if cut else {}
                )
                outputs.append(replace(frame, index=k, time=k / self.fps, duration=1 / self.fps,
                                       extras=extras))  # fmt: skip
                cut = False
            state = (True,) if cut else ()
        return state, outputs

    def finish(self, state: State) -> tuple[None, list[Frame]]:
        return None, []

    def list_indexes(self, frame: Frame) -> range:
        """Return the indexes at which a frame is shown."""
        half = Fraction(1, 2)
        first, last = ceil(frame.time * self.fps - half), ceil(frame.end * self.fps - half)
        return range(first, last if self.count is None else min(last, self.count))

    def convert_times(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the result's frames for the source's, by index and time."""
        for frame in frames:
            for k in self.list_indexes(frame):
                yield replace(frame, index=k, time=k / self.fps, duration=1 / self.fps)


@dataclass(frozen=True)
class SkipFrames:
    """Drops the first `count` frames of a video of a constant rate; those after it start at 0."""

    count: int
    name: str = "skip"

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach()

    def output(self, spec: StreamSpec) -> StreamSpec:
        frames = None if spec.frames is None else max(0, spec.frames - self.count)
        return replace(spec, frames=frames)

    def start(self, spec: StreamSpec, first: Position) -> tuple[()]:
        return ()

    def step(self, state: tuple[()], frames: Sequence[Frame]) -> tuple[tuple[()], list[Frame]]:
        return (), [*self.convert_times(frames)]

    def finish(self, state: tuple[()]) -> tuple[None, list[Frame]]:
        return None, []

    def convert_times(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the result's frames for the source's, by index and time."""
        for frame in frames:
            if frame.index >= self.count:
                yield replace(frame, index=frame.index - self.count,
                              time=frame.time - self.count * frame.duration)  # fmt: skip
