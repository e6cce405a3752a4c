"""The times of interpolated frames."""

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from filmgate.core.frame import Frame, Position, StreamSpec


@dataclass(frozen=True, slots=True)
class OutputTime:
    """Where one output frame is: at `part` (0 to 1) between a frame and the next, at `time` s.

    It lasts until the next one. The last one has the duration 0 and marks the end of the video.
    """

    part: Fraction
    time: Fraction
    duration: Fraction


@dataclass(frozen=True, slots=True)
class Grid:
    """Output k is at input k/`factor`, or at time k/`fps`; all times are multiplied by `slow`."""

    factor: Fraction = Fraction(0)
    fps: Fraction = Fraction(0)
    slow: Fraction = Fraction(1)

    def list_times(self, frame: Frame, last: bool, drop: bool) -> list[OutputTime]:
        """Return the outputs within the frame's time, and after the last frame the end.

        With `drop`, the last frame is shown for one step of the grid, not for all its time.
        """
        start, duration = frame.time * self.slow, frame.duration * self.slow
        if self.fps:
            numbers = range(ceil(start * self.fps), ceil((start + duration) * self.fps))
            parts = [(k / self.fps - start) / duration for k in numbers]
        else:
            numbers = range(ceil(frame.index * self.factor), ceil((frame.index + 1) * self.factor))
            parts = [k / self.factor - frame.index for k in numbers]
        if last and drop:
            parts = parts[:1] if 0 in parts else []
            step = 1 / self.fps if self.fps else duration / self.factor
            duration = min(duration, step) if parts else Fraction(0)
        times = [OutputTime(part, start + part * duration, duration) for part in parts]
        return [*times, OutputTime(Fraction(0), start + duration, Fraction(0))] if last else times

    def first_index(self, position: Position) -> int:
        """Return the index of the first output at or after the frame at `position`."""
        time = position.time * self.slow
        return ceil(time * self.fps if self.fps else position.index * self.factor)

    def describe_output(self, spec: StreamSpec) -> StreamSpec:
        """Return the stream that comes out."""
        if self.fps:
            length = None if spec.rate is None or spec.frames is None else spec.frames / spec.rate
            frames = None if length is None else ceil(length * self.slow * self.fps)
            return replace(
                spec, rate=self.fps, time_base=Fraction(1, self.fps.numerator), frames=frames
            )
        return replace(
            spec,
            rate=None if spec.rate is None else spec.rate * self.factor / self.slow,
            time_base=spec.time_base * self.slow / self.factor.numerator,
            frames=None if spec.frames is None else ceil(spec.frames * self.factor),
        )
