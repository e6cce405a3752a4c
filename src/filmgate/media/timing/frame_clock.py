"""When frames are shown, where a container stores that roughly, unevenly or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

# Rates of cameras, recorders and film; the first that fits is taken.
COMMON_RATES = tuple(
    Fraction(*pair)
    for pair in (
        (30000, 1001), (25, 1), (24000, 1001), (30, 1), (24, 1), (50, 1), (60000, 1001), (60, 1),
        (15, 1), (15000, 1001), (12, 1), (10, 1), (20, 1), (25, 2), (5, 1), (8, 1),
    )
)  # fmt: skip
JITTER = Fraction(4, 1000)  # seconds by which times of programs that round them are wrong
JUMP = Fraction(1, 2)  # seconds back that count as a jump: more than any codec's reordering errors
_FILM_RATES = (Fraction(24000, 1001), Fraction(24))
_FIELDS = 5  # that two frames of film fill by turns, three and two (3:2)
_MIN_TICKS = 5  # of a frame, so that ticks can tell a rate from another one


@dataclass(frozen=True, slots=True)
class FrameClock:
    """Ticks of a video, and those in which its container or its decoder counts, which are `stored`.

    A tick lasts `tick` seconds; tick 0 is at `origin` seconds on the container's timeline. With a
    `rate`, frames are at multiples of 1 / rate after the stored tick `first`, that of the first
    frame, and are numbered by them; else both count alike. `counted`: nothing is stored, and each
    frame lasts a tick. A tick of the clock has `parts` ticks of the video.
    """

    tick: Fraction
    stored_tick: Fraction
    origin: Fraction = Fraction(0)
    first: int = 0
    rate: Fraction | None = None
    parts: int = 1
    counted: bool = False

    def to_tick(self, stored: int) -> int:
        """Return the tick of the clock at a stored one."""
        if self.rate is None:
            return stored
        return round((stored - self.first) * self.stored_tick * self.rate)

    def to_stored(self, tick: int) -> int:
        """Return the stored tick at or before a tick of the video."""
        tick //= self.parts
        return tick if self.rate is None else self.first + int(tick / self.rate / self.stored_tick)

    def to_seconds(self, tick: int) -> Fraction:
        """Return the time of a tick of the video on the container's timeline."""
        return self.origin + tick * self.tick

    def split(self) -> FrameClock:
        """Return the clock of a video in which two frames are made of each one."""
        return replace(self, tick=self.tick / 2, parts=2 * self.parts)


def make_even_clock(stored_tick: Fraction, first: int, rate: Fraction) -> FrameClock:
    """Return a clock of frames `rate` a second, from the stored tick `first` on."""
    return FrameClock(1 / rate, stored_tick, first * stored_tick, first, rate)


def find_even_rate(times: Iterable[int], tick: Fraction, rates: Iterable[Fraction]) -> Fraction:
    """Return the one of `rates` at which all `times` are, each within a tick; 0 if none is.

    Of several the lowest, which leaves the fewest gaps; of nearly equal ones the first.
    """
    found = sorted(times)
    able = [rate for rate in dict.fromkeys(rates)
            if 1 / rate >= _MIN_TICKS * tick and _is_even(found, tick, rate, 1.0)]  # fmt: skip
    return min(able, key=round, default=Fraction(0))


def find_film_rate(times: Iterable[int], tick: Fraction) -> Fraction | None:
    """Return the rate of film whose frames last 3 and 2 fields by turns.

    0: they last 2 or 3 fields, in another order. None: it is no film of repeated fields.
    """
    found = sorted(times)
    for rate in _FILM_RATES:
        field = 2 / (_FIELDS * rate)
        steps = [step * tick / field for step in (b - a for a, b in pairwise(found))]
        near = all(abs(step - round(step)) * field <= 2 * tick for step in steps)
        if not near or {round(step) for step in steps} != {2, 3}:
            continue
        even = _is_even(found, tick, rate, 1.1 * float(field / tick), gaps=False)
        return rate if even else Fraction(0)
    return None


def has_gaps(times: Iterable[int], clock: FrameClock) -> bool:
    """Whether frames are missing between those at stored `times`, so that the rate varies."""
    places = sorted(clock.to_tick(time) for time in times)
    return any(b - a != 1 for a, b in pairwise(places))


def _is_even(
    times: list[int], tick: Fraction, rate: Fraction, slack: float, *, gaps: bool = True
) -> bool:
    """Whether each of the sorted times is at another multiple of 1 / rate after the first one.

    At most `slack` ticks off. Not with `gaps`: each multiple has a frame.
    """
    step = float(1 / rate / tick)
    last = -1
    for time in times:
        place = round((time - times[0]) / step)
        if abs(time - times[0] - place * step) > slack or place <= last:
            return False
        if not gaps and place != last + 1:
            return False
        last = place
    return len(times) > 1
