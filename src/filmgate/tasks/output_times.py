"""The times of interpolated frames."""

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from filmgate.core.frame import Frame, Position, StreamSpec


@dataclass(frozen=True, slots=True)
class Place:
    """Where one result stands: at `part` (0 to 1) between a frame and the next, at `time` seconds.

    It lasts until the next place, and the last one, which `lasts` 0, is where the film ends.
    """

    part: Fraction
    time: Fraction
    lasts: Fraction


@dataclass(frozen=True, slots=True)
class Grid:
    """Output k stands at input k/`factor`, or at time k/`fps`; all is `slow` times longer."""

    factor: Fraction = Fraction(0)
    fps: Fraction = Fraction(0)
    slow: Fraction = Fraction(1)

    def places(self, frame: Frame, last: bool, drop: bool) -> list[Place]:
        """The results that lie in this frame's time, and after the last frame's the film's end.

        With `drop` only the last frame itself is left of its time, for one step of the grid.
        """
        begin, long = frame.time * self.slow, frame.duration * self.slow
        if self.fps:
            numbers = range(ceil(begin * self.fps), ceil((begin + long) * self.fps))
            parts = [(k / self.fps - begin) / long for k in numbers]
        else:
            numbers = range(ceil(frame.index * self.factor), ceil((frame.index + 1) * self.factor))
            parts = [k / self.factor - frame.index for k in numbers]
        if last and drop:
            parts = parts[:1] if 0 in parts else []
            step = 1 / self.fps if self.fps else long / self.factor
            long = min(long, step) if parts else Fraction(0)
        places = [Place(part, begin + part * long, long) for part in parts]
        return [*places, Place(Fraction(0), begin + long, Fraction(0))] if last else places

    def first(self, at: Position) -> int:
        """The number of the first result from the frame at `at` on."""
        return ceil(at.time * self.slow * self.fps if self.fps else at.index * self.factor)

    def output(self, spec: StreamSpec) -> StreamSpec:
        """The stream that comes out."""
        if self.fps:
            long = None if spec.rate is None or spec.frames is None else spec.frames / spec.rate
            frames = None if long is None else ceil(long * self.slow * self.fps)
            return replace(
                spec, rate=self.fps, time_base=Fraction(1, self.fps.numerator), frames=frames
            )
        return replace(
            spec,
            rate=None if spec.rate is None else spec.rate * self.factor / self.slow,
            time_base=spec.time_base * self.slow / self.factor.numerator,
            frames=None if spec.frames is None else ceil(spec.frames * self.factor),
        )
