"""Frame rates and other fractions: as people write them, and as FFmpeg takes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from math import floor

from filmgate.core.frame import Frame
from filmgate.errors import BadSetting

_MAX_INT = (1 << 31) - 1  # of the two numbers of a fraction in FFmpeg
_MIN_RATE = Fraction(1, 86_400)  # a frame a day
MAX_RATE = Fraction(1000)  # of outputs
MAX_INPUT_RATE = Fraction(100_000)  # of images and of other inputs without times
_NTSC = (12, 15, 24, 30, 48, 60, 72, 90, 96, 120, 144, 240)  # each times 1000/1001
_HUGE_EXPONENT = re.compile(r"[^e]*e[+-]?\d{4,}", re.IGNORECASE)
_MAX_DRIFT = 2  # frames that a header or an edit list may be off
_NEAR = 1001  # largest denominator of a rate or factor that errors name


def parse_fraction(name: str, value: object) -> Fraction:
    """Return the setting `name` as an exact fraction: 2, 2.1, "5/2", "60000/1001".

    A float is what its decimal digits say. Raises BadSetting.
    """
    if isinstance(value, Fraction):
        return value
    text = repr(value) if isinstance(value, float) else str(value)
    wanted = "wanted a number such as 2, 2.5 or 60000/1001"
    if len(text) > 1000 or _HUGE_EXPONENT.fullmatch(text.strip()):  # thousands of digits
        raise BadSetting(f"{name} is {text[:20]}..., which has too many digits: {wanted}")
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise BadSetting(f"{name} is {text!r}: {wanted}") from error


def check_rate(name: str, value: object, most: Fraction = MAX_RATE) -> Fraction:
    """Return frames per second from a setting; 59.94 and 59.94005994 mean 60000/1001.

    Raises BadSetting for what is no rate, with the nearest one that is.
    """
    rate = _find_ntsc_rate(parse_fraction(name, value))
    return check_fraction(name, rate, _MIN_RATE, most, "frames per second")


def check_fraction(
    name: str, value: object, least: Fraction, most: Fraction, unit: str = ""
) -> Fraction:
    """Return a setting that is from `least` to `most`, as an exact fraction. Raises BadSetting."""
    number = parse_fraction(name, value)
    found, unit = f"{name} is {format_fraction(number)}", unit and f" {unit}"
    if number <= 0:
        raise BadSetting(f"{found}: wanted more than 0, such as 2 or 5/2")
    if not least <= number <= most:
        raise BadSetting(f"{found}, wanted {least} to {most}{unit}")
    if not _fits(number):
        near = max(number.limit_denominator(_NEAR), least)
        raise BadSetting(
            f"{found}, which has too many digits: pass {near}, the nearest fraction of small "
            "numbers"
        )
    return number


class LossWatch:
    """Notices what of frames an output cannot store, which it calls `output` in messages.

    `rate` is the only one it has (None: it stores times); `captions`: it stores them.
    """

    def __init__(self, output: str, rate: Fraction | None, *, captions: bool) -> None:
        self._output, self._rate, self._captions = output, rate, captions

    def check(self, frames: Sequence[Frame]) -> list[str]:
        """Return what to report about these frames, each kind of loss once."""
        messages = self._check_times(frames)
        if not self._captions and any("captions" in frame.extras for frame in frames):
            self._captions = True  # once is enough
            messages.append(f"closed captions are left out: {self._output} cannot store them")
        return messages

    def _check_times(self, frames: Sequence[Frame]) -> list[str]:
        rate = self._rate
        if rate is None:
            return []
        for frame in frames:
            if abs(frame.index - frame.time * rate) > _MAX_DRIFT:
                self._rate = None  # once is enough
                message = (
                    f"from about {float(frame.time):.3f} s on, the times of frames are left out: "
                    f"their rate is no longer {format_fraction(rate)}, and {self._output} cannot "
                    "store times; name a video that is no y4m, or pass --fps to interpolate"
                )
                return [message]
        return []


def fit_fraction(value: Fraction) -> Fraction:
    """Return the nearest fraction that FFmpeg can hold; `value` itself in nearly all cases.

    FFmpeg keeps two numbers of 32 bits. `value` is positive.
    """
    if _fits(value):
        return value
    if value < 1:
        return 1 / fit_fraction(1 / value)
    if value >= _MAX_INT:
        return Fraction(_MAX_INT)
    fitted, most = value, int(_MAX_INT / value)
    while not _fits(fitted):  # rounding up may exceed the limit once
        fitted, most = value.limit_denominator(most), most - 1
    return fitted


def format_fraction(value: Fraction) -> str:
    """Return a fraction as text, shortened if it has many digits: "60000/1001", "1e+400"."""
    if _fits(value):
        return str(value)
    number = Decimal(value.numerator) / Decimal(value.denominator)
    return f"{Decimal(f'{number:.12g}').normalize()}".lower()


def _fits(value: Fraction) -> bool:
    return abs(value.numerator) <= _MAX_INT and value.denominator <= _MAX_INT


def _find_ntsc_rate(rate: Fraction) -> Fraction:
    """Return the NTSC rate of which `rate` is the decimal form with two digits or more."""
    digits = next((n for n in range(2, 40) if 10**n % rate.denominator == 0), 0)
    for nominal in _NTSC if digits and rate.denominator > 1 else ():
        exact = Fraction(nominal * 1000, 1001)
        if rate in (round(exact, digits), floor(exact * 10**digits) * Fraction(1, 10**digits)):
            return exact
    return rate
