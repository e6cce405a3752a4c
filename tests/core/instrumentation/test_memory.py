"""The meter: what values weigh, what a person means by 8GB, and how far memory rose."""

import subprocess
import sys

import numpy as np
import pytest

from filmgate.core.instrumentation.memory import available_bytes, measure_peak, resident_meter
from filmgate.errors import BadSetting
from filmgate.units import parse_bytes

MB = 10**6


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1048576", 1 << 20),
        ("800MB", 800 * MB),
        ("1.5 GiB", 3 << 29),
        ("12g", 12 * 10**9),
        ("2kib", 2048),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "8 bytes", "1e9", "12QB"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadSetting, match="wanted such as 800MB"):
        parse_bytes(text)


def test_a_rise_is_seen_though_all_of_it_is_gone_again() -> None:
    with measure_peak() as peak:
        held = np.ones(40 * MB, np.uint8)
        del held
    assert 39 * MB < peak.bytes < 60 * MB


def test_what_was_freed_before_is_not_used_again_unseen() -> None:
    """In a process of its own: what other tests hold and let go moves the measure."""
    script = """
import numpy as np
from filmgate.core.instrumentation.memory import measure_peak
pieces = [np.ones(100_000, np.uint8) for _ in range(200)]  # small: they come from the heap
del pieces
with measure_peak() as peak:
    pieces = [np.ones(100_000, np.uint8) for _ in range(200)]
assert 15_000_000 < peak.bytes < 30_000_000, peak
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_where_the_system_keeps_no_peak_it_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filmgate.core.instrumentation.memory._reset_peak", lambda: False)
    with measure_peak() as peak:
        held = np.ones(40 * MB, np.uint8)
    assert peak.bytes > 39 * MB
    assert held.nbytes == 40 * MB


def test_the_machine_can_spare_something() -> None:
    assert available_bytes() > MB
    assert resident_meter()() > MB
