"""Times that are stored roughly or unevenly."""

from fractions import Fraction
from itertools import accumulate

import pytest

from filmgate.media.timing.frame_clock import (
    COMMON_RATES,
    find_even_rate,
    find_film_rate,
    has_gaps,
    make_even_clock,
)
from tests.media.old_videos import NTSC

MS = Fraction(1, 1000)
FILM = Fraction(24000, 1001)


@pytest.mark.parametrize("rate", [NTSC, Fraction(25), FILM, Fraction(60), Fraction(15)])
def test_milliseconds_are_evened_at_the_rate_that_all_fit(rate: Fraction) -> None:
    times = [43 + int(n / rate / MS) for n in range(2000)]
    found = find_even_rate(times, MS, COMMON_RATES)
    assert found == rate
    clock = make_even_clock(MS, 43, rate)
    assert [clock.to_tick(time) for time in times] == list(range(2000))
    assert clock.to_seconds(100) == 43 * MS + 100 / rate
    assert times[100] - 1 <= clock.to_stored(100) <= times[100]
    halves = clock.split()
    assert (halves.tick * 2, halves.to_stored(200)) == (clock.tick, clock.to_stored(100))


def test_one_frame_that_is_off_keeps_the_stored_times() -> None:
    times = [int(n / NTSC / MS) for n in range(500)]
    assert find_even_rate([*times[:300], times[300] + 3, *times[301:]], MS, COMMON_RATES) == 0
    assert find_even_rate([0, 40, 40, 80], MS, COMMON_RATES) == 0


def test_frames_that_were_left_out_are_gaps() -> None:
    times = [40 * n for n in range(20) if n != 7]
    assert find_even_rate(times, MS, COMMON_RATES) == 25
    assert has_gaps(times, make_even_clock(MS, 0, Fraction(25)))


@pytest.mark.parametrize(("tick", "field"), [(Fraction(1, 90000), 1501.5), (MS, 16.683)])
def test_repeated_fields_are_film(tick: Fraction, field: float) -> None:
    def stored(fields: list[int]) -> list[int]:
        return [round(time * field) for time in accumulate(fields, initial=0)]

    assert find_film_rate(stored([3, 2] * 40), tick) == FILM
    assert find_film_rate(stored([2, 3] * 40), tick) == FILM
    assert find_film_rate(stored([2] * 40), tick) is None
    assert find_film_rate(stored([2, 2, 2, 3] * 20), tick) == 0
    assert find_film_rate(stored([4, 2] * 20), tick) is None
