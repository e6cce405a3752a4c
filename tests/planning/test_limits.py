"""Numbers of a plan have bounds, which are checked before anything starts."""

from fractions import Fraction

import pytest

from filmgate.cli.request import SampleOptions
from filmgate.errors import BadSetting
from filmgate.jobs.options import ResumeOptions
from filmgate.media.options import TrimOptions
from filmgate.planning.limits import Limits

HUGE = Fraction(10) ** 400


@pytest.mark.parametrize(
    ("cls", "settings", "message"),
    [
        (Limits, {"threads": 100_000}, "threads is 100000: pass 1 to 128"),
        (Limits, {"threads": 0}, "threads is 0: pass 1 to 128"),
        (Limits, {"chunk": 10**9}, "chunk is 1000000000: pass 1 to 1024"),
        (Limits, {"batch": 2048}, "batch is 2048: pass 1 to 1024"),
        (Limits, {"batch": 3}, "batch is 3: pass a power of two"),
        (Limits, {"segment": HUGE}, "segment is 1e.400, wanted 1/1000 to 86400 s"),
        (Limits, {"segment": 1 / HUGE}, "segment is 1e-400, wanted 1/1000 to 86400 s"),
        (Limits, {"ram": "lots"}, "'lots' is not an amount of memory: pass 800MB"),
        (Limits, {"vram": "9" * 999 + "GB"}, "is not an amount of memory: pass 800MB"),
        (SampleOptions, {"sample": HUGE}, "sample is 1e.400, wanted 1/1000 to 86400 s"),
        (ResumeOptions, {"pause_after": HUGE}, "pause_after is 1e.400 s: pass 0 to 1000000000"),
        (TrimOptions, {"start": HUGE}, "start is later than 1000000000 s"),
        (TrimOptions, {"end": HUGE}, "end is later than 1000000000 s"),
    ],
)
def test_number_out_of_its_bounds_is_refused(
    cls: type[object], settings: dict[str, object], message: str
) -> None:
    """100,000 threads took 18 seconds to fail, and the file was called damaged."""
    with pytest.raises(BadSetting, match=message):
        cls(**settings)


def test_values_at_the_bounds_are_taken() -> None:
    assert Limits(threads=128, chunk=1024, batch=1024, segment=Fraction(86_400)).threads == 128
